"""MoCo v2: tell the key of the other view from a queue of earlier keys (arXiv 1911.05722, section 3; 2003.04297).

Letters: B samples in the global batch, D features, K keys in the queue; q is a query, k its key.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.methods import Embeddings
from pretrain.methods.settings.moco_v2 import Config
from pretrain.networks import batch_norm, batch_shuffle
from pretrain.networks.backbone import Backbone
from pretrain.networks.ema import ema_update, teacher_of
from pretrain.networks.heads import mlp
from pretrain.networks.host_copy import HostCopy
from pretrain.optimisation import schedules
from runtime import distributed
from runtime.command_line import UserError


def info_nce(q: Tensor, k: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """-log( exp(q k / T) / (exp(q k / T) + sum over the queue of exp(q k_j / T)) ), the mean over q (eq. 1).

    q and k (B, D), rows not yet normalised; queue (K, D), rows of length 1. Gradients go through ``q`` only.
    """
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


class Method(nn.Module):
    """Query: projector(backbone(view)). Its key: the teacher's, of the other view in shuffled groups."""

    queue: Tensor

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        world = distributed.world_size()
        if config.bn_groups < 1 or config.bn_groups % world:
            raise UserError(
                f"method.bn_groups={config.bn_groups} must be a multiple of the {world} processes: "
                f"batch statistics are not shared between them"
            )
        self.config = config
        self.backbone = batch_norm.in_groups(backbone, config.bn_groups // world)
        hidden = [config.projector_width] * (config.layers - 1)
        self.projector = mlp(backbone.width, *hidden, config.output_width, hidden_norm=False)
        self.teacher = teacher_of(nn.ModuleDict({"backbone": backbone, "projector": self.projector}))
        # Buffers, so that a resumed run has them. Every rank holds the same queue, one for each view that asks.
        queues = torch.randn(1 + config.symmetric, config.queue_size, config.output_width)
        self.register_buffer("queue", F.normalize(queues, dim=2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.done = HostCopy(self, "steps")
        self.newest: Tensor | None = None  # keys of the step under way, one (B, D) for each queue

    def prepare(self, views: list[Tensor], keys: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Two views (b, 3, H, W) -> those that ask, then those of their keys in shuffled groups; and the order (B,).

        Images are shuffled over the ranks while they are bytes.
        """
        asking, others = views[: len(self.queue)], views[::-1][: len(self.queue)]
        batch = len(views[0]) * distributed.world_size()
        order = batch_shuffle.random_order(batch, seed=int(self.done.value))
        order = order.to(views[0].device, non_blocking=True)
        return [*asking, *(batch_shuffle.shuffled(view, order) for view in others)], order

    def forward(self, views: list[Tensor], order: Tensor) -> Embeddings:
        """What `prepare` made -> queries and the keys of their images, (b, D), float32: one of each, or two if
        symmetric."""
        asking, shuffled = views[: len(self.queue)], views[len(self.queue) :]
        queries = tuple(self.projector(self.backbone(view)).float() for view in asking)
        return Embeddings(queries, tuple(self._keys(view, order) for view in shuffled))

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The mean over the views that ask, each against its queue as earlier steps left it."""
        self.newest = F.normalize(torch.stack(embeddings.target).detach(), dim=2)
        pairs = zip(embeddings.online, embeddings.target, self.queue, strict=True)
        terms = [info_nce(q, k, queue, temperature=self.config.temperature) for q, k, queue in pairs]
        return {"contrastive": sum(terms[1:], terms[0]) / len(terms)}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """The step's keys take the place of the oldest; the key encoder moves."""
        assert self.newest is not None, "after_step comes after loss_terms"
        batch = self.newest.shape[1]
        oldest = int(self.done.value) * batch % self.config.queue_size
        self.queue[:, oldest : oldest + batch] = self.newest
        self.done.set(self.done.value + 1)
        first, last = self.config.teacher_momentum, self.config.teacher_momentum_end
        rate = first if last is None else schedules.cosine(progress, start=first, end=last)
        ema_update(self.teacher["backbone"], self.backbone, rate)
        ema_update(self.teacher["projector"], self.projector, rate)
        batch_norm.average_statistics(self)

    @torch.no_grad()
    def _keys(self, images: Tensor, order: Tensor) -> Tensor:
        return batch_shuffle.restored(self.teacher["projector"](self.teacher["backbone"](images)).float(), order)
