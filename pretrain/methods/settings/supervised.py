"""Settings of Supervised."""

from dataclasses import dataclass, field

from runtime.settings import AT_LEAST_1

TITLE = "Supervised"
LEARNS_FROM_LABELS = True
TAKES_VIEWS = (1, 1)

# torchvision's reference for ResNet-50 (90 epochs, 76.1 top-1), with a cosine in place of its three steps.
RECIPE = {
    "batch_size": 256,
    "optim": {"lr": 0.1, "weight_decay": 1e-4, "warmup_epochs": 0.0},
    "views": {"recipe": "supervised", "min_scale": 0.08},
    "backbone": {"zero_init_residual": False},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    classes: int = field(default=1000, metadata=AT_LEAST_1)
    """Classes of the training images, one folder each right below data.root (ImageNet-1k: 1000)."""
