"""torchvision's names of a ResNet's tensors <-> Detectron2's, as two tables that check each other."""

import re

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
