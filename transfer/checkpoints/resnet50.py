"""What a ResNet-50 trunk is made of: the 265 tensors, by their torchvision names, with shapes."""

import re
from pathlib import Path

from torch import Tensor

from runtime.command_line import UserError

BLOCKS = (3, 4, 6, 3)
"""Bottleneck blocks in layer1 to layer4."""


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of the 53 convolution weights and the 4 x 53 batch-norm tensors, without ``fc``."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    channels = 64
    for stage, blocks in enumerate(BLOCKS):
        width, out = 64 * 2**stage, 256 * 2**stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            shapes |= {f"{at}.conv1.weight": (width, channels, 1, 1), **_norm(f"{at}.bn1", width)}
            shapes |= {f"{at}.conv2.weight": (width, width, 3, 3), **_norm(f"{at}.bn2", width)}
            shapes |= {f"{at}.conv3.weight": (out, width, 1, 1), **_norm(f"{at}.bn3", out)}
            if block == 0:
                shapes |= {f"{at}.downsample.0.weight": (out, channels, 1, 1), **_norm(f"{at}.downsample.1", out)}
            channels = out
    return shapes


DEPTHS: dict[tuple, str] = {
    ((2, 2, 2, 2), "basic (two 3x3)"): "ResNet-18",
    ((3, 4, 6, 3), "basic (two 3x3)"): "ResNet-34",
    ((3, 4, 6, 3), "bottleneck"): "ResNet-50",
    ((3, 4, 23, 3), "bottleneck"): "ResNet-101",
    ((3, 8, 36, 3), "bottleneck"): "ResNet-152",
    ((3, 24, 36, 3), "bottleneck"): "ResNet-200",
}


def depth(shapes: dict[str, tuple[int, ...]]) -> str:
    """``ResNet-50: [3, 4, 6, 3] bottleneck blocks per stage``, from the names."""
    blocks = tuple(
        len({name.split(".")[1] for name in shapes if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    kind = "bottleneck" if any(".conv3." in name for name in shapes) else "basic (two 3x3)"
    return f"{DEPTHS.get((blocks, kind), 'no usual ResNet')}: {list(blocks)} {kind} blocks per stage"


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


def fault(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Say in one clause why a trunk with these ``shapes`` is no ImageNet ResNet-50; None if it is one.

    The clauses go from the likeliest cause to the general one, because a list of 200 names explains nothing.
    """
    expected = expected_shapes()
    if not shapes:
        return "no tensor of a ResNet trunk was found in it"
    if not stem(shapes).startswith(("ImageNet", "no ")):
        return f"it has a {stem(shapes)}, where Detectron2 needs the 7x7 ImageNet stem [64, 3, 7, 7]"
    stages = sorted({name.split(".")[0] for name in expected} - {name.split(".")[0] for name in shapes})
    if stages:
        return f"it lacks all of {', '.join(stages)}"
    if not depth(shapes).startswith("ResNet-50:"):
        return f"it is a {depth(shapes)}, a ResNet-50 has {list(BLOCKS)} bottleneck"
    if width(shapes) != "x1":
        return f"it is a ResNet-50 of width {width(shapes)}; {_tensor_fault(shapes, expected)}"
    return _tensor_fault(shapes, expected)


def _tensor_fault(shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str | None:
    if missing := [name for name in expected if name not in shapes]:
        return f"it lacks {len(missing)} of {len(expected)} tensors, the first {missing[0]}"
    if extra := [name for name in shapes if name not in expected]:
        return f"it has {len(extra)} tensors a ResNet-50 has not, the first {extra[0]}"
    if wrong := [name for name, shape in expected.items() if tuple(shapes[name]) != shape]:
        found = list(shapes[wrong[0]])
        return f"{len(wrong)} shapes differ, the first {wrong[0]} is {found}, expected {list(expected[wrong[0]])}"
    return None


def check(source: Path, tensors: dict[str, Tensor]) -> None:
    """Raise UserError unless ``tensors`` (torchvision names) are a trained ImageNet ResNet-50 with finite values."""
    if why := fault({name: tuple(tensor.shape) for name, tensor in tensors.items()}):
        raise UserError(f"{source} is not a ResNet-50 for Detectron2: {why}")
    if odd := [name for name, tensor in tensors.items() if tensor.is_meta or not tensor.is_floating_point()]:
        kind = "nothing (device meta)" if tensors[odd[0]].is_meta else str(tensors[odd[0]].dtype)
        raise UserError(f"{source}: {odd[0]} holds {kind}, expected floating point; so do {len(odd)} of 265 tensors")
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise UserError(f"{source}: {len(bad)} tensors hold NaN or infinity, the first {bad[0]}; training diverged")
    variances = [tensor for name, tensor in tensors.items() if name.endswith("running_var")]
    if all((variance == 1).all() for variance in variances):
        raise UserError(
            f"{source} is untrained: all {len(variances)} BatchNorm variances are exactly 1; "
            f"for a row from scratch use transfer/train.py --weights random"
        )
