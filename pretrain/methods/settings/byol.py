"""Settings of BYOL."""

from dataclasses import dataclass, field

from runtime.settings import AT_LEAST_1, SHARE

TITLE = "BYOL"
LEARNS_FROM_LABELS = False

# The released code for 100 epochs: 0.45 x batch / 256 = 7.2. For 300 epochs it takes 0.3, for 1000 epochs 0.2 with
# weight decay 1.5e-6.
RECIPE = {
    "batch_size": 4096,
    "optim": {"name": "lars", "lr": 0.45, "weight_decay": 1e-6, "exclude_1d": True},
    "views": {"recipe": "asymmetric", "min_scale": 0.08, "interpolation": "bicubic"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    teacher_momentum: float = field(default=0.99, metadata=SHARE)
    """The teacher's momentum at the start; a cosine raises it to 1 (the released code: 0.97 for 40 epochs, 0.99 for
    100 and 300, 0.996 for 1000)."""

    separate_start: bool = True
    """Give the teacher initial weights of its own, as the released code does by a second seed; false: a copy of the
    student's."""

    projector_width: int = field(default=4096, metadata=AT_LEAST_1)
    """Hidden width of the projector (paper and released code)."""

    predictor_width: int = field(default=4096, metadata=AT_LEAST_1)
    """Hidden width of the predictor (paper and released code)."""

    output_width: int = field(default=256, metadata=AT_LEAST_1)
    """Width of the outputs of projector and predictor, D (paper and released code)."""
