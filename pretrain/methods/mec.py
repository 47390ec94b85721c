"""MEC: the coding length of both views together, by a Taylor series (Liu et al., maximum entropy coding, NeurIPS 2022).

Letters: B samples in the global batch, D features; the released code's lambda_inv is B eps^2 / D.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses import taylor_traces
from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul
from pretrain.methods import Embeddings
from pretrain.methods.settings.mec import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.host_copy import HostCopy
from pretrain.networks.siamese import Siamese


def coding_loss(
    online: Tensor, target: Tensor, *, lambda_inv: float, order: int = 4, matmul: Matmul = torch.matmul
) -> Tensor:
    """-(lambda_inv / B) tr Log_n(I + P Z^T / lambda_inv) for one direction, as the released code computes it.

    (B, D) both, not yet normalised; rows are scaled to unit length and not centred; gradients go through ``online``
    only. The first-order term is minus the mean cosine: SimSiam's loss.
    """
    online, target = F.normalize(online, dim=1), F.normalize(target.detach(), dim=1)
    trace = taylor_traces.cross_log_trace(online, target, scale=1 / lambda_inv, order=order, matmul=matmul)
    return -lambda_inv / len(online) * trace


def series_norm(online: Tensor, target: Tensor, *, lambda_inv: float) -> float:
    """|Z^T P| / lambda_inv, at most B / lambda_inv (all features alike); the series converges if it is below 1."""
    online, target = F.normalize(online.detach(), dim=1), F.normalize(target.detach(), dim=1)
    return taylor_traces.series_norm(online, target, scale=1 / lambda_inv)


class Method(Siamese):
    """The shared network with a teacher; lambda_inv follows the progress of training."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__(
            backbone,
            projector_width=config.projector_width,
            predictor_width=config.predictor_width,
            teacher_momentum=config.teacher_momentum,
        )
        self.config = config
        self.register_buffer("progress", torch.zeros(()))  # a buffer, so that a resumed run knows it
        self.trained = HostCopy(self, "progress")
        self.next_look = 0.0  # progress at which the series is looked at again

    def lambda_inv(self, batch: int) -> float:
        """B eps^2 / D, larger during the warm-up."""
        c = self.config
        left = max(1 - self.trained.value / c.warmup_share, 0.0) if c.warmup_share else 0.0
        return batch * c.distortion / c.projector_width * (1 + (c.warmup_factor - 1) * left)

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Both directions, averaged."""
        (online_1, online_2), (target_1, target_2), _ = embeddings
        lambda_inv = self.lambda_inv(len(online_1))
        self._look_at_series(online_1, target_2, lambda_inv)
        settings = {"lambda_inv": lambda_inv, "order": self.config.order, "matmul": shared_matmul}
        one, two = coding_loss(online_1, target_2, **settings), coding_loss(online_2, target_1, **settings)
        return {"coding_length": (one + two) / 2}

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.trained.set(progress)

    def _look_at_series(self, online: Tensor, target: Tensor, lambda_inv: float) -> None:
        """At the first batch and after each hundredth of the training, until the norm was once too large."""
        progress = self.trained.value
        if progress < self.next_look:
            return
        c = self.config
        warm = progress < c.warmup_share
        remedy = f"raise method.{f'warmup_factor={c.warmup_factor}' if warm else f'distortion={c.distortion}'}"
        when = f"a batch after {progress:.0%} of the training" if progress else "the first batch"
        norm = series_norm(online, target, lambda_inv=lambda_inv)
        remedy = f"lambda_inv is {lambda_inv:g}: {remedy}"
        warned = taylor_traces.warn_if_series_diverges(norm, when=when, remedy=remedy)
        self.next_look = math.inf if warned else progress + 0.01
