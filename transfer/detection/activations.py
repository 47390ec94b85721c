"""Activation checkpointing: a stage of the ResNet keeps its input only, and computes the rest again when needed."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_stages(model: nn.Module) -> None:
    """Let each residual stage of a detector recompute its activations in the backward pass.

    The trunk's stages, and res5 in the head of a C4 detector, which sees hundreds of regions and needs most of the
    memory. Gradients, running statistics and random numbers are those of a model without checkpointing.
    """
    trunk = getattr(model.backbone, "bottom_up", model.backbone)
    stages = list(trunk.stages)
    if hasattr(model.roi_heads, "res5"):
        stages.append(model.roi_heads.res5)
    for stage in stages:
        stage.forward = _recomputed(stage, stage.forward)


def _recomputed(stage: nn.Module, forward):
    norms = [module for module in stage.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def recomputing_forward(features: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return forward(features)
        contexts = lambda: (contextlib.nullcontext(), _statistics_kept(norms))  # noqa: E731
        return checkpoint(forward, features, use_reentrant=False, context_fn=contexts)

    return recomputing_forward


@contextlib.contextmanager
def _statistics_kept(norms: list[nn.Module]) -> Iterator[None]:
    """The second forward pass of a batch must not move the running statistics a second time."""
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
