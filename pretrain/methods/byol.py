"""BYOL: predict a slowly moving teacher's projection of the other view (arXiv 2006.07733, section 3).

Letters: B samples in the global batch, D features; q is the predictor's output, z the teacher's projection.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.methods import Embeddings
from pretrain.methods.settings.byol import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.ema import ema_update, teacher_of
from pretrain.networks.heads import mlp
from pretrain.optimisation import schedules


def regression(q: Tensor, z: Tensor) -> Tensor:
    """|q/|q| - z/|z||^2 = 2 - 2 cos, the mean over rows (eq. 2); (B, D) both. Gradients go through both."""
    return 2 - 2 * F.cosine_similarity(q, z, dim=1).mean()


class Method(nn.Module):
    """Online: predictor(projector(backbone(view))). Target: the teacher's projector(backbone(view))."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__()
        self.config, self.backbone = config, backbone
        self.projector = mlp(backbone.width, config.projector_width, config.output_width, last_bias=False)
        self.predictor = mlp(config.output_width, config.predictor_width, config.output_width, last_bias=False)
        self.teacher = teacher_of(nn.ModuleDict({"backbone": backbone, "projector": self.projector}))
        if config.separate_start:
            _draw_again(self.teacher)

    def forward(self, views: list[Tensor]) -> Embeddings:
        """Views (b, 3, H, W) -> online and target embeddings (b, D), float32, one of each per view."""
        online = tuple(self.predictor(self.projector(self.backbone(view))).float() for view in views)
        with torch.no_grad():
            target = tuple(self.teacher["projector"](self.teacher["backbone"](view)).float() for view in views)
        return Embeddings(online, target)

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """The sum of both directions (section 3.1: L and its symmetric twin)."""
        (q1, q2), (z1, z2) = embeddings.online, embeddings.target
        return {"regression": regression(q1, z2.detach()) + regression(q2, z1.detach())}

    def after_step(self, progress: float) -> None:
        """Move the teacher; ``progress`` is the share of training done, in [0, 1]."""
        rate = schedules.cosine(progress, start=self.config.teacher_momentum, end=1.0)
        ema_update(self.teacher["backbone"], self.backbone, rate)
        ema_update(self.teacher["projector"], self.projector, rate)


@torch.no_grad()
def _draw_again(network: nn.Module) -> None:
    """Another start of the same kind. The initial entries of a weight are drawn independently from one distribution,
    so any order of them is as likely as any other, and a random one needs to know nothing of how they were drawn."""
    for weight in network.parameters():
        weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))
