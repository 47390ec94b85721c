"""Supervised: cross-entropy on labels, the reference row of every table.

Letters: B samples in the global batch, K classes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.methods import Embeddings
from pretrain.methods.settings.supervised import Config
from pretrain.networks.backbone import Backbone


class Method(nn.Module):
    """A linear classifier on the backbone."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.backbone, self.classes = backbone, config.classes
        self.classifier = nn.Linear(backbone.width, config.classes)

    def forward(self, views: list[Tensor]) -> Embeddings:
        """One view (b, 3, H, W) -> its logits (b, K), float32."""
        return Embeddings((self.classifier(self.backbone(views[0])).float(),), ())

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Cross-entropy, mean over the batch."""
        assert embeddings.labels is not None
        return {"cross_entropy": F.cross_entropy(embeddings.online[0], embeddings.labels)}

    def after_step(self, progress: float) -> None:
        """Nothing moves but by the gradient."""
