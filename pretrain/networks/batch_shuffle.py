"""The batch in another order, over all ranks: MoCo's shuffle, and the way back (arXiv 1911.05722, section 3.3).

A key that shared its batch statistics with its own query could be recognised by them. So the key encoder sees the
images in another order, in which every image meets other neighbours, and its keys are put back into the first one.
"""

import torch
from torch import Tensor

from runtime import distributed


def random_order(count: int, seed: int) -> Tensor:
    """A permutation of ``count``, the same on every rank."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def shuffled(rows: Tensor, order: Tensor) -> Tensor:
    """(b, ...) on each rank -> this rank's (b, ...) of the global batch taken in ``order`` (B,), on their device."""
    return distributed.gather(rows)[order.chunk(distributed.world_size())[distributed.rank()]]


def restored(rows: Tensor, order: Tensor) -> Tensor:
    """The inverse of `shuffled`: row i belongs to image i of this rank again."""
    return shuffled(rows, order.argsort())
