"""Settings of Barlow Twins."""

from dataclasses import dataclass, field

from runtime.settings import AT_LEAST_1, NOT_NEGATIVE

TITLE = "Barlow Twins"
LEARNS_FROM_LABELS = False

# The released code: weights at 0.2 x batch / 256, biases and norms at 0.0048, the cosine down to a thousandth.
RECIPE = {
    "batch_size": 2048,
    "optim": {
        "name": "lars",
        "lr": 0.2,
        "bias_lr": 0.024,
        "final_lr": 0.001,
        "weight_decay": 1e-6,
        "exclude_1d": True,
    },
    "views": {"recipe": "asymmetric", "min_scale": 0.08, "interpolation": "bicubic"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    redundancy: float = field(default=0.0051, metadata=NOT_NEGATIVE)
    """Weight of the off-diagonal squares, the paper's lambda (released code 0.0051; paper 0.005)."""

    scale: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Factor of the whole loss (solo-learn on CIFAR: 0.1); what LARS adapts hardly feels it, biases and norms do."""

    layers: int = field(default=3, metadata=AT_LEAST_1)
    """Linear layers of the projector (paper and released code)."""

    projector_width: int = field(default=8192, metadata=AT_LEAST_1)
    """Width of all layers of the projector, and D (the paper's Figure 4: wider is better up to 16384)."""
