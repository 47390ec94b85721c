"""Settings of MoCo v2."""

from dataclasses import dataclass, field

from runtime.command_line import Faults
from runtime.settings import ABOVE_0, AT_LEAST_1, NOT_NEGATIVE, SHARE

TITLE = "MoCo v2"
LEARNS_FROM_LABELS = False

# The released command, --mlp --moco-t 0.2 --aug-plus --cos, for 200 and for 800 epochs; a rate that no batch changes.
RECIPE = {
    "batch_size": 256,
    "optim": {"lr": 0.03, "scale_lr": "none", "weight_decay": 1e-4, "warmup_epochs": 0.0},
    "views": {"recipe": "symmetric"},
    "backbone": {"zero_init_residual": False},
    # The queue begins with random keys, from which all embeddings may flee to one side until it holds real ones.
    "log": {"collapse_patience": 50},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    temperature: float = field(default=0.2, metadata=ABOVE_0)
    """T, by which cosines are divided (MoCo v2; 0.07 in MoCo v1)."""

    queue_size: int = field(default=65536, metadata=NOT_NEGATIVE)
    """Keys to compare with, K, a multiple of the batch (the released default)."""

    teacher_momentum: float = field(default=0.999, metadata=SHARE)
    """Momentum of the key encoder (MoCo v1, section 4.1: 0.999 is best)."""

    teacher_momentum_end: float | None = field(default=None, metadata=SHARE)
    """Its value at the end, reached along half a cosine (solo-learn's MoCo v2+); none: constant, as in MoCo."""

    symmetric: bool = False
    """Each view is a query, and each has a queue of keys, as in solo-learn's MoCo v2+; in MoCo the first view asks."""

    bn_groups: int = field(default=8, metadata=AT_LEAST_1)
    """Groups of the global batch with batch statistics of their own, a multiple of the processes (the released code:
    one per GPU, 8 GPUs, so 32 images each)."""

    layers: int = field(default=2, metadata=AT_LEAST_1)
    """Linear layers of the projector (MoCo v2: 2; MoCo v1 and the authors' CIFAR-10 notebook: 1)."""

    projector_width: int = field(default=2048, metadata=AT_LEAST_1)
    """Hidden width of the projector (the released code)."""

    output_width: int = field(default=128, metadata=AT_LEAST_1)
    """Width of the projector's output, D (the released code)."""


def check(config: Config, batch_size: int) -> None:
    """Raise UserError where queue or groups do not fit the batch."""
    faults = Faults()
    if config.queue_size < batch_size or config.queue_size % batch_size:
        faults.append(
            f"method.queue_size={config.queue_size} must be a multiple of batch_size={batch_size}; change one of them"
        )
    if batch_size % config.bn_groups or batch_size < 2 * config.bn_groups:
        faults.append(
            f"batch_size={batch_size} cannot be split into method.bn_groups={config.bn_groups} groups "
            f"of at least 2 images each; change one of them"
        )
    faults.check()
