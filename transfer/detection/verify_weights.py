"""The proof that pretrained weights are in the model: every tensor of the file, once, with its values.

Detectron2 only warns when names or shapes do not match, and then trains from random initialisation. A benchmark of
pretrained weights must not; so the values in the model are compared with the values in the file.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from runtime.command_line import UserError
from transfer.checkpoints import resnet50
from transfer.checkpoints.rename import to_detectron2

TRUNK = re.compile(r"^(backbone\.bottom_up|backbone|roi_heads)\.((stem|res[2-5])\..*)$")
"""Where a detector keeps its ResNet: under an FPN, alone, or (res5 of a C4 detector) in its heads."""

EXTRA_NORM = re.compile(r"^roi_heads\.res5\.norm\.")
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Proof:
    """What arrived where."""

    arrived: dict[str, str]
    """Name in the file -> name in the model."""
    extras: list[str]
    """Tensors of the model's trunk that no file holds: the norm that the protocol adds after res5."""


def verify(state: dict[str, Tensor], arrays: dict[str, np.ndarray]) -> Proof:
    """Compare a model's ``state`` dict (after loading) with the ``arrays`` of the file it was loaded from.

    Raises UserError unless the file holds exactly the 265 ResNet-50 tensors (and perhaps a classifier under
    ``stem.fc``), each of them is in exactly one place of the model with the same values, and the model's trunk has
    no tensor besides them and the protocol's extra norm.
    """
    wanted = {to_detectron2(name) for name in resnet50.expected_shapes()}
    offered = {name for name in arrays if not name.startswith("stem.fc.")}
    if offered != wanted:
        odd = sorted(offered ^ wanted)[0]
        raise UserError(
            f"the weights hold {len(offered & wanted)} of {len(wanted)} ResNet-50 tensors and {len(offered - wanted)} "
            f"others (first difference: {odd}); convert the source with transfer/convert.py"
        )
    places: dict[str, list[str]] = {name: [] for name in wanted}
    extras = []
    for key in state:
        match = TRUNK.match(key)
        if not match or key.endswith(COUNTER):
            continue
        if EXTRA_NORM.match(key):
            extras.append(key)
        elif match[2] in places:
            places[match[2]].append(key)
        else:
            raise UserError(f"the model has {key}, which the weights do not hold; is MODEL.RESNETS.DEPTH 50?")
    return Proof({name: _arrival(name, keys, state, arrays[name]) for name, keys in sorted(places.items())}, extras)


def _arrival(name: str, keys: list[str], state: dict[str, Tensor], array: np.ndarray) -> str:
    if len(keys) != 1:
        where = " and ".join(keys) or "nowhere in the model"
        raise UserError(f"the weights' {name} must reach the model exactly once, but it is {where}")
    inside, outside = state[keys[0]].cpu(), torch.as_tensor(array)
    if inside.shape != outside.shape:
        raise UserError(f"{keys[0]} has shape {list(inside.shape)} in the model, {list(outside.shape)} in the weights")
    if not torch.equal(inside, outside.to(inside.dtype)):
        raise UserError(f"{keys[0]} of the model differs from {name} of the weights: they were not loaded")
    return keys[0]
