"""The protocols are what the papers' code says, number by number."""

import pytest

from pretrain.command_line import UserError
from transfer import protocol

MOCO = {
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NORM": "SyncBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
    "MODEL.MASK_ON": True,
    "INPUT.FORMAT": "RGB",
    "INPUT.MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.MAX_SIZE_TRAIN": 1333,
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.RANDOM_FLIP": "horizontal",
    "TEST.PRECISE_BN.ENABLED": True,
    "TEST.PRECISE_BN.NUM_ITER": 200,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WARMUP_ITERS": 1000,
    "SOLVER.WARMUP_FACTOR": 0.001,
    "SOLVER.GAMMA": 0.1,
    "SOLVER.AMP.ENABLED": False,
    "TRANSFER.FREEZE_BACKBONE_WEIGHTS": False,
}
C4 = MOCO | {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
}
FPN = MOCO | {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.FPN.NORM": "SyncBN",
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 0,
    "MODEL.ROI_BOX_HEAD.NORM": "",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
}
ONE = {"SOLVER.STEPS": (60000, 80000), "SOLVER.MAX_ITER": 90000}
TWO = {"SOLVER.STEPS": (120000, 160000), "SOLVER.MAX_ITER": 180000}


@pytest.mark.parametrize(
    ("name", "expected"), [("moco-c4-1x", C4 | ONE), ("moco-c4-2x", C4 | TWO), ("moco-fpn-1x", FPN | ONE)]
)
def test_moco_protocols_have_the_published_numbers(name, expected):
    found = protocol.flatten(protocol.load(name, []))
    assert {key: found[key] for key in expected} == expected


def test_the_fpn_protocol_is_detectron2s_own_1x_but_for_the_norms_and_the_input():
    """Heads unchanged means: every setting outside these few equals the model zoo's."""
    from detectron2 import model_zoo

    stock = protocol.flatten(model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))
    ours = protocol.flatten(protocol.load("moco-fpn-1x", []))
    differing = {key for key, value in stock.items() if ours[key] != value}
    assert differing - {"DATASETS.TRAIN", "DATASETS.TEST", "MODEL.DEVICE", "MODEL.WEIGHTS"} == {
        "INPUT.FORMAT",
        "MODEL.BACKBONE.FREEZE_AT",
        "MODEL.FPN.NORM",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RESNETS.NORM",
        "MODEL.RESNETS.STRIDE_IN_1X1",
        "TEST.PRECISE_BN.ENABLED",
    }


def test_the_c4_protocol_is_detectron2s_own_1x_but_for_the_norms_the_head_and_the_input():
    from detectron2 import model_zoo

    stock = protocol.flatten(model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml"))
    ours = protocol.flatten(protocol.load("moco-c4-1x", []))
    differing = {key for key, value in stock.items() if ours[key] != value}
    assert differing - {"DATASETS.TRAIN", "DATASETS.TEST", "MODEL.DEVICE", "MODEL.WEIGHTS"} == {
        "INPUT.FORMAT",
        "MODEL.BACKBONE.FREEZE_AT",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RESNETS.NORM",
        "MODEL.RESNETS.STRIDE_IN_1X1",
        "MODEL.ROI_HEADS.NAME",
        "TEST.PRECISE_BN.ENABLED",
    }


def test_the_command_line_has_the_last_word():
    cfg = protocol.load("demo-fpn", ["SOLVER.BASE_LR", "0.5", "SOLVER.STEPS", "(1, 2)"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == (0.5, (1, 2))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("moco-c5", [], "unknown protocol 'moco-c5'; known: demo-c4, demo-fpn, moco-c4-1x, moco-c4-2x, moco-fpn-1x"),
        ("demo-fpn", ["SOLVER.LR", "1"], "unknown setting 'SOLVER.LR'; known in SOLVER: .*SOLVER.BASE_LR"),
        ("demo-fpn", ["LR", "1"], "unknown setting 'LR'; known: .*SOLVER"),
        ("demo-fpn", ["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR cannot be 'fast'"),
        ("demo-fpn", ["SOLVER.BASE_LR"], "pairs KEY VALUE; 'SOLVER.BASE_LR' is left over"),
    ],
)
def test_a_wrong_name_or_value_is_one_line_with_the_known_ones(name, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        protocol.load(name, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("norm", "world_size", "device", "expected"),
    [
        ("SyncBN", 1, "cuda", "BN"),
        ("SyncBN", 8, "cuda", "SyncBN"),
        ("SyncBN", 2, "cpu", "naiveSyncBN"),
        ("FrozenBN", 8, "cuda", "FrozenBN"),
        ("", 1, "cpu", ""),
    ],
)
def test_batch_norm_is_synchronised_only_between_processes(norm, world_size, device, expected):
    assert protocol.norm_for(norm, world_size=world_size, device=device) == expected
