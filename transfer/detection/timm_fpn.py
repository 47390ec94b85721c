"""Any network of timm that has feature maps, as a backbone of Detectron2 under its FPN."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from timm.layers.format import Format
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from pretrain.backbones.timm import any_size
from runtime.command_line import UserError, one_of


class TimmFeatures(Backbone):
    """The feature maps of a network of timm, each named by its stride as Detectron2 names a ResNet's: res2 is 4.

    Args:
        name: timm's name of the network, built without weights.
        wanted: the maps that are given out.
        drop_path: stochastic depth.
        map_norm: put a layer norm over each map that is given out.

    Raises UserError for an unknown name, and for a network that lacks a wanted map or takes one image size only.
    """

    def __init__(self, name: str, wanted: list[str], *, drop_path: float = 0.0, map_norm: bool = False):
        super().__init__()
        self.network = created(name, drop_path=drop_path)
        maps = _probed(self.network, name)
        places = {f"res{int(math.log2(stride))}": place for place, (stride, _) in enumerate(maps)}
        if lacking := [wish for wish in wanted if wish not in places]:
            strides = ", ".join(str(stride) for stride, _ in maps)
            raise UserError(f"timm:{name} has feature maps of stride {strides} and none called {lacking[0]} for an FPN")
        self.places = {wish: places[wish] for wish in wanted}
        self._out_features = list(wanted)
        self._out_feature_strides = {wish: maps[places[wish]][0] for wish in wanted}
        self._out_feature_channels = {wish: maps[places[wish]][1] for wish in wanted}
        norms = {wish: LayerNorm2d(channels) for wish, channels in self._out_feature_channels.items()}
        self.norms = nn.ModuleDict(norms if map_norm else {wish: nn.Identity() for wish in wanted})

    @property
    def size_divisibility(self) -> int:
        return max(self._out_feature_strides.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) -> maps (B, C, H / stride, W / stride)."""
        maps = channels_first(self.network, self.network(images))
        return {wish: self.norms[wish](maps[place]) for wish, place in self.places.items()}


def created(name: str, *, drop_path: float = 0.0) -> nn.Module:
    """timm's network of that name without weights, reduced to its feature maps. Raises UserError if it has none."""
    one_of("network of timm", name, timm.list_models() if not timm.is_model(name) else [name])
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        return any_size(name, features_only=True, **options)
    except (RuntimeError, AttributeError) as error:
        raise UserError(f"timm:{name} has no feature maps ({' '.join(str(error).split())[:120]})") from error


def channels_first(network: nn.Module, maps: list[Tensor]) -> list[Tensor]:
    """timm's maps as (B, C, H, W), which some networks give as (B, H, W, C)."""
    last = getattr(network, "output_fmt", Format.NCHW) == Format.NHWC
    return [one.permute(0, 3, 1, 2).contiguous() if last else one for one in maps]


@torch.no_grad()
def _probed(network: nn.Module, name: str) -> list[tuple[int, int]]:
    """Stride and channels of each map, from one small image that is no square."""
    height, width = 64, 96
    try:
        maps = channels_first(network, network.eval()(torch.zeros(1, 3, height, width)))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"timm:{name} does not take images of any size ({' '.join(str(error).split())[:120]})"
        ) from error
    finally:
        network.train()
    return [(height // one.shape[2], one.shape[1]) for one in maps]


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """An FPN over the maps MODEL.FPN.IN_FEATURES of the network TRANSFER.TIMM.NAME."""
    del input_shape
    settings = cfg.TRANSFER.TIMM
    wanted = list(cfg.MODEL.FPN.IN_FEATURES)
    bottom_up = TimmFeatures(settings.NAME, wanted, drop_path=settings.DROP_PATH, map_norm=settings.MAP_NORM)
    _synchronise(bottom_up, cfg.MODEL.RESNETS.NORM)
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
        square_pad=cfg.TRANSFER.SQUARE,
    )


def convnext_rates(decay: float, names: Iterable[str]) -> Callable[[str], float]:
    """Parameter of a detector -> the share of the rate at which it learns.

    Args:
        decay: of a layer, relative to the layer after it.
        names: of all parameters; they show how many blocks the third stage has.

    The layers are those of facebookresearch/ConvNeXt (mmcv_custom/layer_decay_optimizer_constructor.py):
    stem, first stage, second stage, every three blocks of the third, the fourth. A stage begins with its own
    downsampling. What stands over the network learns at the whole rate.
    """
    third = {match[1] for one in names if (match := re.search(r"network\.stages_2\.blocks\.(\d+)\.", one))}
    last = 3 + math.ceil(len(third) / 3)

    def rate(name: str) -> float:
        stage = re.search(r"network\.stages_(\d)\.(?:blocks\.(\d+))?", name)
        if stage is None:
            return decay ** (last + 1) if "network.stem_" in name else 1.0
        layer = (1, 2, 3 + int(stage[2] or 0) // 3, last)[int(stage[1])]
        return decay ** (last + 1 - layer)

    return rate


def _synchronise(backbone: TimmFeatures, norm: str) -> None:
    """Synchronise the network's own batch norms between processes, where it has any."""
    has_batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules())
    if not has_batch_norm or norm == "BN":
        return
    if norm != "SyncBN":
        raise UserError("the batch norms of timm's networks synchronise between GPUs only; use one process on CPU")
    from timm.layers.norm_act import convert_sync_batchnorm

    backbone.network = convert_sync_batchnorm(backbone.network)
