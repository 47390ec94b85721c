"""VICReg: variance, invariance and covariance, each held by a term of its own (arXiv 2105.04906, section 4).

Letters: B samples in the global batch, D features. The paper writes n for B and d for D.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul, gram
from pretrain.methods import Embeddings
from pretrain.methods.settings.vicreg import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.heads import mlp
from pretrain.networks.joint_embedding import JointEmbedding


def invariance(z1: Tensor, z2: Tensor) -> Tensor:
    """s(Z, Z'), the mean squared difference of the two views, over features as well, as the released code takes it
    (eq. 5 sums over features, which is D times as much)."""
    return F.mse_loss(z1, z2)


def variance(z: Tensor, *, eps: float = 1e-4) -> Tensor:
    """v(Z) = mean over features of max(0, 1 - sqrt(Var + eps)), Var with B - 1 (eq. 1 and 2); (B, D)."""
    return F.relu(1 - torch.sqrt(z.var(0) + eps)).mean()


def covariance(z: Tensor, *, matmul: Matmul = torch.matmul) -> Tensor:
    """c(Z) = sum_{i != j} Cov_ij^2 / D, Cov with B - 1 (eq. 3 and 4); (B, D).

    All squares together are |Z^T Z|_F^2 = |Z Z^T|_F^2, so the smaller of the two products is taken.
    """
    B, D = z.shape
    z = z - z.mean(0)
    product = gram(z if B < D else z.T, 1 / (B - 1), matmul)
    diagonal = z.square().sum(0) / (B - 1)
    return (product.square().sum() - diagonal.square().sum()) / D


class Method(JointEmbedding):
    """The shared network of joint embeddings with an expander of three layers, BN and ReLU after the first two."""

    def __init__(self, backbone: Backbone, config: Config):
        width = config.projector_width
        super().__init__(backbone, mlp(backbone.width, width, width, width, last_bias=False))
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The three terms with their weights, over the global batch (eq. 6)."""
        z1, z2 = embeddings.online
        c = self.config
        return {
            "invariance": c.invariance * invariance(z1, z2),
            "variance": c.variance * (variance(z1) + variance(z2)) / 2,
            "covariance": c.covariance * (covariance(z1, matmul=shared_matmul) + covariance(z2, matmul=shared_matmul)),
        }
