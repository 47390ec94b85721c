"""The protocols are what the papers' code says, number by number."""

import pytest

from runtime.command_line import UserError
from transfer.detection import protocol, run_config, settings

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
VITDET = {
    "MODEL.PIXEL_MEAN": MOCO["MODEL.PIXEL_MEAN"],
    "MODEL.PIXEL_STD": MOCO["MODEL.PIXEL_STD"],
    "INPUT.FORMAT": "RGB",
    "SOLVER.IMS_PER_BATCH": 64,
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.WEIGHT_DECAY": 0.1,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.AMP.ENABLED": True,
    "TRANSFER.OPTIMIZER": "AdamW",
    "TRANSFER.UNDECAYED": ["pos_embed"],
    "TRANSFER.SQUARE": 1024,
    "TRANSFER.SCALE_JITTER": [0.1, 2.0],
    "TRANSFER.FLOAT16_GRADIENTS": True,
    "TRANSFER.FREEZE_BACKBONE_WEIGHTS": False,
    "TRANSFER.VIT.RELATIVE_POSITIONS": True,
}
B = VITDET | {"TRANSFER.LAYER_DECAY": 0.7, "TRANSFER.VIT.DEPTH": 12, "TRANSFER.VIT.DROP_PATH": 0.1}
L = VITDET | {"TRANSFER.LAYER_DECAY": 0.8, "TRANSFER.VIT.DEPTH": 24, "TRANSFER.VIT.DROP_PATH": 0.4}
H = VITDET | {
    "TRANSFER.LAYER_DECAY": 0.9,
    "TRANSFER.VIT.DEPTH": 32,
    "TRANSFER.VIT.DROP_PATH": 0.5,
    "TRANSFER.UNDECAYED": [],
    "SOLVER.WEIGHT_DECAY_NORM": 0.1,
}
ALONE = {
    "TRANSFER.FREEZE_BACKBONE_WEIGHTS": True,
    "TRANSFER.VIT.DROP_PATH": 0.0,
    "TRANSFER.VIT.RELATIVE_POSITIONS": False,
}
# open-mmlab/mmdetection, configs/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py; 7330 batches of 16 an epoch
SWIN = FPN | {
    "MODEL.BACKBONE.NAME": "build_timm_fpn_backbone",
    "MODEL.FPN.NORM": "",
    "INPUT.MIN_SIZE_TRAIN": (800,),
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.STEPS": (8 * 7330, 11 * 7330),
    "SOLVER.MAX_ITER": 12 * 7330,
    "TRANSFER.OPTIMIZER": "AdamW",
    "TRANSFER.UNDECAYED": ["relative_position_bias_table"],
    "TRANSFER.TIMM.DROP_PATH": 0.2,
}
# SwinTransformer/Swin-Transformer-Object-Detection, configs/swin; facebookresearch/ConvNeXt, object_detection/configs
SWIN_3X = SWIN | {
    "INPUT.MIN_SIZE_TRAIN": (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.WARMUP_ITERS": 500,
    "SOLVER.WARMUP_FACTOR": 0.001,
    "SOLVER.STEPS": (27 * 7330, 33 * 7330),
    "SOLVER.MAX_ITER": 36 * 7330,
    "TRANSFER.DETR_CROP": True,
    "TRANSFER.TIMM.NAME": "swin_tiny_patch4_window7_224",
    "TRANSFER.TIMM.MAP_NORM": True,
    "TRANSFER.LAYER_DECAY": 1.0,
}
CONVNEXT = {
    "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "TRANSFER.LAYER_DECAY": 0.95,
    "TRANSFER.UNDECAYED": ["gamma"],
    "TRANSFER.TIMM.NAME": "convnext_tiny",
    "TRANSFER.TIMM.DROP_PATH": 0.4,
}
ONE = {"SOLVER.STEPS": (60000, 80000), "SOLVER.MAX_ITER": 90000}
TWO = {"SOLVER.STEPS": (120000, 160000), "SOLVER.MAX_ITER": 180000}
PROTOCOLS = {
    # arXiv 1911.05722; Detectron2's 1x and 2x schedules
    "moco-c4-1x": C4 | ONE,
    "moco-c4-2x": C4 | TWO,
    "moco-fpn-1x": FPN | ONE,
    "moco-fpn-2x": FPN | TWO,
    # this suite's: the representation alone
    "moco-fpn-1x-frozen": FPN | ONE | {"TRANSFER.FREEZE_BACKBONE_WEIGHTS": True},
    "timm-fpn-1x-frozen": SWIN | {"TRANSFER.FREEZE_BACKBONE_WEIGHTS": True, "TRANSFER.TIMM.DROP_PATH": 0.0},
    "vitdet-b-100ep-frozen": B | ALONE,
    "vitdet-l-100ep-frozen": L | ALONE,
    "vitdet-h-75ep-frozen": H | ALONE,
    # Detectron2's projects/ViTDet; module by module in test_vitdet.py
    "vitdet-b-100ep": B,
    "vitdet-l-100ep": L,
    "vitdet-h-75ep": H,
    # wangsr126/MAE-Lite, projects/eval_tools/det/mask_rcnn_vitdet_t_100ep.py
    "vitdet-t-100ep": VITDET
    | {
        "SOLVER.WEIGHT_DECAY": 0.05,
        "SOLVER.STEPS": (184375 * 24 // 27, 184375 * 26 // 27),
        "SOLVER.MAX_ITER": 184375,
        "INPUT.MIN_SIZE_TEST": 640,
        "TRANSFER.SQUARE": 640,
        "TRANSFER.LAYER_DECAY": 1.0,
        "TRANSFER.VIT.WIDTH": 192,
        "TRANSFER.VIT.HEADS": 12,
        "TRANSFER.VIT.DROP_PATH": 0.0,
    },
    "timm-fpn-1x": SWIN,
    "swin-fpn-1x": SWIN_3X
    | {key: SWIN[key] for key in ("SOLVER.STEPS", "SOLVER.MAX_ITER")}
    | {"TRANSFER.TIMM.DROP_PATH": 0.1},
    "swin-fpn-3x": SWIN_3X,
    "convnext-fpn-3x": SWIN_3X | CONVNEXT,
    # arXiv 2103.03230, section 4.3: 0.03 on COCO
    "barlow-c4-1x": C4 | ONE | {"SOLVER.BASE_LR": 0.03},
    # arXiv 2105.04906, appendix: 0.04 with 50 iterations of warm-up
    "vicreg-fpn-1x": FPN | ONE | {"SOLVER.BASE_LR": 0.04, "SOLVER.WARMUP_ITERS": 50},
    # WXinlong/DenseCL: 4conv1fc box head, SyncBN in both heads
    "densecl-fpn-1x": FPN
    | ONE
    | {
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
        "MODEL.ROI_BOX_HEAD.CONV_DIM": 256,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
        "MODEL.ROI_BOX_HEAD.NORM": "SyncBN",
        "MODEL.ROI_MASK_HEAD.NORM": "SyncBN",
    },
    # facebookresearch/moco, detection/configs/pascal_voc_R_50_C4_24k.yaml
    "voc-24k": C4
    | {
        "MODEL.MASK_ON": False,
        "INPUT.MIN_SIZE_TRAIN": (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
        "SOLVER.STEPS": (18000, 22000),
        "SOLVER.MAX_ITER": 24000,
        "SOLVER.WARMUP_ITERS": 100,
    },
    # Detectron2 configs/Cityscapes/mask_rcnn_R_50_FPN.yaml, mmselfsup benchmarks/detection
    "cityscapes-fpn": FPN
    | {
        "INPUT.MIN_SIZE_TRAIN": (800, 832, 864, 896, 928, 960, 992, 1024),
        "INPUT.MAX_SIZE_TRAIN": 2048,
        "INPUT.MIN_SIZE_TEST": 1024,
        "INPUT.MAX_SIZE_TEST": 2048,
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.STEPS": (18000,),
        "SOLVER.MAX_ITER": 24000,
    },
    # Detectron2 configs/LVISv1-InstanceSegmentation, schedule of LVISv0.5-InstanceSegmentation
    "lvis-fpn-1x": FPN
    | ONE
    | {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0001,
        "TEST.DETECTIONS_PER_IMAGE": 300,
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        "DATALOADER.REPEAT_THRESHOLD": 0.001,
    },
    # Detectron2 configs/COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml
    "keypoint-fpn-1x": FPN
    | ONE
    | {
        "MODEL.MASK_ON": False,
        "MODEL.KEYPOINT_ON": True,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1500,
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.5,
    },
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_has_the_published_numbers(name):
    found = run_config.flatten(run_config.load(name))
    assert {key: found[key] for key in PROTOCOLS[name]} == PROTOCOLS[name]


def test_every_protocol_but_the_demos_is_held_against_its_source_here():
    assert {name for name in protocol.available() if not name.startswith("demo-")} == set(PROTOCOLS)


@pytest.mark.parametrize("name", protocol.available())
def test_a_protocol_states_its_version_source_and_expected_cells(name):
    assert "\n  VERSION: " in (protocol.FOLDER / f"{name}.yaml").read_text(), "a version is not inherited"
    assert run_config.load(name).TRANSFER.VERSION == 1, "the numbers above are version 1's; change both together"
    assert all(protocol.header(name).values())


@pytest.mark.parametrize(
    ("name", "stock", "differing"),
    [
        ("keypoint-fpn-1x", "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x", {"MODEL.MASK_ON"}),
        ("cityscapes-fpn", "Cityscapes/mask_rcnn_R_50_FPN", {"TEST.EVAL_PERIOD"}),
        ("lvis-fpn-1x", "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x", set()),
    ],
)
def test_a_protocol_of_another_data_set_is_detectron2s_but_for_the_norms_and_the_input(name, stock, differing):
    from detectron2 import model_zoo

    theirs = run_config.flatten(model_zoo.get_config(f"{stock}.yaml"))
    ours = run_config.flatten(run_config.load(name))
    shared = {key for key, value in theirs.items() if ours[key] != value} - differing
    decided_by_the_run = {"DATASETS.TRAIN", "DATASETS.TEST", "MODEL.DEVICE", "MODEL.WEIGHTS"}
    assert shared - decided_by_the_run - {"MODEL.ROI_HEADS.NUM_CLASSES"} == {
        "INPUT.FORMAT",
        "MODEL.BACKBONE.FREEZE_AT",
        "MODEL.FPN.NORM",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.RESNETS.NORM",
        "MODEL.RESNETS.STRIDE_IN_1X1",
        "TEST.PRECISE_BN.ENABLED",
    }


def test_the_fpn_protocol_is_detectron2s_own_1x_but_for_the_norms_and_the_input():
    """Heads unchanged means: every setting outside these few equals the model zoo's."""
    from detectron2 import model_zoo

    stock = run_config.flatten(model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))
    ours = run_config.flatten(run_config.load("moco-fpn-1x"))
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

    stock = run_config.flatten(model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml"))
    ours = run_config.flatten(run_config.load("moco-c4-1x"))
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
    cfg = run_config.load("demo-fpn", settings.parse(["SOLVER.BASE_LR", "0.5", "SOLVER.STEPS=(1, 2)"]))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == (0.5, (1, 2))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "moco-c5",
            [],
            "unknown protocol 'moco-c5'; known: .*barlow-c4-1x, cityscapes-fpn, convnext-.*, voc-24k",
        ),
        ("demo-fpn", ["SOLVER.LR", "1"], "unknown setting 'SOLVER.LR'; known in SOLVER: .*SOLVER.BASE_LR"),
        ("demo-fpn", ["LR", "1"], "unknown setting 'LR'; known: .*SOLVER"),
        ("demo-fpn", ["SOLVER.BASE_LR", "fast"], "SOLVER.BASE_LR must be a finite number, got 'fast'"),
        ("demo-fpn", ["SOLVER.BASE_LR"], "as KEY=VALUE; 'SOLVER.BASE_LR' has no value"),
    ],
)
def test_a_wrong_name_or_value_is_one_line_with_the_known_ones(name, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        run_config.load(name, settings.parse(overrides))
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
    assert run_config.norm_for(norm, world_size=world_size, device=device) == expected
