"""SimCLR: tell the other view of an image from all other images of the batch (arXiv 2002.05709, section 2).

Letters: B samples in the global batch, D features, N = 2B views; two views of one image are a positive pair.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul, gram
from pretrain.methods import Embeddings
from pretrain.methods.settings.simclr import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.heads import mlp
from pretrain.networks.joint_embedding import JointEmbedding


def nt_xent(z1: Tensor, z2: Tensor, *, temperature: float, matmul: Matmul = torch.matmul) -> Tensor:
    """-log( exp(s_ij / T) / sum over k != i of exp(s_ik / T) ), s the cosine, j the other view of i's image (eq. 1).

    (B, D) both, rows not yet normalised. The mean over the B anchors of each view, and the sum of the two means, as
    in the released code: twice the paper's L, which is the mean over all 2B anchors (Algorithm 1).
    """
    B = len(z1)
    logits = gram(F.normalize(torch.cat([z1, z2]), dim=1), 1 / temperature, matmul)
    itself = torch.eye(2 * B, dtype=torch.bool, device=logits.device)
    other_view = torch.arange(2 * B, device=logits.device).roll(B)
    return 2 * F.cross_entropy(logits.masked_fill(itself, -torch.inf), other_view)


class Method(JointEmbedding):
    """The shared network of joint embeddings with SimCLR's projector."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__(backbone, _projector(backbone.width, config), at_once=config.views_at_once)
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Both views as anchors, against the whole batch."""
        z1, z2 = embeddings.online
        return {"contrastive": nt_xent(z1, z2, temperature=self.config.temperature, matmul=shared_matmul)}


def _projector(width: int, config: Config) -> nn.Sequential:
    widths = [width, *[config.projector_width] * (config.layers - 1), config.output_width]
    if config.head == "paper":
        return mlp(*widths, hidden_norm=False)
    projector = mlp(*widths, last_bias=False).append(nn.BatchNorm1d(config.output_width))
    projector[-1].bias.requires_grad_(False)  # at 0, where it begins: a BN without shift
    return projector
