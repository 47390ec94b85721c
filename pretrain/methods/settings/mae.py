"""Settings of MAE."""

from dataclasses import dataclass

from pretrain.networks import masked_settings

TITLE = "MAE"
LEARNS_FROM_LABELS = False
MASKS_PATCHES = True
TAKES_VIEWS = masked_settings.TAKES_VIEWS
RECIPE = masked_settings.RECIPE
check = masked_settings.check


@dataclass(frozen=True, kw_only=True)
class Config(masked_settings.MaskedConfig):
    pass
