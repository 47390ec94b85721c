"""Settings of Matrix-SSL."""

from dataclasses import dataclass, field

from runtime.command_line import UserError
from runtime.settings import AT_LEAST_1, NOT_NEGATIVE, SHARE, choice

TITLE = "Matrix-SSL"
LEARNS_FROM_LABELS = False

# The released code's ImageNet recipe for 100 epochs. What it shares with the suite's defaults is not repeated.
RECIPE = {"batch_size": 1024, "optim": {"lr": 0.5, "weight_decay": 1e-5}, "views": {"recipe": "asymmetric"}}


@dataclass(frozen=True, kw_only=True)
class Config:
    variant: str = field(default="released", metadata=choice("released", "paper"))
    """released (the authors' code, what produced the published numbers) or paper (eq. 14); two different losses."""

    gamma: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Weight of the alignment term (eq. 13; the paper's Table 5 finds 1 best)."""

    ridge: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Multiple of I added to a covariance before its logarithm (mce_mu, 1 in the release's README); near 1, or the
    Taylor series is a different loss."""

    target_scale: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Multiple of I that uniformity aims at, for the released variant (mce_lambd, 1 in its README; the paper: 1/D)."""

    order: int | None = field(default=4, metadata=AT_LEAST_1)
    """Order of the Taylor logarithm (Table 6 tries 3, 4, 5); none: the exact logarithm, where one exists."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Width of all three layers of the projector, and D of the covariances (released code)."""

    predictor_width: int = field(default=512, metadata=AT_LEAST_1)
    """Hidden width of the predictor (released code)."""

    teacher_momentum: float = field(default=0.996, metadata=SHARE)
    """The teacher's momentum at the start; a cosine raises it to 1 at the end (released code)."""


def check(config: Config, batch_size: int) -> None:
    """Raise UserError for a setting of the other loss."""
    if config.variant == "paper" and config.target_scale != 1:
        raise UserError(
            f"method.target_scale={config.target_scale} is a setting of method.variant=released; "
            f"the paper's uniformity aims at I/D: leave it out"
        )
