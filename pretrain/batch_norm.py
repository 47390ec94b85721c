"""Batch normalisation over the global batch: torch's SyncBatchNorm on CUDA, the same arithmetic through gloo on CPU."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretrain import distributed


class _SumOverRanks(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced as well: every rank's output depends on every rank's input."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class CpuSyncBatchNorm(_BatchNorm):
    """Statistics over all ranks' batches of equal size, in float32 or better; (b, C) or (b, C, H, W).

    torch's own SyncBatchNorm refuses CPU tensors. Mean first, then squared deviations, because the one-pass form
    loses the digits that the agreement with a single process needs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() in (2, 4)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes = [0, 2, 3][: x.dim() - 1]
        shape = [1, -1, 1, 1][: x.dim()]
        count = x.numel() // x.shape[1] * distributed.world_size()
        mean = _SumOverRanks.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape))
        return normalised.to(input.dtype)


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch norm of ``module`` by one over all ranks; unchanged with a single process."""
    if distributed.world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, device))
    if isinstance(module, _BatchNorm) and not isinstance(module, CpuSyncBatchNorm):
        twin = CpuSyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine).to(module.running_var)
        twin.load_state_dict(module.state_dict())
        for name, parameter in module.named_parameters():  # a frozen parameter stays frozen
            getattr(twin, name).requires_grad_(parameter.requires_grad)
        return twin.train(module.training)
    return module
