"""Data and processes that tests of several packages share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes that each spin two threads starve each other

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A drawn data set of a few dozen 64-pixel images (the layout is in pretrain/scenes.py)."""
    from pretrain import scenes

    out = tmp_path_factory.mktemp("data") / "scenes"
    scenes.write(out, images=48, size=64, seed=0)
    return out
