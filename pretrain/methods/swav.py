"""SwAV: predict the cluster codes of one view from every other, small ones too (arXiv 2006.09882).

Letters: B samples in the global batch, D features, K prototypes; codes are soft assignments to prototypes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.methods import Embeddings
from pretrain.methods.settings.swav import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.heads import mlp
from pretrain.networks.host_copy import HostCopy


@torch.no_grad()
def sinkhorn_codes(scores: Tensor, *, epsilon: float, iterations: int) -> Tensor:
    """Codes (B, K) that use all prototypes equally and stay near the scores (B, K) (eq. 3 to 5).

    Rows and columns of exp(scores / epsilon) are scaled in turn, prototypes first, as in the released code; rows sum
    to 1 at the end, columns nearly to B / K.
    """
    codes = torch.exp((scores - scores.max()) / epsilon)  # a constant factor, which the first scaling cancels
    for _ in range(iterations):
        codes = codes / codes.sum(0, keepdim=True)
        codes = codes / codes.sum(1, keepdim=True)
    return codes


def swapped_prediction(scores: list[Tensor], codes: list[Tensor], *, temperature: float) -> Tensor:
    """Cross-entropy of each view's codes against the softmax of every other view's scores / T, averaged (eq. 2).

    Args:
        scores: (B, K) per view, the large ones first; gradients go through these.
        codes: (B, K) for each large view.
    """
    logs = [F.log_softmax(score / temperature, dim=1) for score in scores]
    terms = [-(code * log).sum(1).mean() for i, code in enumerate(codes) for view, log in enumerate(logs) if view != i]
    return sum(terms[1:], terms[0]) / len(terms)


class Method(nn.Module):
    """projector(backbone(view)) on the unit sphere, scored against prototypes of unit length."""

    queue: Tensor
    progress: Tensor

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config, self.backbone = config, backbone
        self.projector = mlp(backbone.width, config.projector_width, config.output_width)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(config.prototypes, config.output_width), dim=1))
        self.prototypes.register_hook(lambda gradient: gradient * (self.progress >= config.freeze_share))
        # Buffers, so that a resumed run has them. Every rank holds the same queue: one for each large view.
        self.register_buffer("progress", torch.zeros(()))
        self.register_buffer("queue", torch.zeros(2, config.queue_size, config.output_width))
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))
        self.trained, self.in_queue = HostCopy(self, "progress"), HostCopy(self, "queued")
        self.newest: Tensor | None = None  # embeddings of the step under way, (2, B, D)

    def forward(self, views: list[Tensor]) -> Embeddings:
        """Views (b, 3, H, W), two large ones first -> unit embeddings (b, D), float32, one per view; no target.

        Views of one size go through the network together, and so share their batch statistics, as in the source.
        """
        embeddings = []
        for size in dict.fromkeys(view.shape[-1] for view in views):
            alike = [view for view in views if view.shape[-1] == size]
            together = self.projector(self.backbone(torch.cat(alike))).float()
            embeddings += F.normalize(together, dim=1).chunk(len(alike))
        return Embeddings(tuple(embeddings), ())

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Codes of the two large views, predicted from all others."""
        c, z = self.config, embeddings.online
        self.newest = torch.stack(z[:2]).detach()
        scores = [rows @ self.prototypes.T for rows in z]
        in_use = c.queue_size and self.in_queue.value >= c.queue_size
        codes = []
        for i in range(2):
            pool = torch.cat([self.queue[i] @ self.prototypes.T, scores[i]]) if in_use else scores[i]
            codes.append(sinkhorn_codes(pool.detach(), epsilon=c.epsilon, iterations=c.iterations)[-len(z[i]) :])
        return {"swapped_prediction": swapped_prediction(scores, codes, temperature=c.temperature)}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Prototypes return to unit length; the queue, once begun, takes the step's embeddings for its oldest ones."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
        if self.config.queue_size and self.trained.value >= self.config.queue_from:
            assert self.newest is not None, "after_step comes after loss_terms"
            batch = self.newest.shape[1]
            oldest = int(self.in_queue.value) % self.config.queue_size
            self.queue[:, oldest : oldest + batch] = self.newest
            self.in_queue.set(self.in_queue.value + batch)
        self.trained.set(progress)
