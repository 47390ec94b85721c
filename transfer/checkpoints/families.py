"""The families of networks, and what the user can say of one; no torch here."""

import re
from dataclasses import dataclass

RESNET, VIT, TIMM = "ResNet", "ViT", "timm"

SIGNS = {
    RESNET: re.compile(r"^(conv1|bn1|layer[1-4])\."),
    VIT: re.compile(r"^blocks\.\d+\.(norm1|attn)\."),
    TIMM: re.compile(r"^(stages|layers|blocks|features|stem|layer[1-4])\b"),
}
"""How the names of a family's trunk begin, by which a file is known to hold one."""


@dataclass(frozen=True)
class Wishes:
    """What the user says of a network because no tensor shows it, or asks to have changed."""

    backbone: str = ""
    """``timm:NAME``: which network of timm the weights are of."""
    heads: int = 0
    """Attention heads of a ViT; 0 leaves it to the format and the file."""
    patch: int = 0
    """The patch size that the kernel of a ViT's patch projection is resampled to; 0 leaves it as it is."""
    without_positions: bool = False
    """Convert a network whose positions Detectron2's ViT cannot hold, without them."""
