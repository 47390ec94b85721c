"""The C4 box and mask head of MoCo's transfer protocol: res5 followed by one more batch norm."""

from detectron2.layers import get_norm
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """Res5ROIHeads with a norm of the backbone's kind after res5.

    MoCo (arXiv 1911.05722) fine-tunes every C4 detector this way, those from supervised weights too, and the methods
    after it follow. The mask head shares res5, so it sees the norm as well. The norm lives at
    ``roi_heads.res5.norm`` and is in no pretrained file.
    """

    @classmethod
    def _build_res5_block(cls, cfg):
        stage, channels = super()._build_res5_block(cfg)
        stage.add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, channels))
        return stage, channels
