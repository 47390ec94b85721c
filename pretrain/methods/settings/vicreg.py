"""Settings of VICReg."""

from dataclasses import dataclass, field

from runtime.settings import AT_LEAST_1, NOT_NEGATIVE

TITLE = "VICReg"
LEARNS_FROM_LABELS = False

# The released code: 0.3 x batch / 256 for 100 epochs (0.2 for 1000), the cosine down to a thousandth, and BYOL's views
# instead of the paper's symmetric ones.
RECIPE = {
    "batch_size": 2048,
    "optim": {"name": "lars", "lr": 0.3, "final_lr": 0.001, "weight_decay": 1e-6, "exclude_1d": True},
    "views": {"recipe": "asymmetric", "min_scale": 0.08, "interpolation": "bicubic"},
    "backbone": {"zero_init_residual": False},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    invariance: float = field(default=25.0, metadata=NOT_NEGATIVE)
    """Weight of the invariance term, the paper's lambda (eq. 6)."""

    variance: float = field(default=25.0, metadata=NOT_NEGATIVE)
    """Weight of the variance term, the paper's mu, on the mean over both views (released code; eq. 6 has the sum)."""

    covariance: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Weight of the covariance term, the paper's nu, on the sum over both views (eq. 6)."""

    projector_width: int = field(default=8192, metadata=AT_LEAST_1)
    """Width of all three layers of the expander, and D (paper and released code)."""
