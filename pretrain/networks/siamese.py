"""The network of SimSiam, MEC and Matrix-SSL: backbone, projector, predictor, and a target branch beside them."""

import torch
from torch import Tensor, nn

from pretrain.methods import Embeddings
from pretrain.networks.backbone import Backbone
from pretrain.networks.ema import ema_update, teacher_of
from pretrain.networks.heads import mlp
from pretrain.optimisation import schedules


class Siamese(nn.Module):
    """Online: predictor(projector(backbone(view))). Target: projector(backbone(view)), a teacher's or its own.

    The projector has three layers of one width and ends in a BN without affine parameters, the predictor two: the
    heads of SimSiam (arXiv 2011.10566, section 4), which the MEC and Matrix-SSL code kept.

    Args:
        layers: linear layers of the projector.
        teacher_momentum: the teacher's momentum at the start, raised to 1 by a cosine; none: no teacher, the target
            is this network's own projection of the other view.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        projector_width: int,
        predictor_width: int,
        teacher_momentum: float | None,
        layers: int = 3,
    ):
        super().__init__()
        width, self.teacher_momentum = projector_width, teacher_momentum
        self.backbone = backbone
        self.projector = mlp(backbone.width, *[width] * layers, last_norm=True)
        # The sources give the last layer a bias and freeze it: the BN behind it would cancel it.
        self.projector[-2].bias.requires_grad_(False)
        self.predictor = mlp(width, predictor_width, width)
        if teacher_momentum is not None:
            self.teacher = teacher_of(nn.ModuleDict({"backbone": backbone, "projector": self.projector}))

    def forward(self, views: list[Tensor]) -> Embeddings:
        """Views (b, 3, H, W) -> online and target embeddings (b, D), float32, one of each per view."""
        projections = [self.projector(self.backbone(view)) for view in views]
        online = tuple(self.predictor(projection).float() for projection in projections)
        if self.teacher_momentum is None:
            return Embeddings(online, tuple(projection.float() for projection in projections))
        with torch.no_grad():
            target = tuple(self.teacher["projector"](self.teacher["backbone"](view)).float() for view in views)
        return Embeddings(online, target)

    def after_step(self, progress: float) -> None:
        """Move the teacher; ``progress`` is the share of training done, in [0, 1]."""
        if self.teacher_momentum is not None:
            rate = schedules.cosine(progress, start=self.teacher_momentum, end=1.0)
            ema_update(self.teacher["backbone"], self.backbone, rate)
            ema_update(self.teacher["projector"], self.projector, rate)
