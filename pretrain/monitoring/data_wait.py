"""How long training waits for its data, and which of loader and step limits the speed. No torch here."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

WORTH_A_WORD = 0.1
"""Share of the time spent waiting from which on the user is told what to do."""

FASTER = {"torchvision": "auto", "pil": "auto", "cv2": "torch"}
"""What makes the same views sooner; torch needs a GPU for that."""


LOGGED = ("data_wait", "step_images_per_s", "loader_images_per_s")
"""Keys of `Speeds` in a log."""


class Speeds(NamedTuple):
    """What loader and step could do, each without the other; images per second over all ranks."""

    loader: float
    """All loader processes together, at the pace at which they made batches; infinite where that is not known and the
    step never waited for them."""
    step: float
    """The training step, had it never waited."""
    wait: float
    """Share of the time in which the step waited."""

    def logged(self) -> dict[str, float]:
        """As a log has them."""
        return dict(zip(LOGGED, (self.wait, self.step, self.loader), strict=True))

    @property
    def loader_limits(self) -> bool:
        return self.wait > WORTH_A_WORD

    def __str__(self) -> str:
        if math.isinf(self.loader):
            return f"step {self.step:,.0f} images/s, loader not slower"
        return f"loader {self.loader:,.0f} images/s, step {self.step:,.0f}"


def advice(speeds: Speeds, *, workers: int, setting: str = "data.workers", backend: str = "", device: str = "") -> str:
    """One line: both speeds, which of them limits, and the setting that would change it.

    Args:
        setting: the one that holds ``workers``.
        backend: of the views; empty where there is no choice.
    """
    if not speeds.loader_limits:
        return f"{speeds}: the step limits (waits for data {speeds.wait:.0%} of the time)"
    short = speeds.step / speeds.loader if math.isfinite(speeds.loader) and speeds.loader > 0 else 1.0
    ways = [f"raise {setting} to {max(workers + 1, math.ceil(max(workers, 1) * short))} (with as many cores)"]
    faster = FASTER.get(backend)
    if faster and (faster != "torch" or device == "cuda"):
        ways.append(f"begin a new run with views.backend={faster}")
    return f"{speeds}: waits for data {speeds.wait:.0%} of the time; {' or '.join(ways)}"


class DataClock:
    """Times the waiting of this rank: iterate over ``batches`` through it. The first batch, which starts the loader
    processes, is not counted.

    A batch may say under ``seconds`` what it took one loader process to make it. Of others the loader's speed is known
    only where it limits.

    Args:
        images: in a step, over all ranks.
        workers: loader processes of a rank; 0: the training process loads.
    """

    def __init__(self, batches: Iterable[Any], *, images: int, workers: int):
        self.batches, self.images, self.workers = batches, images, workers
        self.steps = self.began = self.waited = self.worked = 0.0

    def __iter__(self) -> Iterator[Any]:
        asked = time.monotonic()
        for number, batch in enumerate(self.batches):
            now = time.monotonic()
            if number:
                self.steps, self.waited, self.worked = (
                    self.steps + 1,
                    self.waited + now - asked,
                    self.worked + getattr(batch, "seconds", 0.0),
                )
            else:
                self.began = now
            yield batch
            asked = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within is no part of a step."""
        begin = time.monotonic()
        yield
        self.began += time.monotonic() - begin

    def advice(self, **how: Any) -> str:
        """`advice` at the speeds so far; empty before the second batch."""
        speeds = self.speeds()
        return advice(speeds, workers=self.workers, **how) if speeds else ""

    def speeds(self) -> Speeds | None:
        """Since the first batch; None before the second."""
        total = time.monotonic() - self.began
        if not self.steps or total <= self.waited:
            return None
        images, wait = self.steps * self.images, self.waited / total
        if self.worked:
            loader = images * max(self.workers, 1) / self.worked
        else:
            loader = images / total if wait > WORTH_A_WORD else math.inf
        return Speeds(loader=loader, step=images / (total - self.waited), wait=wait)
