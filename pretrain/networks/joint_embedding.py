"""The network of SimCLR, Barlow Twins and VICReg: one backbone and one projector that every view goes through."""

from torch import Tensor, nn

from pretrain.methods import Embeddings


class JointEmbedding(nn.Module):
    """projector(backbone(view)) for each view, all of them learning; there is no target branch and no teacher."""

    def __init__(self, backbone: nn.Module, projector: nn.Module):
        super().__init__()
        self.backbone, self.projector = backbone, projector

    def forward(self, views: list[Tensor]) -> Embeddings:
        """Views (b, 3, H, W) -> online embeddings (b, D), float32, one per view, and an empty target branch."""
        return Embeddings(tuple(self.projector(self.backbone(view)).float() for view in views), ())

    def after_step(self, progress: float) -> None:
        """Nothing moves but by the gradient."""
