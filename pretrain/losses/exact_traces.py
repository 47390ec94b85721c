"""Traces of exact logarithms of covariance matrices, where these exist: the limit of the Taylor logarithms.

The same two traces as in `taylor_traces`, letters too, but by determinant and by singular values. They cost a
decomposition and are not shared among ranks; they serve to see what the Taylor order changes.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from runtime.command_line import UserError


def log_traces(
    x: Tensor, y: Tensor, *, scale: float, ridge: float = 1.0, less_trace: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Two scalars: tr log(C12 + ridge I) and tr((C11 + ridge I) log(C22 + ridge I)) - less_trace * tr C22.

    Gradients of the second go through x only.

    Raises:
        UserError: if a logarithm does not exist: see `cross_log_trace`. C22 is symmetric and has no negative
            eigenvalue, so its own exists for every ridge > 0, and for ridge 0 if C22 has full rank.
    """
    weighted = _WeightedLogTrace.apply(x, y.detach(), scale, ridge, less_trace)
    return cross_log_trace(x, y, scale=scale, ridge=ridge), weighted


def cross_log_trace(x: Tensor, y: Tensor, *, scale: float, ridge: float = 1.0) -> Tensor:
    """tr log(C12 + ridge I) with the principal logarithm, a scalar: the logarithm of a determinant.

    C12 is not symmetric. Its principal logarithm exists, and is real, exactly if no eigenvalue of C12 + ridge I lies
    on the negative real axis or at zero; then the trace is log det. A positive determinant alone is not enough: two
    negative eigenvalues make one too. With ridge > ||C12|| it always exists, so with ridge 1 on unit rows unless both
    views lie on one line, opposed.

    Raises:
        UserError: if the logarithm does not exist.
    """
    B, D = x.shape
    A = scale * (x @ y.T if B < D else y.T @ x)
    if B < D and ridge == 0:
        raise UserError(_missing(0.0))
    if torch.linalg.matrix_norm(A.detach()) >= ridge:
        eigenvalues = torch.linalg.eigvals(A.detach()) + ridge
        real = eigenvalues.real[eigenvalues.imag.abs() <= torch.finfo(A.dtype).eps * len(A) * eigenvalues.abs().max()]
        if (real <= 0).any():
            raise UserError(_missing(real.min().item()))
    one = torch.eye(len(A), dtype=A.dtype, device=A.device)
    if B < D:  # the D - B eigenvalues that only the larger space has are all equal to ridge
        return torch.linalg.slogdet(one + A / ridge).logabsdet + D * math.log(ridge)
    return torch.linalg.slogdet(A + ridge * one).logabsdet


def _missing(eigenvalue: float) -> str:
    return (
        f"the exact logarithm does not exist: a covariance plus ridge has the eigenvalue {eigenvalue:.3g}, expected "
        "none at or below 0; raise the ridge (above 1 is always enough) or give a Taylor order"
    )


class _WeightedLogTrace(torch.autograd.Function):
    """Through x = U S V^T. The derivative of the logarithm is the table of its divided differences in the basis V.

    (Daleckii and Krein.) Unlike the derivative of an eigen-decomposition it stays finite where eigenvalues repeat,
    which they do whenever B < D: there all of V's complement has the eigenvalue ridge.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, scale: float, ridge: float, less_trace: float) -> Tensor:
        D = x.shape[1]
        U, S, Vt = torch.linalg.svd(x, full_matrices=False)
        eigenvalues = scale * S.square()  # of C22
        shifted = eigenvalues + ridge
        full_rank = len(S) == D
        if ridge == 0 and not (full_rank and eigenvalues.min() > eigenvalues.max() * D * torch.finfo(x.dtype).eps):
            raise UserError(_missing(0.0))
        yV = y @ Vt.T
        VtC11 = scale * yV.T @ y
        VtC11V = scale * yV.T @ yV
        value = (VtC11V.diagonal() * shifted.log()).sum() + (ridge * shifted.log() - less_trace * eigenvalues).sum()
        middle = VtC11V * _divided_differences(shifted, shifted[:, None])
        # ridge / shifted - less_trace, without the cancellation at ridge = less_trace = 1
        middle.diagonal().add_((ridge * (1 - less_trace) - less_trace * eigenvalues) / shifted)
        derivative = middle @ Vt  # V^T (d value / d C22)
        if not full_rank:
            null = shifted.new_tensor(ridge)
            value = value + null.log() * (scale * y.square().sum() - VtC11V.trace() + ridge * (D - len(S)))
            derivative += _divided_differences(shifted, null)[:, None] * (VtC11 - VtC11V @ Vt)
        ctx.save_for_backward(2 * scale * (U * S) @ derivative)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (by_x,) = ctx.saved_tensors
        return grad * by_x, None, None, None, None


def _divided_differences(a: Tensor, b: Tensor) -> Tensor:
    """(log a - log b) / (a - b), and 1 / a where they are equal."""
    relative = (a - b) / b
    return torch.where(relative == 0, 1.0, relative.log1p() / torch.where(relative == 0, 1.0, relative)) / b
