"""Features scaled to unit rows and centred, with the derivative written out to spare sweeps over memory."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def centred_unit_rows(features: Tensor) -> Tensor:
    """(B, D) -> each row divided by its length, then the mean over rows taken off; a row of zeros stays zero first."""
    return _CentredUnitRows.apply(features)


def smaller_gram(features: Tensor) -> Tensor:
    """F F^T (B, B) or F^T F (D, D), the smaller, of the rows of (B, D) scaled to unit length, not centred.

    Both have the same eigenvalues, but for zeros.
    """
    unit = F.normalize(features, dim=1)
    return unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit


class _CentredUnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_(min=1e-12)
        unit = features / lengths
        ctx.save_for_backward(unit, lengths)
        return unit - unit.mean(dim=0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        unit, lengths = ctx.saved_tensors
        grad = grad - grad.mean(dim=0)
        along = torch.linalg.vecdot(grad, unit).unsqueeze(1)
        return torch.addcmul(grad, unit, along, value=-1).div_(lengths)
