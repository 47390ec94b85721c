"""Traces of Taylor logarithms of covariance matrices, with few and small matrix products.

Two facts save the work. The trace of a polynomial needs fewer products than the polynomial: tr A^4 = <A^2, (A^2)^T> is
one product, A - A^2/2 + A^3/3 - A^4/4 is three. And tr (x^T y)^k = tr (y x^T)^k, so powers are taken in whichever of
the two spaces is smaller, B x B (Gram form) or D x D (covariance form).

Letters: x, y are (B, D), rows are samples, already normalised and centred if they should be; C11 = scale y^T y,
C12 = scale y^T x, C22 = scale x^T x. A polynomial is the list of its coefficients, the constant first. `matmul` is the
matrix product in use: one that splits its work over ranks (`shared_matmul`) splits everything here with it,
the backward pass included.
"""

import sys
from math import comb

import torch
from torch import Tensor

from pretrain.losses.trace_gradients import Matmul, gram, trace_polynomial, weighted_trace_polynomial
from runtime import distributed
from runtime.command_line import UserError


def log_coefficients(order: int, ridge: float = 1.0) -> list[float]:
    """The polynomial p with p(A) = Log_n(A + ridge I), where Log_n(I + E) = E - E^2/2 + ... up to E^n.

    Raises:
        UserError: if ``order`` is not a whole number >= 1.
    """
    if isinstance(order, bool) or order != int(order) or order < 1:
        raise UserError(f"the order of a Taylor logarithm is a whole number >= 1, found {order}; 4 is usual")
    shift = ridge - 1.0
    series = {k: (-1) ** (k + 1) / k for k in range(1, int(order) + 1)}
    return [sum(c * comb(k, j) * shift ** (k - j) for k, c in series.items() if k >= j) for j in range(len(series) + 1)]


def cross_log_trace(x: Tensor, y: Tensor, *, scale: float, order: int = 4, matmul: Matmul = torch.matmul) -> Tensor:
    """tr Log_n(scale y^T x + I_D) = tr Log_n(scale x y^T + I_B), a scalar.

    The trace in the objective of maximum entropy coding, where x and y are unit rows, not centred, and ``scale`` is
    1 / lambda_inv: batch-wise or feature-wise, whichever is smaller. Gradients go through both.
    """
    B, D = x.shape
    A = matmul(x, y.T) if B < D else matmul(y.T, x)
    return trace_polynomial(A.mul_(scale), log_coefficients(order), matmul)


def log_traces(
    x: Tensor,
    y: Tensor,
    *,
    scale: float,
    ridge: float = 1.0,
    order: int = 4,
    less_trace: float = 0.0,
    matmul: Matmul = torch.matmul,
) -> tuple[Tensor, Tensor]:
    """Two scalars: tr Log_n(C12 + ridge I) and tr((C11 + ridge I) Log_n(C22 + ridge I)) - less_trace * tr C22.

    The last trace is taken off here, among the coefficients, because with ridge 1 it cancels the first order of the
    series: taken off afterwards, it would cost the gradient three of float32's seven digits.
    """
    B, D = x.shape
    p = log_coefficients(order, ridge)
    r = [ridge * a for a in p]
    r[1] -= less_trace
    if B < D:  # tr(C11 C22^j) = tr(M^T K^(j-1) M) with K = scale x x^T, M = scale x y^T
        K, M = gram(x, scale, matmul), matmul(x, y.T).mul_(scale)
        cross = trace_polynomial(M, p, matmul)
        weighted = p[0] * scale * y.square().sum() + weighted_trace_polynomial(M, K, p[1:], matmul)
    else:
        K, C11 = gram(x.T, scale, matmul), gram(y.T, scale, matmul)
        cross = trace_polynomial(matmul(y.T, x).mul_(scale), p, matmul)
        weighted = p[0] * C11.trace() + _product_trace(C11, K, p[1:], matmul)
    return cross + p[0] * D, weighted + trace_polynomial(K, r, matmul) + r[0] * D


def series_norm(x: Tensor, y: Tensor, *, scale: float, ridge: float = 1.0, iterations: int = 20) -> float:
    """Norm of C12 + (ridge - 1) I by power iteration: the Taylor logarithm of C12 + ridge I converges if it is < 1.

    Costs four matrix-vector products an iteration and approaches the norm from below; give ``x`` twice for C22.
    """
    x, y, shift = x.detach(), y.detach(), ridge - 1.0
    v = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0)).to(x)
    norm = 0.0
    for _ in range(iterations):
        v = v / v.norm().clamp(min=torch.finfo(v.dtype).tiny)
        forth = scale * (y.T @ (x @ v)) + shift * v
        norm = forth.norm().item()
        v = scale * (x.T @ (y @ forth)) + shift * forth
    return norm


def _product_trace(N: Tensor, K: Tensor, a: list[float], matmul: Matmul) -> Tensor:
    """a_1 tr(N K) + ... + a_n tr(N K^n) for symmetric N and K, ``a`` starting with a_1."""
    powers, half = [K], (len(a) + 1) // 2
    while len(powers) < half:
        powers.append(matmul(powers[-1], K))
    traces = [torch.dot(N.flatten(), power.flatten()) for power in powers]
    rest = len(a) - half
    if rest:  # tr(N K^j) = <K^rest N, K^(j - rest)>
        weighted = matmul(powers[rest - 1], N).flatten()
        traces += [torch.dot(weighted, power.flatten()) for power in powers[half - rest :]]
    return sum(c * trace for c, trace in zip(a, traces, strict=True))  # pyright: ignore[reportReturnType]


def warn_if_series_diverges(norm: float, *, when: str, remedy: str) -> bool:
    """Warn on stderr if ``norm``, of A - I, is too large for the series of Log A to be sure to converge; whether it is.

    The theorem is sufficient and no more: C12 and P Z^T are not symmetric, and their eigenvalues, which decide, may
    be smaller than the norm. What is trained on is in any case the polynomial of finite order.

    Args:
        when: where in the run it was measured, as in "the first batch".
        remedy: what to change, as a clause.
    """
    if norm < 1:
        return False
    if distributed.is_main():
        print(
            f"warning: the Taylor logarithm may not converge on {when}: |A - I| is {norm:.2f}, and only below 1 is it "
            f"sure to (Theorem A.1); {remedy}; the run goes on",
            file=sys.stderr,
        )
    return True
