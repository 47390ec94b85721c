"""SimCLR: tell the other view of an image from all other images of the batch (arXiv 2002.05709, section 2).

Letters: B samples in the global batch, D features, N = 2B views; two views of one image are a positive pair.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul, gram
from pretrain.methods import Embeddings
from pretrain.networks.heads import mlp
from pretrain.networks.joint_embedding import JointEmbedding
from runtime.command_line import one_of


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


# Appendix B.1: batch 4096, 0.075 x sqrt(batch), which is 4.8 as 0.3 x batch / 256 is there; images in [0, 1].
RECIPE = {
    "batch_size": 4096,
    "optim": {"name": "lars", "lr": 0.075, "scale_lr": "sqrt", "weight_decay": 1e-6, "exclude_1d": True},
    "views": {"recipe": "simclr", "min_scale": 0.08, "normalisation": "none", "interpolation": "bicubic"},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    temperature: float = 0.1
    """T, by which cosines are divided (the paper's ImageNet setting; CIFAR-10: 0.5)."""

    head: str = "paper"
    """paper (linear layers with ReLU between) or code (each layer without bias and with BN, the last BN without
    shift: the released default)."""

    layers: int = 2
    """Linear layers of the projector (2 in the paper; 3 is the released code's default, SimCLR v2's)."""

    projector_width: int = 2048
    """Width of the projector's hidden layers (paper and released code)."""

    output_width: int = 128
    """Width of the projector's output, D (the paper's Figure 8: no difference from 32 to 2048)."""


class Method(JointEmbedding):
    """The shared network of joint embeddings with SimCLR's projector."""

    def __init__(self, backbone: nn.Module, config: Config):
        one_of("method.head", config.head, ["paper", "code"])
        super().__init__(backbone, _projector(config))
        self.config = config

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Both views as anchors, against the whole batch."""
        z1, z2 = embeddings.online
        return {"contrastive": nt_xent(z1, z2, temperature=self.config.temperature, matmul=shared_matmul)}


def _projector(config: Config) -> nn.Sequential:
    widths = [2048, *[config.projector_width] * (config.layers - 1), config.output_width]
    if config.head == "paper":
        return mlp(*widths, hidden_norm=False)
    projector = mlp(*widths, last_bias=False).append(nn.BatchNorm1d(config.output_width))
    projector[-1].bias.requires_grad_(False)  # at 0, where it begins: a BN without shift
    return projector
