"""What all masked auto-encoders have in common on the command line: settings, recipe, what goes together. No torch.

The names below are those of each method's settings (`pretrain.methods.settings`), which take them from here.
"""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pretrain.backbones import vit
from runtime.command_line import UserError
from runtime.settings import AT_LEAST_1, NOT_NEGATIVE, choice, limit

if TYPE_CHECKING:
    from pretrain.config import TrainConfig

TAKES_VIEWS = (1, 1)

# MAE's PRETRAIN.md and main_pretrain.py: 1.5e-4 x batch / 256, 40 epochs of warm-up, crops of 0.2 to 1, bicubic. The
# class token of a plain MAE does collapse, and the reconstruction goes on: nothing to stop for.
RECIPE = {
    "batch_size": 4096,
    "backbone": {"name": "vit_base_patch16", "positions": "sincos"},
    "optim": {
        "name": "adamw",
        "lr": 1.5e-4,
        "momentum": 0.9,
        "beta2": 0.95,
        "weight_decay": 0.05,
        "exclude_1d": True,
        "warmup_epochs": 40.0,
    },
    "views": {"recipe": "masked", "min_scale": 0.2, "interpolation": "bicubic"},
    "log": {"collapse_rank": 0.0},
}
# U-MAE and M-MAE: the same at 8 x 128 images (pretrain.sh).
REGULARISED_RECIPE = {**RECIPE, "batch_size": 1024}


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """Settings that methods share which see a part of an image's patches."""

    mask_ratio: float = field(default=0.75, metadata=limit("above 0, below 1", sys.float_info.min, 1 - 1e-15))
    """Share of the patches that the encoder does not see (arXiv 2111.06377, Figure 5)."""

    normalised_target: bool = True
    """Predict each patch less its mean over its standard deviation (norm_pix_loss, as released); false: its pixels."""

    decoder_width: int = field(default=512, metadata=AT_LEAST_1)
    """Width of the decoder, at most the encoder's (arXiv 2111.06377, Table 1b)."""

    decoder_depth: int = field(default=8, metadata=AT_LEAST_1)
    """Blocks of the decoder (arXiv 2111.06377, Table 1a)."""

    decoder_heads: int = field(default=16, metadata=AT_LEAST_1)
    """Attention heads of the decoder (released models_mae.py)."""

    recompute: bool = False
    """Activation checkpointing: keep each block's input only and compute the rest again in the backward pass; a third
    more time, for larger batches."""


@dataclass(frozen=True, kw_only=True)
class RegularisedConfig(MaskedConfig):
    """Settings of a masked autoencoder with a regulariser."""

    weight: float = field(default=0.01, metadata=NOT_NEGATIVE)
    """Weight of the regulariser, lambda (released pretrain.sh of U-MAE and of M-MAE: lamb)."""

    variant: str = field(default="written", metadata=choice("written", "released"))
    """written: the class token as the encoder gives it, and the weight as it stands, on any number of processes.
    released: as the released code computes it: the class token goes through the encoder's last norm a second time, and
    the weight is divided by `ranks`, for its gather drops the gradients of the other processes."""

    ranks: int = field(default=8, metadata=AT_LEAST_1)
    """Processes of the released run (pretrain.sh: 8), by which variant=released divides the weight."""

    @property
    def effective_weight(self) -> float:
        """What the gradient of the regulariser is multiplied by."""
        return self.weight / self.ranks if self.variant == "released" else self.weight


def visible_patches(patches: int, mask_ratio: float) -> int:
    """How many of ``patches`` the encoder sees, rounded down (released models_mae.py)."""
    return int(patches * (1 - mask_ratio))


def check(config: MaskedConfig, batch_size: int) -> None:
    """Raise UserError for a decoder that cannot be built."""
    del batch_size
    width, heads = config.decoder_width, config.decoder_heads
    if width % heads or width % 4:
        raise UserError(
            f"method.decoder_width={width} must be a multiple of method.decoder_heads={heads}, and of 4 for sines and "
            f"cosines of rows and columns; change one of them"
        )


def check_network(method: str, settings: "TrainConfig") -> None:
    """Raise UserError if the encoder is no ViT, or masking and decoder do not fit it; other settings are `check`ed."""
    name, config, side = settings.backbone.name, settings.method, settings.views.size
    if name not in vit.NAMES:
        raise UserError(
            f"{method} masks the patches of a ViT, and backbone.name={name} is none of this suite; "
            f"name a vit_SIZE_patchN, such as vit_base_patch16"
        )
    size, patch = vit.parts(name)
    if config.decoder_width > size.width:
        raise UserError(
            f"method.decoder_width={config.decoder_width} is wider than the encoder {name} ({size.width}); "
            f"the decoder is the light part: at most {size.width}"
        )
    patches = (side // patch) ** 2
    if side % patch == 0 and not visible_patches(patches, config.mask_ratio):
        raise UserError(
            f"method.mask_ratio={config.mask_ratio} leaves none of the {patches} patches of an image of {side} pixels "
            f"to be seen; lower it, or raise views.size"
        )
