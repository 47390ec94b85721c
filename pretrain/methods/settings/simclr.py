"""Settings of SimCLR."""

from dataclasses import dataclass, field

from runtime.settings import ABOVE_0, AT_LEAST_1, choice

TITLE = "SimCLR"
LEARNS_FROM_LABELS = False

# Appendix B.1: batch 4096, 0.075 x sqrt(batch), which is 4.8 as 0.3 x batch / 256 is there; images in [0, 1].
RECIPE = {
    "batch_size": 4096,
    "optim": {"name": "lars", "lr": 0.075, "scale_lr": "sqrt", "weight_decay": 1e-6, "exclude_1d": True},
    "views": {"recipe": "simclr", "min_scale": 0.08, "normalisation": "none", "interpolation": "bicubic"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    temperature: float = field(default=0.1, metadata=ABOVE_0)
    """T, by which cosines are divided (the paper's ImageNet setting; CIFAR-10: 0.5)."""

    head: str = field(default="paper", metadata=choice("paper", "code"))
    """paper (linear layers with ReLU between) or code (each layer without bias and with BN, the last BN without
    shift: the released default)."""

    layers: int = field(default=2, metadata=AT_LEAST_1)
    """Linear layers of the projector (2 in the paper; 3 is the released code's default, SimCLR v2's)."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Width of the projector's hidden layers (paper and released code)."""

    output_width: int = field(default=128, metadata=AT_LEAST_1)
    """Width of the projector's output, D (the paper's Figure 8: no difference from 32 to 2048)."""

    views_at_once: bool = False
    """Both views in one pass, so that batch norm sees both, as in the released code (google-research/simclr
    tf2/model.py); else each view has its own statistics."""
