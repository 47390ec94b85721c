"""torchvision's names of a ResNet's tensors <-> Detectron2's, as two tables that check each other."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from transfer.checkpoints.families import RESNET, Wishes

if TYPE_CHECKING:  # the command line reads the tables without waiting for torch
    from torch import Tensor

    from transfer.checkpoints.renamed import Renamed

TO_DETECTRON2 = [
    (r"^(conv1|bn1)\.", r"stem.\1."),
    (r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", r".shortcut."),
    (r"\.downsample\.1\.", r".shortcut.norm."),
]

TO_TORCHVISION = [
    (r"\.conv(\d)\.norm\.", r".bn\1."),
    (r"\.shortcut\.norm\.", r".downsample.1."),
    (r"\.shortcut\.", r".downsample.0."),
    (r"^stem\.", r""),
    (r"^res(\d)\.", lambda match: f"layer{int(match[1]) - 1}."),
]


def _apply(table, name: str) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def to_detectron2(name: str) -> str:
    """``layer1.0.bn2.weight`` -> ``res2.0.conv2.norm.weight``."""
    new = _apply(TO_DETECTRON2, name)
    assert to_torchvision(new) == name, f"{name} -> {new} -> {to_torchvision(new)}"
    return new


def to_torchvision(name: str) -> str:
    """The inverse of ``to_detectron2``."""
    return _apply(TO_TORCHVISION, name)


SEQUENTIAL = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}
"""Children of a torchvision ResNet that hold tensors, by their number in ``nn.Sequential(*resnet.children())``."""


def from_sequential(name: str) -> str:
    """``4.0.conv1.weight`` -> ``layer1.0.conv1.weight``; a name without such a number is marked as foreign."""
    first, _, rest = name.partition(".")
    known = first.isdigit() and int(first) in SEQUENTIAL
    return f"{SEQUENTIAL[int(first)]}.{rest}" if known else f"(foreign) {name}"


def renamed(source: Path, tensors: "dict[str, Tensor]", wishes: Wishes, declared: dict) -> "Renamed":
    """A trained ImageNet ResNet (torchvision's names) under Detectron2's names; UserError for anything else."""
    from transfer.checkpoints import resnet
    from transfer.checkpoints.renamed import Renamed, array

    del wishes, declared
    resnet.check(source, tensors)
    arrays = {to_detectron2(name): array(tensor) for name, tensor in tensors.items()}
    architecture = resnet.architecture_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    record = {} if architecture == resnet.RESNET50 else {"family": RESNET, "name": architecture.name}
    return Renamed(arrays, {name: {"to": to_detectron2(name)} for name in tensors}, tensors, record)


def differences(renamed: "Renamed", source: Path, input: Mapping) -> dict[str, float]:
    """How far torchvision's and Detectron2's networks are apart at each stage (transfer/checkpoints/parity.py)."""
    from transfer.checkpoints import parity

    del source
    return parity.stage_differences(renamed.state, renamed.arrays, stride_in_1x1=input["stride_in_1x1"])
