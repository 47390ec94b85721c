"""Random numbers that are a function of a key, for code that draws from Python's, NumPy's and torch's global state."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Within, the three global generators begin at ``key`` (whole numbers from 0 on); behind, those of the CPU are as
    they were."""
    states = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(key).generate_state(3, np.uint64) >> 1
    with torch.random.fork_rng(devices=[]):
        random.seed(int(words[0]))
        np.random.seed(words[1] % 2**32)
        torch.manual_seed(int(words[2]))
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
