"""Traces of Taylor logarithms of covariance matrices, without forming the logarithm.

A Taylor logarithm is a polynomial, and the trace of a polynomial needs far fewer matrix products than the polynomial:
tr A^4 = <A^2, (A^2)^T> is one product, A - A^2/2 + A^3/3 - A^4/4 is three. And tr (X^T Y)^k = tr (Y X^T)^k, so the
work is done in whichever of the two spaces is smaller, B x B (Gram form) or D x D (covariance form).

Letters: x, y are (B, D), rows are samples, already normalised and centred if they should be; A is any square matrix,
N and K are symmetric. `matmul` is the matrix product in use: pass one that splits its work over ranks
(`pretrain.shared_matmul`) and everything here, backward pass included, is split with it.
"""

from collections.abc import Callable, Sequence
from math import comb

import torch
from torch import Tensor

Matmul = Callable[[Tensor, Tensor], Tensor]


def log_coefficients(order: int, ridge: float = 1.0) -> list[float]:
    """a_0 .. a_n of Log_n(A + ridge I) = sum_j a_j A^j, where Log_n(I + E) = E - E^2/2 + ... up to E^n.

    Raises:
        ValueError: if ``order`` is not a whole number >= 1.
    """
    if order != int(order) or order < 1:
        raise ValueError(f"the order of a Taylor logarithm is a whole number >= 1, found {order}; 4 is usual")
    shift = ridge - 1.0
    series = {k: (-1) ** (k + 1) / k for k in range(1, order + 1)}
    return [sum(c * comb(k, j) * shift ** (k - j) for k, c in series.items() if k >= j) for j in range(order + 1)]


def cross_log_trace(
    x: Tensor, y: Tensor, *, scale: float, ridge: float = 1.0, order: int = 4, matmul: Matmul = torch.matmul
) -> Tensor:
    """tr Log_n(scale x^T y + ridge I_D), a scalar; x, y of shape (B, D).

    With ridge 1 it is also the batch-wise tr Log_n(I_B + scale x y^T) of maximum entropy coding.
    """
    B, D = x.shape
    constant, *a = log_coefficients(order, ridge)
    A = matmul(x, y.T) if B < D else matmul(x.T, y)
    return constant * D + _combine(a, power_traces(A * scale, order, matmul=matmul))


def weighted_log_trace(
    x: Tensor, y: Tensor, *, scale: float, ridge: float = 1.0, order: int = 4, matmul: Matmul = torch.matmul
) -> Tensor:
    """tr((scale y^T y + ridge I) Log_n(scale x^T x + ridge I)), a scalar; x, y of shape (B, D).

    In the Gram form, with K = scale x x^T and M = scale x y^T: tr(y^T y (x^T x)^j) becomes tr(M M^T K^(j-1)).
    """
    B, D = x.shape
    a = log_coefficients(order, ridge)
    if B >= D:
        weight = gram(y.T, scale, matmul) + ridge * torch.eye(D, dtype=x.dtype, device=x.device)
        return _combine(a, weighted_power_traces(weight, gram(x.T, scale, matmul), order, matmul=matmul))
    K = gram(x, scale, matmul)
    M = matmul(x, y.T) * scale
    weight = gram(M, 1.0, matmul) + ridge * K
    constant = a[0] * (scale * y.square().sum() + ridge * D)
    return constant + _combine(a[1:], weighted_power_traces(weight, K, order - 1, matmul=matmul))


def power_traces(A: Tensor, n: int, *, matmul: Matmul = torch.matmul) -> list[Tensor]:
    """tr A, tr A^2, ..., tr A^n from the powers up to the half: ceil(n/2) - 1 products; A is (m, m)."""
    powers = _powers(A, (n + 1) // 2, matmul)
    half = len(powers)
    traces = [power.trace() for power in powers]
    return traces + [(powers[-1] * powers[k - half - 1].T).sum() for k in range(half + 1, n + 1)]


def weighted_power_traces(N: Tensor, K: Tensor, n: int, *, matmul: Matmul = torch.matmul) -> list[Tensor]:
    """tr N, tr(N K), ..., tr(N K^n) for symmetric N, K of shape (m, m): ceil(n/2) products for n >= 2."""
    powers = _powers(K, (n + 1) // 2, matmul)
    half = len(powers)
    traces = [N.trace()] + [_inner(N, power) for power in powers]
    if n > half:
        rest = n - half
        weighted = matmul(powers[rest - 1], N)
        traces += [_inner(weighted, powers[j - rest - 1]) for j in range(half + 1, n + 1)]
    return traces


def gram(x: Tensor, scale: float, matmul: Matmul = torch.matmul) -> Tensor:
    """scale x x^T, (B, B), with a backward pass of one product where autograd on x @ x.T takes two."""
    return _Gram.apply(x, scale, matmul)


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float, matmul: Matmul) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale, ctx.matmul = scale, matmul
        return matmul(x, x.T).mul_(scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return ctx.matmul((grad + grad.T).mul_(ctx.scale), x), None, None


def _powers(A: Tensor, n: int, matmul: Matmul) -> list[Tensor]:
    powers = [A]
    while len(powers) < n:
        powers.append(matmul(powers[-1], A))
    return powers


def _inner(A: Tensor, B: Tensor) -> Tensor:
    return torch.dot(A.flatten(), B.flatten())


def _combine(coefficients: Sequence[float], traces: Sequence[Tensor]) -> Tensor:
    return sum(a * trace for a, trace in zip(coefficients, traces, strict=True))
