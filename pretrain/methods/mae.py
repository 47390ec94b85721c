"""MAE: predict the masked patches of an image from the others (arXiv 2111.06377)."""

from torch import Tensor

from pretrain.methods import Embeddings
from pretrain.methods.settings.mae import Config
from pretrain.networks.masked_autoencoder import MaskedAutoencoder

__all__ = ["Config", "Method"]


class Method(MaskedAutoencoder):
    """The masked auto-encoder without a regulariser."""

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The mean error of the masked patches."""
        return {"reconstruction": embeddings.online[1].mean()}
