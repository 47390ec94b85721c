"""Detectron2's ViT under its simple feature pyramid (ViTDet, arXiv 2203.16527), from a protocol's settings.

Detectron2 has both, and a LazyConfig of them, but no builder for its registry.
"""

import sys
from functools import partial
from typing import Any

import timm.layers
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, SimpleFeaturePyramid, ViT
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from torch import nn

from transfer.detection import network

# Detectron2's blocks import this name, which timm has deprecated for timm.layers and will remove.
sys.modules.setdefault("timm.models.layers", timm.layers)


@BACKBONE_REGISTRY.register()
def build_vit_pyramid_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SimpleFeaturePyramid:
    """A ViT of TRANSFER.VIT, and the levels of MODEL.ROI_HEADS.IN_FEATURES from its last feature map.

    One more level, half the size of the last, is added where MODEL.RPN.IN_FEATURES ends in it.
    """
    vit = cfg.TRANSFER.VIT
    norm: Any = partial(nn.LayerNorm, eps=1e-6)
    net = ViT(
        img_size=cfg.TRANSFER.SQUARE,
        patch_size=vit.PATCH,
        in_chans=input_shape.channels or 3,
        embed_dim=vit.WIDTH,
        depth=vit.DEPTH,
        num_heads=vit.HEADS,
        drop_path_rate=vit.DROP_PATH,
        norm_layer=norm,
        use_abs_pos=vit.GRID > 0,
        use_rel_pos=vit.RELATIVE_POSITIONS,
        window_size=vit.WINDOW,
        window_block_indexes=windowed(vit.DEPTH, vit.GLOBAL_BLOCKS),
        pretrain_img_size=vit.GRID * vit.PATCH,
        pretrain_use_cls_token=vit.CLASS_TOKEN,
    )
    last = cfg.MODEL.ROI_HEADS.IN_FEATURES[-1]
    top = None
    if cfg.MODEL.RPN.IN_FEATURES[-1] != last:
        top = LastLevelMaxPool()
        top.in_feature = last
    return SimpleFeaturePyramid(
        net,
        in_feature="last_feat",
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=network.scales(vit.PATCH, cfg.MODEL.ROI_HEADS.IN_FEATURES),
        top_block=top,
        norm=cfg.MODEL.FPN.NORM,
        square_pad=cfg.TRANSFER.SQUARE,
    )


def windowed(depth: int, global_blocks: int) -> list[int]:
    """The blocks with attention in windows: all but the last of each of ``global_blocks`` equal shares."""
    share = depth // global_blocks
    return [block for block in range(depth) if (block + 1) % share]
