"""U-MAE: a masked auto-encoder whose class tokens are kept apart (arXiv 2210.08344).

Letters: m samples in the global batch, d features.
"""

from torch import Tensor

from pretrain.losses.unit_rows import smaller_gram
from pretrain.methods import Embeddings
from pretrain.methods.settings.u_mae import Config
from pretrain.networks.masked_autoencoder import Regularised

__all__ = ["Config", "Method", "regulariser"]


def regulariser(f: Tensor) -> Tensor:
    """Mean of (f_i . f_j)^2 over all m^2 pairs of unit rows, a row with itself included; f (m, d), rows of any length.

    Between 1/min(m, d) and 1, which all rows along one line have. It is ||F F^T||^2 / m^2, and F^T F has the same norm.
    """
    return smaller_gram(f).square().sum() / len(f) ** 2


class Method(Regularised):
    """The masked auto-encoder with that regulariser; the released code's online classifier, which it only watches, is
    left out."""

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The mean error of the masked patches, and the weighted regulariser over the global batch."""
        f, errors = embeddings.online
        return {"reconstruction": errors.mean(), "regulariser": self.weight * regulariser(f)}
