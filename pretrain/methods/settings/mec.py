"""Settings of MEC."""

from dataclasses import dataclass, field

from runtime.settings import ABOVE_0, AT_LEAST_1, SHARE

TITLE = "MEC"
LEARNS_FROM_LABELS = False

# The released code's recipe for 100 epochs, the one Matrix-SSL took over.
RECIPE = {"batch_size": 1024, "optim": {"lr": 0.5, "weight_decay": 1e-5}, "views": {"recipe": "asymmetric"}}


@dataclass(frozen=True, kw_only=True)
class Config:
    distortion: float = field(default=64.0, metadata=ABOVE_0)
    """Squared coding error eps^2 (released code); lambda_inv = batch x eps^2 / D, 32 at batch 1024 and D = 2048."""

    warmup_factor: float = field(default=8.0, metadata=ABOVE_0)
    """lambda_inv begins this many times larger, against a series that diverges while features are still alike (released
    code; were they all one, its norm would be D / (eps^2 x this): 4 at D = 2048, where it converges below 1)."""

    warmup_share: float = field(default=0.1, metadata=SHARE)
    """Share of training over which it comes down, linearly (the released code: 10 of 100 epochs)."""

    order: int = field(default=4, metadata=AT_LEAST_1)
    """Order of the Taylor logarithm (released code)."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Width of all three layers of the projector, and D (released code)."""

    predictor_width: int = field(default=512, metadata=AT_LEAST_1)
    """Hidden width of the predictor (released code)."""

    teacher_momentum: float = field(default=0.996, metadata=SHARE)
    """The teacher's momentum at the start; a cosine raises it to 1 at the end (released code)."""
