"""Barlow Twins: make the cross-correlation of two views' features the identity (arXiv 2103.03230, section 2).

Letters: B samples in the global batch, D features; C is the (D, D) cross-correlation matrix.
"""

import torch
from torch import Tensor

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul, gram
from pretrain.methods import Embeddings
from pretrain.methods.settings.barlow_twins import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.heads import mlp
from pretrain.networks.joint_embedding import JointEmbedding


def standardise(z: Tensor, *, eps: float = 1e-5) -> Tensor:
    """(B, D) -> each feature less its mean over its standard deviation in the batch: BN without affine parameters.

    It stands here and not in the network, where its running statistics would be kept and never read.
    """
    return (z - z.mean(0)) * torch.rsqrt(z.var(0, correction=0) + eps)


def correlation_terms(z1: Tensor, z2: Tensor, *, redundancy: float, matmul: Matmul = torch.matmul) -> dict[str, Tensor]:
    """sum_i (1 - C_ii)^2  and  redundancy * sum_{i != j} C_ij^2, with C = z1^T z2 / B, z1 and z2 standardised (eq. 1).

    (B, D) both, as the projector makes them. All squares together are |C|_F^2 = <z1 z1^T, z2 z2^T> / B^2, so that C
    itself is needed only where B is so large that two Gram matrices and their derivative, 4 B^2 D multiplications,
    cost more than its own 3 B D^2.

    Returns:
        ``invariance`` and ``redundancy``, scalars whose sum is the loss.
    """
    B, D = z1.shape
    z1, z2 = standardise(z1), standardise(z2)
    diagonal = (z1 * z2).mean(0)
    if 4 * B < 3 * D:
        all_squares = (gram(z1, 1 / B, matmul) * gram(z2, 1 / B, matmul)).sum()
    else:
        all_squares = (matmul(z1.T, z2) / B).square().sum()
    return {
        "invariance": (1 - diagonal).square().sum(),
        "redundancy": redundancy * (all_squares - diagonal.square().sum()),
    }


class Method(JointEmbedding):
    """The shared network of joint embeddings with a projector of three layers, BN and ReLU after all but the last."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__(backbone, mlp(backbone.width, *[config.projector_width] * config.layers, last_bias=False))
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """One cross-correlation over the global batch; the transposed one has the same squares."""
        z1, z2 = embeddings.online
        terms = correlation_terms(z1, z2, redundancy=self.config.redundancy, matmul=shared_matmul)
        return {name: self.config.scale * term for name, term in terms.items()}
