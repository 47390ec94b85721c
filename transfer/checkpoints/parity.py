"""The proof that converted weights compute the same thing: torchvision's trunk against Detectron2's, stage by stage.

Detectron2 builds the network in two ways: whole, under a feature pyramid (FPN), or cut before res5, which then stands
in the heads of the detector (C4). Both are built as Detectron2 builds them, filled and compared.
"""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from pretrain.backbones.resnet import move_strides, stages
from transfer.checkpoints.renamed import relative, with_weights
from transfer.checkpoints.resnet import Architecture, architecture_of

TOLERANCE = 1e-5
STAGES = ("stem", "res2", "res3", "res4", "res5")
DETECTORS = ("FPN", "C4")


def stage_differences(
    torchvision_tensors: dict[str, Tensor], detectron2_arrays: dict, *, stride_in_1x1: bool = False
) -> dict[str, float]:
    """Largest difference per detector and stage, relative to the stage's largest value, on one fixed random image.

    ``stride_in_1x1``: where a stage's stride is, in its first 1x1 convolution (Caffe) or in its 3x3 one (torchvision).

    The networks run in float64 and in inference mode. A stage that is all zero, or not finite, counts as infinitely
    far, because agreement there would prove nothing. Keys: ``FPN stem`` ... ``C4 res5``.
    """
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    architecture = architecture_of({name: tuple(tensor.shape) for name, tensor in torchvision_tensors.items()})
    ours = _torchvision_stages(torchvision_tensors, image, architecture, stride_in_1x1)
    theirs = {
        "FPN": _fpn_stages(detectron2_arrays, image, architecture, stride_in_1x1),
        "C4": _c4_stages(detectron2_arrays, image, architecture, stride_in_1x1),
    }
    return {
        f"{detector} {stage}": relative(ours[stage], theirs[detector][stage])
        for detector in DETECTORS
        for stage in STAGES
    }


def _with_weights(network: nn.Module, tensors: dict) -> nn.Module:
    """``network``, built on the meta device, with its parameters and statistics taken from ``tensors`` in float64."""
    return with_weights(network, {name: torch.as_tensor(value).double() for name, value in tensors.items()})


@torch.inference_mode()
def _torchvision_stages(
    tensors: dict[str, Tensor], image: Tensor, architecture: Architecture, stride_in_1x1: bool
) -> dict[str, Tensor]:
    kind = Bottleneck if architecture.bottleneck else BasicBlock
    with torch.device("meta"):
        network = ResNet(
            kind, list(architecture.blocks), groups=architecture.groups, width_per_group=architecture.width
        )
        network.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    if stride_in_1x1:
        move_strides(network)
    return stages(_with_weights(network, tensors), image)  # pyright: ignore[reportArgumentType]


def _config(builder: str, outputs: tuple[str, ...], architecture: Architecture, stride_in_1x1: bool):
    from detectron2.config import get_cfg

    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.DEPTH = architecture.depth
    cfg.MODEL.RESNETS.NUM_GROUPS = architecture.groups
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = architecture.width
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 256 if architecture.bottleneck else 64
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = stride_in_1x1
    cfg.MODEL.RESNETS.OUT_FEATURES = list(outputs)
    cfg.MODEL.FPN.IN_FEATURES = list(STAGES[1:])
    return cfg


@torch.inference_mode()
def _fpn_stages(arrays: dict, image: Tensor, architecture: Architecture, stride_in_1x1: bool) -> dict[str, Tensor]:
    from detectron2.modeling import build_backbone

    with torch.device("meta"):
        cfg = _config("build_resnet_fpn_backbone", STAGES, architecture, stride_in_1x1)
        network = build_backbone(cfg).bottom_up
    return _with_weights(network, arrays)(image)  # pyright: ignore[reportArgumentType]


@torch.inference_mode()
def _c4_stages(arrays: dict, image: Tensor, architecture: Architecture, stride_in_1x1: bool) -> dict[str, Tensor]:
    from detectron2.modeling import build_backbone

    from transfer.detection.heads import res5_stage

    cfg = _config("build_resnet_backbone", STAGES[:-1], architecture, stride_in_1x1)
    with torch.device("meta"):
        backbone, (head, _) = build_backbone(cfg), res5_stage(cfg)
    res5 = {name.removeprefix("res5."): array for name, array in arrays.items() if name.startswith("res5.")}
    outputs = _with_weights(backbone, {name: a for name, a in arrays.items() if not name.startswith("res5.")})(image)
    return {**outputs, "res5": _with_weights(head, res5)(outputs["res4"])}
