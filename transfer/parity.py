"""The proof that converted weights compute the same thing: torchvision's trunk against Detectron2's, stage by stage."""

import torch
from torch import Tensor, nn

from pretrain.backbone import resnet50, stages

TOLERANCE = 1e-5
STAGES = ("stem", "res2", "res3", "res4", "res5")


def stage_differences(torchvision_tensors: dict[str, Tensor], detectron2_arrays: dict) -> dict[str, float]:
    """Largest difference per stage, relative to the stage's largest value, on one fixed random image.

    Both networks run in float64 and in inference mode. A stage that is all zero, or not finite, counts as infinitely
    far, because agreement there would prove nothing.
    """
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = _torchvision_stages(torchvision_tensors, image)
    theirs = _detectron2_stages(detectron2_arrays, image)
    return {stage: _relative(ours[stage], theirs[stage]) for stage in STAGES}


def _relative(a: Tensor, b: Tensor) -> float:
    scale = a.abs().max()
    if a.shape != b.shape or not scale.isfinite() or scale == 0:
        return float("inf")
    return ((a - b).abs().max() / scale).nan_to_num(float("inf")).item()


def _with_weights(network: nn.Module, tensors: dict) -> nn.Module:
    result = network.load_state_dict({name: torch.as_tensor(value) for name, value in tensors.items()}, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    assert not missing and not result.unexpected_keys, (missing, result.unexpected_keys)
    return network.double().eval()


@torch.inference_mode()
def _torchvision_stages(tensors: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    return stages(_with_weights(resnet50(), tensors), image)


@torch.inference_mode()
def _detectron2_stages(arrays: dict, image: Tensor) -> dict[str, Tensor]:
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone.resnet import build_resnet_backbone

    cfg = get_cfg()
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = list(STAGES)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    network = build_resnet_backbone(cfg, ShapeSpec(channels=3))
    return _with_weights(network, arrays)(image)
