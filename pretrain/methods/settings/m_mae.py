"""Settings of M-MAE."""

from dataclasses import dataclass, field

from pretrain.networks import masked_settings
from runtime.settings import NOT_NEGATIVE, choice

TITLE = "M-MAE"
LEARNS_FROM_LABELS = False
MASKS_PATCHES = True
TAKES_VIEWS = masked_settings.TAKES_VIEWS
RECIPE = masked_settings.REGULARISED_RECIPE
check = masked_settings.check


@dataclass(frozen=True, kw_only=True)
class Config(masked_settings.RegularisedConfig):
    mu: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Scale of the class tokens' covariance in the coding rate (the paper: 1 for ViT-B, 3 for ViT-L)."""

    scale: str = field(default="width", metadata=choice("width", "batch"))
    """What mu is divided by: width (d, as the released code computes it) or batch (m, as its comment says); the two
    are the same for ViT-L at the released batch of 1024."""
