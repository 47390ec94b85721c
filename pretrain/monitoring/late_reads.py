"""Numbers of the training device that the host reads some steps later, so that a step never waits for the device."""

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from runtime import distributed
from runtime.command_line import UserError

EVERY = 4
"""Steps between two posts: what a post holds is read at the next one, which is when all ranks act on it."""


class LateRead:
    """A small tensor on its way to the host."""

    def __init__(self, value: Tensor):
        self.host = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        self.host.copy_(value, non_blocking=True)
        self.arrived = torch.cuda.Event() if value.is_cuda else None
        if self.arrived is not None:
            self.arrived.record()

    def read(self) -> np.ndarray:
        """Its value; some steps after it was sent, without waiting."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.host.numpy()


class StopVote:
    """How all ranks agree to stop at the same step, once a signal has reached any of them."""

    def __init__(self):
        self.posted: LateRead | None = None

    def __call__(self, asked: bool, step: int, device: torch.device) -> bool:
        """Whether to stop after ``step``; a process alone stops at once, several after at most 2 EVERY steps."""
        if distributed.world_size() == 1:
            return asked
        if step % EVERY:
            return False
        decided = self.posted is not None and bool(self.posted.read()[0])
        vote = torch.full((1,), float(asked), device=device)
        dist.all_reduce(vote)
        self.posted = LateRead(vote)
        return decided


class LossCheck:
    """Notices the first loss that is not finite. The losses are those of the global batch, the same on every rank."""

    def __init__(self):
        self.names: list[str] = []
        self.found: Tensor | None = None
        self.posted: LateRead | None = None

    @torch.no_grad()
    def note(self, terms: dict[str, Tensor], step: int) -> None:
        """Look at the terms of ``step``; raises UserError some steps after they were not finite."""
        values = torch.stack([term.detach().double() for term in terms.values()])
        if self.found is None:
            self.names, self.found = list(terms), values.new_zeros(1 + len(terms))
        first = ~values.sum().isfinite() & (self.found[0] == 0)
        self.found = torch.where(first, torch.cat([torch.full_like(values[:1], step), values]), self.found)
        if step % EVERY == 0:
            if self.posted is not None:
                self._raise(self.posted.read())
            self.posted = LateRead(self.found)

    def check(self) -> None:
        """Raise UserError if any loss so far was not finite; waits for the device: before a checkpoint."""
        if self.found is not None:
            self._raise(LateRead(self.found).read())

    def _raise(self, found: np.ndarray) -> None:
        step, *values = found.tolist()
        if step:
            terms = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, values, strict=True))
            raise UserError(
                f"the loss is not finite at step {int(step)} ({terms}); in another --out lower optim.lr, or try "
                "precision=fp32; the last checkpoint here is untouched"
            )
