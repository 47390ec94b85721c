"""Supervised: cross-entropy on labels, the reference row of every table.

Letters: B samples in the global batch, K classes.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.methods import Embeddings

# torchvision's reference for ResNet-50 (90 epochs, 76.1 top-1), with a cosine in place of its three steps.
RECIPE = {
    "batch_size": 256,
    "optim": {"lr": 0.1, "weight_decay": 1e-4, "warmup_epochs": 0.0},
    "views": {"recipe": "supervised", "min_scale": 0.08},
    "backbone": {"zero_init_residual": False},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    classes: int = 1000
    """Classes of the training images, one folder each right below data.root (ImageNet-1k: 1000)."""


class Method(nn.Module):
    """A linear classifier on the backbone."""

    takes_views = (1, 1)
    learns_from_labels = True

    def __init__(self, backbone: nn.Module, config: Config):
        super().__init__()
        self.backbone, self.classes = backbone, config.classes
        self.classifier = nn.Linear(2048, config.classes)

    def forward(self, views: list[Tensor]) -> Embeddings:
        """One view (b, 3, H, W) -> its logits (b, K), float32."""
        return Embeddings((self.classifier(self.backbone(views[0])).float(),), ())

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Cross-entropy, mean over the batch."""
        return {"cross_entropy": F.cross_entropy(embeddings.online[0], embeddings.labels)}

    def after_step(self, progress: float) -> None:
        """Nothing moves but by the gradient."""
