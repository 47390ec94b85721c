"""What a ResNet trunk is made of: its tensors by their torchvision names, with shapes, for every depth and width."""

import re
from pathlib import Path

from torch import Tensor

from pretrain.backbones.resnet import Architecture, architecture_of
from runtime.command_line import UserError
from transfer.checkpoints.renamed import check_values
from transfer.detection import network

RESNET50 = Architecture()


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def expected_shapes(architecture: Architecture = RESNET50) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every convolution weight and batch-norm tensor, without ``fc``: 265 for ResNet-50."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    channels = 64
    for stage, blocks in enumerate(architecture.blocks):
        for block in range(blocks):
            at, (convolutions, out) = f"layer{stage + 1}.{block}", _block(architecture, stage, channels)
            for i, shape in enumerate(convolutions, start=1):
                shapes |= {f"{at}.conv{i}.weight": shape, **_norm(f"{at}.bn{i}", shape[0])}
            if block == 0 and (channels != out or stage > 0):
                shapes |= {f"{at}.downsample.0.weight": (out, channels, 1, 1), **_norm(f"{at}.downsample.1", out)}
            channels = out
    return shapes


def _block(architecture: Architecture, stage: int, channels: int) -> tuple[list[tuple[int, ...]], int]:
    """The shapes of a block's convolutions, and its channels."""
    planes = 64 * 2**stage
    if not architecture.bottleneck:
        return [(planes, channels, 3, 3), (planes, planes, 3, 3)], planes
    groups, out = architecture.groups, 4 * planes
    inside = architecture.width * groups * 2**stage
    return [(inside, channels, 1, 1), (inside, inside // groups, 3, 3), (out, inside, 1, 1)], out


def depth(shapes: dict[str, tuple[int, ...]]) -> str:
    """``ResNet-50: [3, 4, 6, 3] bottleneck blocks per stage``, from the names."""
    found = architecture_of(shapes)
    kind = "bottleneck" if found.bottleneck else "basic (two 3x3)"
    usual = f"ResNet-{found.depth}" if found.depth else "no usual ResNet"
    return f"{usual}: {list(found.blocks)} {kind} blocks per stage"


def stem(shapes: dict[str, tuple[int, ...]]) -> str:
    """What stands before the first stage: the ImageNet stem, CIFAR's, a deep one, or none."""
    if any(re.match(r"conv1\.\d", name) for name in shapes):
        return "deep stem (several 3x3)"
    if "conv1.weight" not in shapes:
        return "no stem"
    stems: dict[tuple, str] = {(7, 7): "ImageNet stem", (3, 3): "CIFAR stem"}
    kind = stems.get(tuple(shapes["conv1.weight"][2:]), "unusual stem")
    return f"{kind}, conv1.weight {list(shapes['conv1.weight'])}"


def width(shapes: dict[str, tuple[int, ...]]) -> str:
    """``x1``, or by how much the 3x3 convolutions of the first stage are wider than ResNet-50's, and their groups."""
    middle = [shape for name, shape in shapes.items() if re.match(r"layer1\.\d+\.conv2\.weight", name)]
    wide, narrow = middle[0][:2] if middle else (64, 64)
    return f"x{wide / 64:g}" + (f" in {wide // narrow} groups" if narrow != wide else "")


KNOWN = tuple(network.DEPTHS.values())
"""The depths that Detectron2 builds."""


def fault(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Say in one clause why a trunk with these ``shapes`` is no ImageNet ResNet; None if it is one.

    The clauses go from the likeliest cause to the general one, because a list of 200 names explains nothing.
    """
    if not shapes:
        return "no tensor of a ResNet trunk was found in it"
    if not stem(shapes).startswith(("ImageNet", "no ")):
        return f"it has a {stem(shapes)}, where Detectron2 needs the 7x7 ImageNet stem [64, 3, 7, 7]"
    stages = sorted({name.split(".")[0] for name in expected_shapes()} - {name.split(".")[0] for name in shapes})
    if stages:
        return f"it lacks all of {', '.join(stages)}"
    architecture = architecture_of(shapes)
    if architecture.depth not in KNOWN:
        return f"it is a {depth(shapes)}, Detectron2 builds ResNet-{', '.join(map(str, KNOWN))}"
    why = _tensor_fault(shapes, expected_shapes(architecture), f"ResNet-{architecture.depth}")
    return (
        f"it is a ResNet-{architecture.depth} of width {width(shapes)}; {why}" if why and width(shapes) != "x1" else why
    )


def _tensor_fault(shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], kind: str) -> str | None:
    if missing := [name for name in expected if name not in shapes]:
        return f"it lacks {len(missing)} of {len(expected)} tensors, the first {missing[0]}"
    if extra := [name for name in shapes if name not in expected]:
        return f"it has {len(extra)} tensors a {kind} has not, the first {extra[0]}"
    if wrong := [name for name, shape in expected.items() if tuple(shapes[name]) != shape]:
        found = list(shapes[wrong[0]])
        return f"{len(wrong)} shapes differ, the first {wrong[0]} is {found}, expected {list(expected[wrong[0]])}"
    return None


def check(source: Path, tensors: dict[str, Tensor]) -> None:
    """Raise UserError unless ``tensors`` (torchvision names) are a trained ImageNet ResNet with finite values."""
    if why := fault({name: tuple(tensor.shape) for name, tensor in tensors.items()}):
        raise UserError(f"{source} is not a ResNet for Detectron2: {why}")
    check_values(source, tensors)
    variances = [tensor for name, tensor in tensors.items() if name.endswith("running_var")]
    if all((variance == 1).all() for variance in variances):
        raise UserError(
            f"{source} is untrained: all {len(variances)} BatchNorm variances are exactly 1; "
            f"for a row from scratch use transfer/train.py --weights random"
        )
