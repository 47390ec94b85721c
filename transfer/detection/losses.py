"""The losses of a run, kept on the device and gathered now and then, so that no iteration waits for the GPU.

Detectron2's trainer reads every loss on the host and gathers a pickled dictionary from all ranks in each iteration;
with its ``gather_metric_period`` it looks at one iteration in so many. Here every iteration is kept and the gathering
is what is put off, so metrics.json says the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

PERIOD = 20
"""Iterations between two gatherings; the writers' period, so that what they write is there."""


@dataclass(frozen=True)
class Entry:
    """The losses of one iteration on this rank."""

    iteration: int
    data_s: float
    """How long the iteration waited for its images."""
    names: tuple[str, ...]
    values: torch.Tensor
    """On the host; to be read once the copy has ``arrived``."""
    copied: Any = None
    """The CUDA event of the copy."""

    @classmethod
    def of(cls, iteration: int, losses: Mapping[str, torch.Tensor], data_s: float) -> "Entry":
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        if not values.is_cuda:
            return cls(iteration, data_s, tuple(losses), values)
        host = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return cls(iteration, data_s, tuple(losses), host, event)

    @property
    def arrived(self) -> bool:
        return self.copied is None or self.copied.query()

    def read(self) -> dict[str, float]:
        """Name of each loss -> value; waits for the copy."""
        if self.copied is not None:
            self.copied.synchronize()
        return dict(zip(self.names, self.values.tolist(), strict=True))


@dataclass
class Losses:
    """The losses that no rank has been told of yet."""

    due: Callable[[int], bool]
    """Whether all ranks gather after this iteration; the same on each."""

    waiting: list[Entry] = field(default_factory=list)
    latest: float | None = None
    """The newest total that this rank knows of."""

    def add(self, iteration: int, losses: Mapping[str, torch.Tensor], data_s: float) -> None:
        """Keep an iteration's losses. Raises FloatingPointError as soon as one is known not to be finite."""
        self.waiting.append(Entry.of(iteration, losses, data_s))
        if self.due(iteration):
            self.gather()
        elif comm.is_main_process():
            self._look()

    def _look(self) -> None:
        """Check the newest entry that has arrived: a loss that is lost stays lost."""
        entry = next((entry for entry in reversed(self.waiting) if entry.arrived), None)
        if entry is not None:
            self.latest = _finite(entry.iteration, entry.read())

    def gather(self) -> None:
        """Put the means over ranks into Detectron2's storage, iteration by iteration; every rank has to call it."""
        mine = [(entry.iteration, entry.data_s, entry.read()) for entry in self.waiting]
        self.waiting.clear()
        ranks: Any = comm.gather(mine)
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        for every in zip(*ranks, strict=True):
            iteration, _, first = every[0]
            means = {name: float(np.mean([losses[name] for _, _, losses in every])) for name in first}
            self.latest = _finite(iteration, means)
            waits = {"rank_data_time": every[0][1], "data_time": max(seconds for _, seconds, _ in every)}
            storage.put_scalars(cur_iter=iteration, **waits, total_loss=self.latest)
            if len(means) > 1:
                storage.put_scalars(cur_iter=iteration, **means)


def _finite(iteration: int, losses: dict[str, float]) -> float:
    """The total of an iteration's losses. Raises FloatingPointError where it is none."""
    total = sum(losses.values())
    if not np.isfinite(total):
        raise FloatingPointError(f"Loss became infinite or NaN at iteration={iteration}!\nloss_dict = {losses}")
    return total


class Step(SimpleTrainer):
    """Detectron2's iteration, whose losses go to ``losses``."""

    losses: Losses

    def _write_metrics(self, loss_dict, data_time, prefix="", iter=None) -> None:
        self.losses.add(self.iter, loss_dict, data_time)


class MixedStep(Step, AMPTrainer):
    """The same in mixed precision."""
