"""Settings of SwAV."""

from dataclasses import dataclass, field

from runtime.command_line import UserError
from runtime.settings import ABOVE_0, AT_LEAST_1, NOT_NEGATIVE, SHARE

TITLE = "SwAV"
LEARNS_FROM_LABELS = False
TAKES_VIEWS = (2, None)

# The released multi-crop command at batch 4096: 4.8 = 0.3 x batch / 256, from 0.3 up, down to 0.0048; LARC without
# clipping, on every parameter.
RECIPE = {
    "batch_size": 4096,
    "optim": {"name": "lars", "lr": 0.3, "weight_decay": 1e-6, "warmup_start": 0.3, "final_lr": 0.001},
    "views": {"recipe": "simclr", "min_scale": 0.14, "small": 6, "normalisation": "swav"},
    "backbone": {"zero_init_residual": False},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    prototypes: int = field(default=3000, metadata=AT_LEAST_1)
    """K (the released commands for ImageNet)."""

    temperature: float = field(default=0.1, metadata=ABOVE_0)
    """T, by which scores are divided (the released commands)."""

    epsilon: float = field(default=0.05, metadata=ABOVE_0)
    """Entropy weight of the codes: smaller is sharper (the released commands)."""

    iterations: int = field(default=3, metadata=AT_LEAST_1)
    """Sinkhorn iterations (the released commands)."""

    freeze_share: float = field(default=0.01, metadata=SHARE)
    """Share of training with fixed prototypes (the released code: 313 steps at batch 4096, one epoch; of 100)."""

    queue_size: int = field(default=0, metadata=NOT_NEGATIVE)
    """Earlier embeddings that take part in the codes, per large view; 0 for none, 3840 in the batch-256 command."""

    queue_from: float = field(default=0.075, metadata=SHARE)
    """Share of training after which the queue is filled, and used once it is full (the released batch-256 command:
    epoch 15 of 200)."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Hidden width of the projector (the released commands)."""

    output_width: int = field(default=128, metadata=AT_LEAST_1)
    """Width of the projector's output, D (the released commands)."""


def check(config: Config, batch_size: int) -> None:
    """Raise UserError where the queue does not fit the batch."""
    if config.queue_size % batch_size:
        raise UserError(
            f"method.queue_size={config.queue_size} must be a multiple of batch_size={batch_size}, or 0; "
            f"change one of them"
        )
