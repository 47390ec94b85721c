"""The network of SimCLR, Barlow Twins and VICReg: one backbone and one projector that every view goes through."""

import torch
from torch import Tensor, nn

from pretrain.methods import Embeddings


class JointEmbedding(nn.Module):
    """projector(backbone(view)) for each view, all of them learning; there is no target branch and no teacher.

    Args:
        at_once: all views, which are of one size, in one pass, so that batch norm sees them together; else one by one.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module, *, at_once: bool = False):
        super().__init__()
        self.backbone, self.projector, self.at_once = backbone, projector, at_once

    def forward(self, views: list[Tensor]) -> Embeddings:
        """Views (b, 3, H, W) -> online embeddings (b, D), float32, one per view, and an empty target branch."""
        if self.at_once:
            return Embeddings(self.projector(self.backbone(torch.cat(views))).float().chunk(len(views)), ())
        return Embeddings(tuple(self.projector(self.backbone(view)).float() for view in views), ())

    def after_step(self, progress: float) -> None:
        """Nothing moves but by the gradient."""
