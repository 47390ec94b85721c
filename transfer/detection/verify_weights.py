"""The proof that pretrained weights are in the model: every tensor of the file, once, with its values.

Detectron2 only warns when names or shapes do not match, and then trains from random initialisation (of a MAE file it
loads nothing at all). A benchmark of pretrained weights must not; so the values in the model are compared with the
values in the file.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from runtime.command_line import UserError
from transfer.detection.network import IN_TIMM, IN_VIT

RESNET = re.compile(r"^(backbone\.bottom_up|backbone|roi_heads)\.((stem|res[2-5])\..*)$")
"""Where a detector keeps its ResNet: under an FPN, alone, or (res5 of a C4 detector) in its heads."""

NEW = re.compile(rf"^roi_heads\.res5\.norm\.|^{re.escape(IN_VIT)}blocks\.\d+\.attn\.rel_pos_[hw]$")
"""What no pretrained file holds: the norm that C4 protocols add after res5, and a ViT's relative positions."""

COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Proof:
    """What arrived where."""

    arrived: dict[str, str]
    """Name in the file -> name in the model."""
    extras: list[str]
    """Tensors of the model's backbone that no file holds: the norm that a protocol adds after res5, and the relative
    positions of a ViT."""


def name_in_file(key: str) -> str | None:
    """The name in a weight file of a model's tensor ``key``; None of one that is no part of the pretrained network."""
    if key.startswith((IN_VIT, IN_TIMM)):
        return key
    match = RESNET.match(key)
    return match[2] if match else None


def verify(state: dict[str, Tensor], arrays: dict[str, np.ndarray]) -> Proof:
    """Compare a model's ``state`` dict (after loading) with the ``arrays`` of the file it was loaded from.

    Raises UserError unless the file holds exactly the tensors of the model's backbone (and perhaps a ResNet's
    classifier under ``stem.fc``), each of them is in exactly one place of the model with the same values, and the
    model's backbone has no tensor besides them and those that are new in every detector of its kind.
    """
    places: dict[str, list[str]] = {}
    extras = []
    for key in state:
        name = name_in_file(key)
        if name is None or key.endswith(COUNTER):
            continue
        if NEW.match(key):
            extras.append(key)
        else:
            places.setdefault(name, []).append(key)
    offered = {name for name in arrays if not name.startswith("stem.fc.") and not name.endswith(COUNTER)}
    if odd := sorted(offered ^ places.keys()):
        raise UserError(
            f"the weights hold {len(offered & places.keys())} of the {len(places)} tensors of this backbone and "
            f"{len(offered - places.keys())} others (first difference: {odd[0]}); convert the source with "
            f"transfer/convert.py"
        )
    return Proof({name: _arrival(name, keys, state, arrays[name]) for name, keys in sorted(places.items())}, extras)


def _arrival(name: str, keys: list[str], state: dict[str, Tensor], array: np.ndarray) -> str:
    if len(keys) != 1:
        raise UserError(f"the weights' {name} must reach the model exactly once, but it is {' and '.join(keys)}")
    inside, outside = state[keys[0]].cpu(), torch.as_tensor(array)
    if inside.shape != outside.shape:
        raise UserError(f"{keys[0]} has shape {list(inside.shape)} in the model, {list(outside.shape)} in the weights")
    if not torch.equal(inside, outside.to(inside.dtype)):
        raise UserError(f"{keys[0]} of the model differs from {name} of the weights: they were not loaded")
    return keys[0]
