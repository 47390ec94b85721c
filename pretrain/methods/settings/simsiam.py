"""Settings of SimSiam."""

from dataclasses import dataclass, field

from runtime.settings import AT_LEAST_1

TITLE = "SimSiam"
LEARNS_FROM_LABELS = False

# The released code's recipe: batch 512, 0.05 x batch / 256, no warm-up (10 epochs from batch 1024 on), MoCo v2's views.
RECIPE = {
    "batch_size": 512,
    "optim": {"lr": 0.05, "weight_decay": 1e-4, "warmup_epochs": 0.0},
    "views": {"recipe": "symmetric"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    stop_gradient: bool = True
    """Hold the target branch still. Without it the network collapses: 0.1 linear top-1 (Table 1), the paper's
    reference for collapse."""

    layers: int = field(default=3, metadata=AT_LEAST_1)
    """Linear layers of the projector (the paper: 3, and 2 on CIFAR-10, appendix D)."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Width of all layers of the projector (paper and released code)."""

    predictor_width: int = field(default=512, metadata=AT_LEAST_1)
    """Hidden width of the predictor (paper and released code: a quarter of the projector's)."""
