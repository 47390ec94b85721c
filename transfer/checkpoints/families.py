"""The families of networks, and what the user can say of one; no torch here."""

from dataclasses import dataclass

from pretrain import backbones
from pretrain.backbones import resnet, timm, vit

RESNET, VIT, TIMM = resnet.TITLE, vit.TITLE, timm.TITLE

SIGNS = {family.TITLE: family.SIGN for family in backbones.families().values()}
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

    def unread_by(self, family: str) -> list[str]:
        """The options given that say nothing of a network of this ``family``."""
        of_vits = {"--heads": self.heads, "--patch": self.patch, "--without-positions": self.without_positions}
        given = {**(of_vits if family != VIT else {}), **({"--backbone": self.backbone} if family != TIMM else {})}
        return [option for option, value in given.items() if value]
