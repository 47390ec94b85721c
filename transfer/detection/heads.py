"""The C4 box and mask head of MoCo's transfer protocol: res5 followed by one more batch norm."""

from detectron2.config import CfgNode
from detectron2.layers import get_norm
from detectron2.modeling import ResNet
from detectron2.modeling.backbone.resnet import BasicBlock
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads
from torch import nn

from transfer.detection.network import DEPTHS

BASIC_BLOCKS = {depth: blocks[-1] for (bottleneck, blocks), depth in DEPTHS.items() if not bottleneck}
"""Blocks in res5 of the ResNets without bottlenecks, by MODEL.RESNETS.DEPTH."""


def res5_stage(cfg: CfgNode) -> tuple[nn.Sequential, int]:
    """The last stage of a ResNet as the head of a C4 detector, and its channels.

    Detectron2's own is three bottleneck blocks whatever the depth, which ResNet-18 and 34 do not have.
    """
    resnet = cfg.MODEL.RESNETS
    if resnet.DEPTH not in BASIC_BLOCKS:
        return Res5ROIHeads._build_res5_block(cfg)
    blocks, channels = BASIC_BLOCKS[resnet.DEPTH], 8 * resnet.RES2_OUT_CHANNELS
    stage = ResNet.make_stage(
        BasicBlock,
        blocks,
        stride_per_block=[2] + [1] * (blocks - 1),
        in_channels=channels // 2,
        out_channels=channels,
        norm=resnet.NORM,
    )
    return nn.Sequential(*stage), channels


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """Res5ROIHeads with a norm of the backbone's kind after res5.

    MoCo (arXiv 1911.05722) fine-tunes every C4 detector this way, those from supervised weights too, and the methods
    after it follow. The mask head shares res5, so it sees the norm as well. The norm lives at
    ``roi_heads.res5.norm`` and is in no pretrained file.
    """

    @classmethod
    def _build_res5_block(cls, cfg):
        stage, channels = res5_stage(cfg)
        stage.add_module("norm", get_norm(cfg.MODEL.RESNETS.NORM, channels))
        return stage, channels
