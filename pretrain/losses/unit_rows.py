"""Features scaled to unit rows and centred, with the derivative written out to spare sweeps over memory."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def centred_unit_rows(features: Tensor) -> Tensor:
    """(B, D) -> each row divided by its length, then the mean over rows taken off; a row of zeros stays zero first."""
    return _CentredUnitRows.apply(features)


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
