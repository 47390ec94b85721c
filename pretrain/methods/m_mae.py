"""M-MAE: a masked auto-encoder whose class tokens have a large matrix entropy (arXiv 2309.17281).

Letters: m samples in the global batch, d features.
"""

from typing import Any

import torch
from torch import Tensor

from pretrain.losses.unit_rows import smaller_gram
from pretrain.methods import Embeddings
from pretrain.methods.settings.m_mae import Config
from pretrain.networks.masked_autoencoder import Regularised

__all__ = ["Config", "Method", "regulariser"]


def regulariser(f: Tensor, *, mu: float, scale: str = "width") -> Tensor:
    """-log det(I + s F^T F), F the rows of f (m, d) scaled to unit length: minus their total coding rate.

    To second order it is -s m + (s m)^2 / 2 times U-MAE's regulariser. det(I + s F F^T) is the same number, and is
    taken where m < d.

    Args:
        mu: 0 or more.
        scale: ``width``, s = mu / d, which the released code computes (it divides by the side of F^T F), or ``batch``,
            s = mu / m, which the comment beside it says. At d = m = 1024, the released ViT-L, they are the same.
    """
    K = smaller_gram(f)
    m, d = f.shape
    A = torch.eye(len(K), dtype=K.dtype, device=K.device) + mu / (d if scale == "width" else m) * K
    # All eigenvalues are 1 or more: nothing to check, for which a GPU would be waited for.
    return -2 * torch.linalg.cholesky_ex(A).L.diagonal().log().sum()


class Method(Regularised):
    """The masked auto-encoder with that regulariser; the released code's online classifier, which it only watches, is
    left out."""

    def __init__(self, backbone: Any, config: Config):
        super().__init__(backbone, config)
        self.mu, self.scale = config.mu, config.scale

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The mean error of the masked patches, and the weighted regulariser over the global batch."""
        f, errors = embeddings.online
        return {
            "reconstruction": errors.mean(),
            "regulariser": self.weight * regulariser(f, mu=self.mu, scale=self.scale),
        }
