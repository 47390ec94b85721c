"""Settings of Spectral Contrastive."""

from dataclasses import dataclass, field

from runtime.settings import ABOVE_0, AT_LEAST_1

TITLE = "Spectral Contrastive"
LEARNS_FROM_LABELS = False

# The released ImageNet config (..._imagenet_lr005_mu10_bs384_100eps.yaml): SGD at 0.05 x batch / 256, no warm-up, on
# SimSiam's views.
RECIPE = {
    "batch_size": 384,
    "optim": {"lr": 0.05, "weight_decay": 1e-4, "warmup_epochs": 0.0},
    "views": {"recipe": "symmetric"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    mu: float | None = field(default=10.0, metadata=ABOVE_0)
    """Longer embeddings are shortened to sqrt(mu), and the loss is divided by mu (the released configs: 10 on ImageNet,
    1 on CIFAR-10); none: the loss as the paper prints it, of embeddings as long as they are."""

    layers: int = field(default=3, metadata=AT_LEAST_1)
    """Linear layers of the projector (the released ImageNet config; 1 on CIFAR-10)."""

    projector_width: int = field(default=8192, metadata=AT_LEAST_1)
    """Width of all layers of the projector, and D (the released ImageNet config; 1000 on CIFAR-10)."""
