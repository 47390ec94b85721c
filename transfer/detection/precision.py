"""Speed on CPU: bfloat16 and channels-last for the layers that gain by them, float32 for boxes and losses.

On CUDA Detectron2's own mixed precision is used instead. Running the whole detector under autocast, as that does, is no
option in bfloat16: its 8 bits would round the corners of regions to half a pixel before pooling.
"""

import torch
from torch import nn


def in_bfloat16(model: nn.Module) -> None:
    """Let the convolutional parts of a detector compute in bfloat16; what they return is float32 again."""
    for module in _parts(model):
        module.forward = _autocast(module.forward)


def _parts(model: nn.Module) -> list[nn.Module]:
    heads = model.roi_heads
    parts = [model.backbone, model.proposal_generator.rpn_head]
    if hasattr(heads, "res5"):
        return [*parts, heads.res5]
    return [*parts, heads.box_head]


def _autocast(forward):
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
