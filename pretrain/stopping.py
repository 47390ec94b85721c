"""How a run ends before its end: a signal asks it to save and stop, a collapse or a non-finite loss makes it stop."""

import math
import signal

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain import signalled
from pretrain.command_line import UserError
from pretrain.matrix_information import effective_rank

RESUME_ME = 75  # EX_TEMPFAIL: interrupted, the same command goes on from the checkpoint


class StopRequest:
    """Remembers that SIGTERM, SIGUSR2 or SIGINT arrived; the loop asks between two steps."""

    def __init__(self):
        self.signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for the step to end
        self.signal = number
        signalled.note(number)

    @property
    def exit_code(self) -> int:
        return 130 if self.signal == signal.SIGINT else RESUME_ME


@torch.no_grad()
def embedding_rank(rows: Tensor, *, most: int = 512) -> float:
    """Effective rank of embeddings (B, D): eigenvalues of the Gram matrix of the first ``most`` unit rows, uncentred.

    1 when all embeddings point the same way (total collapse), at most min(B, D, most).
    """
    unit = F.normalize(rows[:most].double(), dim=1)
    return effective_rank(unit @ unit.T).item()


class Watch:
    """Stops a run that has nothing left to learn from: collapsed embeddings, or a loss that is no number."""

    def __init__(self, *, collapse_rank: float, patience: int):
        self.collapse_rank, self.patience = collapse_rank, patience
        self.low = 0

    def check_rank(self, rank: float, step: int) -> None:
        """Raises UserError at the ``patience``-th low rank in a row."""
        self.low = self.low + 1 if rank < self.collapse_rank else 0
        if self.low >= self.patience:
            raise UserError(
                f"collapse at step {step}: the embeddings' effective rank is {rank:.2f}, below {self.collapse_rank} "
                f"{self.patience} times in a row; lower optim.lr or check the loss (log.collapse_rank=0 goes on)"
            )

    @staticmethod
    def check_loss(terms: dict[str, float], step: int) -> None:
        """Raises UserError if the sum of the terms is not finite."""
        if not math.isfinite(sum(terms.values())):
            found = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
            raise UserError(
                f"the loss is not finite at step {step} ({found}); lower optim.lr, or try precision=fp32; "
                f"the last checkpoint is untouched"
            )
