"""Traces of matrix polynomials together with their derivatives, so that the backward pass is one multiplication.

Where autograd would differentiate each matrix product by two more, the derivative of a trace of a polynomial is again
a polynomial, and shares the powers that the value needed. A polynomial is the list of its coefficients, the constant
first; ``matmul`` is the matrix product to use.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Matmul = Callable[[Tensor, Tensor], Tensor]


def gram(x: Tensor, scale: float, matmul: Matmul = torch.matmul) -> Tensor:
    """scale x x^T for x of shape (B, D)."""
    return _Gram.apply(x, scale, matmul)


def trace_polynomial(A: Tensor, p: Sequence[float], matmul: Matmul = torch.matmul) -> Tensor:
    """tr(p(A) - p(0)) for a square A: n/2 products for degree n, the backward pass included."""
    return _TracePolynomial.apply(A, p, matmul)


def weighted_trace_polynomial(M: Tensor, K: Tensor, q: Sequence[float], matmul: Matmul = torch.matmul) -> Tensor:
    """tr(M^T q(K) M) for a symmetric K: m + m/2 products for degree m, the backward pass included.

    The derivative by K is given up to an antisymmetric part, which ``gram`` removes: K must come from it.
    """
    return _WeightedTracePolynomial.apply(M, K, q, matmul)


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float, matmul: Matmul) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale, ctx.matmul = scale, matmul
        return matmul(x, x.T).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return ctx.matmul((grad + grad.T).mul_(ctx.scale), x), None, None


class _TracePolynomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx, A: Tensor, p: Sequence[float], matmul: Matmul) -> Tensor:
        n = len(p) - 1
        half = (n + 1) // 2
        powers = [A]
        while len(powers) < half:
            powers.append(matmul(powers[-1], A))
        value = sum(p[k] * power.trace() for k, power in enumerate(powers, start=1))
        if n > half:  # tr A^k = <A^half, (A^(k - half))^T>
            value = value + (powers[-1] * _combine(p[half + 1 :], powers).T).sum()
        if ctx.needs_input_grad[0]:
            slope = [k * a for k, a in enumerate(p)][1:]  # of degree n - 1
            derivative = _combine(slope[1 : half + 1], powers)
            if n - 1 > half:
                derivative += matmul(powers[-1], _combine(slope[half + 1 :], powers))
            derivative.diagonal().add_(slope[0])
            ctx.save_for_backward(derivative)
        return value  # pyright: ignore[reportReturnType]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (derivative,) = ctx.saved_tensors
        return grad * derivative.T, None, None


class _WeightedTracePolynomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx, M: Tensor, K: Tensor, q: Sequence[float], matmul: Matmul) -> Tensor:
        m = len(q) - 1
        V = [M]  # V_i = K^i M
        while len(V) <= m:
            V.append(matmul(K, V[-1]))
        value = sum(a * torch.dot(V[j // 2].flatten(), V[j - j // 2].flatten()) for j, a in enumerate(q))
        if not any(ctx.needs_input_grad):
            return value  # pyright: ignore[reportReturnType]
        # d/dK tr(M^T K^j M) = sum over i + l = j - 1 of V_i V_l^T; its symmetric part needs only the pairs i <= l
        by_K = torch.zeros_like(K)
        for i in range((m + 1) // 2):
            pairs = [q[2 * i + 1], *(2 * a for a in q[2 * i + 2 :])]
            by_K += matmul(V[i], _combine(pairs, V[i:]).T)
        ctx.save_for_backward(_combine([2 * a for a in q], V), by_K)
        return value  # pyright: ignore[reportReturnType]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        by_M, by_K = ctx.saved_tensors
        return grad * by_M, grad * by_K, None, None


def _combine(coefficients: Sequence[float], matrices: Sequence[Tensor]) -> Tensor:
    """The linear combination of as many of ``matrices`` as there are coefficients, a new tensor."""
    if not coefficients:
        return torch.zeros_like(matrices[0])
    result = coefficients[0] * matrices[0]
    for a, matrix in zip(coefficients[1:], matrices[1:], strict=False):
        result.add_(matrix, alpha=a)
    return result
