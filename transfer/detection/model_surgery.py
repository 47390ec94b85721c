"""What the protocols change in a detector that Detectron2 has built: frozen weights, recomputed activations, bfloat16.

All three change ``forward`` methods in place; names and values of the weights stay.

On CUDA Detectron2's own mixed precision is used. On CPU only the layers that gain by it compute in bfloat16, boxes and
losses stay in float32: running the whole detector under autocast, as Detectron2 does, would round the corners of
regions to half a pixel before pooling, since bfloat16 has 8 bits.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def trunk_of(model: Any) -> Any:
    """The pretrained network of a detector, without the pyramid over it: of an FPN, of a ViT's, or alone."""
    backbone = model.backbone
    return getattr(backbone, "bottom_up", getattr(backbone, "net", backbone))


def freeze_backbone(model: Any) -> None:
    """Freeze the pretrained network in ``model.backbone``: no parameter learns, its forward pass keeps no graph.

    Batch norms stay in training mode, so they use the statistics of each batch and keep their running averages. That is
    what makes a random backbone, whose stored statistics mean nothing, and a pretrained one comparable. Their affine
    parameters are frozen too: training them would need the gradient through the whole backbone, which costs as much as
    training it.
    """
    backbone = trunk_of(model)
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    backbone.forward = torch.no_grad()(backbone.forward)


def checkpoint_stages(model: Any) -> None:
    """Let each stage of a detector's backbone recompute its activations in the backward pass.

    The stages of a ResNet or a network of timm, the blocks of a ViT, and res5 in the head of a C4 detector, which sees
    hundreds of regions and needs most of the memory. Gradients, running statistics and random numbers are those of a
    model without checkpointing.
    """
    stages = stages_of(trunk_of(model))
    if hasattr(model.roi_heads, "res5"):
        stages.append(model.roi_heads.res5)
    for stage in stages:
        stage.forward = _recomputed(stage, stage.forward)


def stages_of(trunk: Any) -> list[nn.Module]:
    """The parts of a pretrained network that are run one after the other, each on one tensor."""
    for parts in ("stages", "blocks"):
        if hasattr(trunk, parts):
            return list(getattr(trunk, parts))
    return list(trunk.network.children())


def _recomputed(stage: nn.Module, forward):
    norms = [module for module in stage.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def recomputing_forward(features: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return forward(features)
        contexts = lambda: (contextlib.nullcontext(), _keep_statistics(norms))  # noqa: E731
        return checkpoint(forward, features, use_reentrant=False, context_fn=contexts)

    return recomputing_forward


@contextlib.contextmanager
def _keep_statistics(norms: list[Any]) -> Iterator[None]:
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


def in_bfloat16(model: Any) -> None:
    """Let the convolutional parts of a detector compute in bfloat16; what they return is float32 again."""
    for module in _convolutional_parts(model):
        module.forward = _in_bfloat16(module.forward)


def _convolutional_parts(model: Any) -> list[nn.Module]:
    heads = model.roi_heads
    parts = [model.backbone, model.proposal_generator.rpn_head]
    if hasattr(heads, "res5"):
        return [*parts, heads.res5]
    return [*parts, heads.box_head]


def _in_bfloat16(forward):
    def forward_in_bfloat16(*inputs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return _float32(forward(*inputs))

    return forward_in_bfloat16


def _float32(value):
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: _float32(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_float32(entry) for entry in value)
    return value
