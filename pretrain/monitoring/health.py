"""A run whose embeddings have collapsed has nothing left to learn from, and is stopped."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.matrix_information import effective_rank
from runtime.command_line import UserError


@torch.no_grad()
def embedding_rank(rows: Tensor, *, most: int = 512) -> float:
    """Effective rank of embeddings (B, D): eigenvalues of the Gram matrix of the first ``most`` unit rows, uncentred.

    1 when all embeddings point the same way (total collapse), at most min(B, D, most).
    """
    unit = F.normalize(rows[:most].double(), dim=1)
    return effective_rank(unit @ unit.T).item()


class Watch:
    """Stops a run whose embeddings have collapsed."""

    def __init__(self, *, collapse_rank: float, patience: int):
        self.collapse_rank, self.patience = collapse_rank, patience
        self.low = 0

    def check_rank(self, rank: float, step: int) -> None:
        """Raises UserError at the ``patience``-th low rank in a row."""
        self.low = self.low + 1 if rank < self.collapse_rank else 0
        if self.low >= self.patience:
            raise UserError(
                f"collapse at step {step}: the embeddings' effective rank is {rank:.2f}, below {self.collapse_rank} "
                f"{self.patience} times in a row; lower optim.lr in another --out, or go on with log.collapse_rank=0"
            )
