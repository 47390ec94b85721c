"""Batch normalisation over the global batch, or over groups of it.

Over the global batch: torch's SyncBatchNorm on CUDA, the same arithmetic through gloo on CPU. Over groups: MoCo's.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from runtime import distributed


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

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float
    then: nn.Module | None = None

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() in (2, 4)

    def forward(self, input: Tensor) -> Tensor:
        normalised = self._normalised(input)
        return self.then(normalised) if self.then is not None else normalised

    def _normalised(self, input: Tensor) -> Tensor:
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
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's own would lose the activations

        return convert_sync_batchnorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, device))
    if isinstance(module, _BatchNorm) and not isinstance(module, CpuSyncBatchNorm):
        twin = CpuSyncBatchNorm(module.num_features, module.eps, module.momentum, module.affine).to(module.running_var)
        twin.load_state_dict(module.state_dict())
        for name, parameter in module.named_parameters():  # a frozen parameter stays frozen
            getattr(twin, name).requires_grad_(parameter.requires_grad)
        twin.then = activation_of(module)
        return twin.train(module.training)
    return module


def activation_of(norm: _BatchNorm) -> nn.Module:
    """What follows inside the norm: timm's norms hold the activation behind them."""
    parts = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*parts)


class GroupedBatchNorm(nn.Module):
    """Batch norm with statistics of its own for each of ``groups`` equal parts of this process's batch.

    What per-GPU batch norm does on as many GPUs, on any number of them. Parameters and buffers are those of the batch
    norm it stands in for; the running statistics follow the mean over the groups.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, groups: int):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.groups, self.momentum, self.eps = groups, norm.momentum or 0.0, norm.eps
        self.then = activation_of(norm)

    def forward(self, input: Tensor) -> Tensor:
        """(b, C) or (b, C, H, W), b a multiple of the groups."""
        return self.then(self._over_groups(input))

    def _over_groups(self, input: Tensor) -> Tensor:
        running = (self.running_mean, self.running_var)
        if not self.training:
            return self._normalised(input, *running, training=False)
        if self.groups == 1:
            self.num_batches_tracked += 1
            return self._normalised(input, *running, training=True)
        copies = [(self.running_mean.clone(), self.running_var.clone()) for _ in range(self.groups)]
        parts = [
            self._normalised(part, *copy, training=True)
            for part, copy in zip(input.chunk(self.groups), copies, strict=True)
        ]
        for buffer, updated in zip(running, zip(*copies, strict=True), strict=True):
            buffer.copy_(torch.stack(updated).mean(0))
        self.num_batches_tracked += 1
        return torch.cat(parts)

    def _normalised(self, input: Tensor, mean: Tensor, variance: Tensor, *, training: bool) -> Tensor:
        rate, affine = self.momentum, (self.weight, self.bias)
        return F.batch_norm(input, mean, variance, *affine, training=training, momentum=rate, eps=self.eps)


def in_groups(module: nn.Module, groups: int) -> nn.Module:
    """Replace every batch norm of ``module`` by one over ``groups`` parts of the local batch; `synchronise` leaves
    those as they are."""
    for name, child in module.named_children():
        setattr(module, name, in_groups(child, groups))
    return GroupedBatchNorm(module, groups) if isinstance(module, _BatchNorm) else module


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Make the running statistics of grouped batch norms their mean over the ranks, the same on all of them."""
    if distributed.world_size() == 1:
        return
    norms = [part for part in module.modules() if isinstance(part, GroupedBatchNorm)]
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    means = distributed.mean(torch.cat(buffers)).split([len(buffer) for buffer in buffers])
    torch._foreach_copy_(buffers, means)
