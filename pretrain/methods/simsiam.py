"""SimSiam: negative cosine similarity to the other view, held still (arXiv 2011.10566).

Letters: B samples in the global batch, D features; p is the predictor's output, z the projector's.
"""

import torch.nn.functional as F
from torch import Tensor

from pretrain.methods import Embeddings
from pretrain.methods.settings.simsiam import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.siamese import Siamese


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) = -mean over rows of the cosine (eq. 1); (B, D) both, -1 when aligned. Gradients go through both."""
    return -F.cosine_similarity(p, z, dim=1).mean()


class Method(Siamese):
    """The shared network without a teacher."""

    constant_lr = ("predictor",)  # the released command's --fix-pred-lr: 68.1 against 67.7 with the cosine (Table 1)

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__(
            backbone,
            projector_width=config.projector_width,
            predictor_width=config.predictor_width,
            teacher_momentum=None,
            layers=config.layers,
        )
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """D(p1, z2) / 2 + D(p2, z1) / 2 (eq. 2; eq. 4 with the stop-gradient)."""
        (p1, p2), (z1, z2), _ = embeddings
        if self.config.stop_gradient:
            z1, z2 = z1.detach(), z2.detach()
        return {"similarity": (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2}
