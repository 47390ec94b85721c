"""What a ResNet-50 trunk is made of: the 265 tensors, by their torchvision names, with shapes."""

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


def fault(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Say in one clause why a trunk with these ``shapes`` is no ImageNet ResNet-50; None if it is one.

    The clauses go from the likeliest cause to the general one, because a list of 200 names explains nothing.
    """
    expected = expected_shapes()
    if not shapes:
        return "no tensor of a ResNet trunk was found in it"
    stem = shapes.get("conv1.weight")
    if stem and stem[2:] == (3, 3):
        return f"its conv1.weight is {list(stem)}: a CIFAR stem (3x3), where Detectron2 needs the 7x7 ImageNet stem"
    stages = sorted({name.split(".")[0] for name in expected} - {name.split(".")[0] for name in shapes})
    if stages:
        return f"it lacks all of {', '.join(stages)}"
    return _depth_fault(shapes) or _tensor_fault(shapes, expected)


def _depth_fault(shapes: dict[str, tuple[int, ...]]) -> str | None:
    blocks = tuple(
        len({name.split(".")[1] for name in shapes if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    kind = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic (two 3x3)"
    if blocks != BLOCKS or kind != "bottleneck":
        return f"it has {list(blocks)} {kind} blocks per stage, ResNet-50 has {list(BLOCKS)} bottleneck blocks"
    return None


def _tensor_fault(shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str | None:
    if missing := [name for name in expected if name not in shapes]:
        return f"it lacks {len(missing)} of {len(expected)} tensors, the first {missing[0]}"
    if extra := [name for name in shapes if name not in expected]:
        return f"it has {len(extra)} tensors a ResNet-50 has not, the first {extra[0]}"
    if wrong := [name for name, shape in expected.items() if tuple(shapes[name]) != shape]:
        found = list(shapes[wrong[0]])
        return f"{len(wrong)} shapes differ, the first {wrong[0]} is {found}, expected {list(expected[wrong[0]])}"
    return None
