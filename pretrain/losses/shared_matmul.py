"""A matrix product that the ranks share: each computes its block of rows, and all get the whole."""

import torch
import torch.distributed as dist
from torch import Tensor

from runtime import distributed

LEAST_FLOPS = 1e11
"""Of a product on a GPU that is worth sharing: a smaller one takes about a millisecond, as the exchange does."""


def shared_matmul(A: Tensor, B: Tensor) -> Tensor:
    """A @ B for matrices that are the same on every rank, (m, k) and (k, n); the same on every rank again.

    Each of N ranks does 1/N of the work, in the backward pass too, and receives the other rows: m * n numbers in all.
    Results and gradients are those of ``A @ B``, so what is built of products can take this one in its place. With a
    single process it is ``A @ B``.
    """
    if distributed.world_size() == 1:
        return A @ B
    if A.is_cuda and 2 * A.numel() * B.shape[1] < LEAST_FLOPS:
        return A @ B
    return _SharedMatmul.apply(A, B)


class _SharedMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, A: Tensor, B: Tensor) -> Tensor:
        ctx.save_for_backward(A, B)
        return _rows_from_all(A, B)

    @staticmethod
    def backward(ctx, grad: Tensor):
        A, B = ctx.saved_tensors
        by_A = shared_matmul(grad, B.T) if ctx.needs_input_grad[0] else None
        by_B = shared_matmul(A.T, grad) if ctx.needs_input_grad[1] else None
        return by_A, by_B


def _rows_from_all(A: Tensor, B: Tensor) -> Tensor:
    rank, world = dist.get_rank(), dist.get_world_size()
    share = distributed.shard_size(len(A))  # the last ranks may have fewer rows than they send, or none
    mine = A[rank * share : (rank + 1) * share]
    rows = A.new_empty(share, B.shape[1])
    torch.mm(mine, B, out=rows[: len(mine)])
    whole = A.new_empty(world * share, B.shape[1])
    dist.all_gather_into_tensor(whole, rows)
    return whole if len(whole) == len(A) else whole[: len(A)].clone()  # autograd forbids views here
