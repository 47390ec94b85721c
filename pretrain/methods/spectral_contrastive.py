"""Spectral Contrastive: a contrastive loss that factorises the graph of augmentations (arXiv 2106.04156).

Letters: B samples in the global batch, D features.
"""

import torch
from torch import Tensor, nn

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul
from pretrain.methods import Embeddings
from pretrain.methods.settings.spectral_contrastive import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.heads import mlp
from pretrain.networks.joint_embedding import JointEmbedding


def spectral_terms(z1: Tensor, z2: Tensor, *, mu: float | None, matmul: Matmul = torch.matmul) -> dict[str, Tensor]:
    """-2 mean_i z1_i . z2_i  and  mean over i != j of (z1_i . z2_j)^2: the loss on a batch (section 3.2).

    With ``mu``, rows longer than sqrt(mu) first get that length, and both terms are divided by mu, as in the released
    code (models/spectral.py): embeddings stay bounded, whose length is else free.

    Args:
        z1, z2: (B, D), the two views, rows not normalised; B at least 2.

    Returns:
        ``alignment`` and ``uniformity``, scalars whose sum is the loss.
    """
    if mu is not None:
        z1, z2 = (z * (mu**0.5 / torch.linalg.vector_norm(z, dim=1, keepdim=True)).clamp(max=1) for z in (z1, z2))
    B = len(z1)
    positive = (z1 * z2).sum(1)
    others = matmul(z1, z2.T).square().sum() - positive.square().sum()
    factor = 1 / (mu or 1)
    return {"alignment": -2 * factor * positive.mean(), "uniformity": factor * others / (B * (B - 1))}


class Method(JointEmbedding):
    """The shared network of joint embeddings with a projector that ends in a BN (released ImageNet config)."""

    def __init__(self, backbone: Backbone, config: Config):
        width = config.projector_width
        projector = mlp(backbone.width, *[width] * config.layers, last_bias=False).append(nn.BatchNorm1d(width))
        super().__init__(backbone, projector)
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The first view against the second, over the global batch."""
        z1, z2 = embeddings.online
        return spectral_terms(z1, z2, mu=self.config.mu, matmul=shared_matmul)
