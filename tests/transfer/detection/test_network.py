"""The weights decide which network of its family a protocol trains; what cannot be built is one line."""

import re

import pytest
import torch
from detectron2.modeling import build_model

from runtime.command_line import UserError
from transfer.detection import network, protocol, run_config, settings
from transfer.detection.verify_weights import name_in_file

SMALL = {"MODEL.DEVICE": "cpu", "MODEL.RESNETS.NORM": "BN", "MODEL.FPN.NORM": "BN"}
RESNETS = {
    "resnet18": {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64},
    "resnet34": {"MODEL.RESNETS.DEPTH": 34, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64},
    "resnet50": {"MODEL.RESNETS.DEPTH": 50},
    "resnet101": {"MODEL.RESNETS.DEPTH": 101},
    "resnet152": {"MODEL.RESNETS.DEPTH": 152},
    "wide_resnet50_2": {"MODEL.RESNETS.WIDTH_PER_GROUP": 128},
    "resnext50_32x4d": {"MODEL.RESNETS.NUM_GROUPS": 32, "MODEL.RESNETS.WIDTH_PER_GROUP": 4},
    "twice as wide (SimCLR)": {
        "MODEL.RESNETS.STEM_OUT_CHANNELS": 128,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 512,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 128,
    },
}


def shapes_in_file(name: str, changes: dict) -> dict[str, tuple[int, ...]]:
    """What a weight file holds of a protocol's network: name -> shape."""
    device = "cpu" if name == "demo-vitdet" else "meta"  # Detectron2's ViT cannot be built on the latter
    with torch.device(device):
        model = build_model(run_config.load(name, SMALL | {"MODEL.DEVICE": device} | changes))
    named = {name_in_file(key): tuple(value.shape) for key, value in model.state_dict().items()}
    return {key: shape for key, shape in named.items() if key and "rel_pos" not in key}


@pytest.mark.parametrize("name", ["demo-c4", "demo-fpn"])
@pytest.mark.parametrize("size", RESNETS)
def test_the_shapes_of_a_resnet_say_which_it_is(size, name):
    """In the C4 protocols too: the head of ResNet-18 and 34 is basic blocks, Detectron2's own is bottlenecks."""
    shapes = shapes_in_file(name, RESNETS[size])
    assert ("res5.0.conv3.weight" in shapes) == (size not in ("resnet18", "resnet34"))
    found = network.of_weights(shapes, {}, "file")
    cfg = run_config.load(name)
    run_config.apply_network(cfg, found, {}, protocol=name, path="file")
    assert {key: run_config.flatten(cfg)[key] for key in RESNETS[size]} == RESNETS[size]
    assert shapes_in_file(name, found.settings) == shapes


@pytest.mark.parametrize("changes", [{}, {"PATCH": 16, "GRID": 14, "WIDTH": 48, "DEPTH": 6}, {"CLASS_TOKEN": False}])
def test_the_shapes_of_a_vit_say_all_but_its_heads(changes):
    changes = {f"TRANSFER.VIT.{key}": value for key, value in changes.items()}
    shapes = shapes_in_file("demo-vitdet", {"MODEL.FPN.NORM": "LN"} | changes)
    found = network.of_weights(shapes, {"backbone": {"name": "vit_mine", "heads": 6}}, "file")
    assert (found.family, found.name) == ("ViT", "vit_mine")
    own = {key: protocol.value("demo-vitdet", key) for key in found.settings} | changes
    assert found.settings == own | {"TRANSFER.VIT.HEADS": 6}
    assert shapes_in_file("demo-vitdet", {"MODEL.FPN.NORM": "LN"} | found.settings) == shapes


def applied(name: str, shapes: dict, about: dict, **overrides) -> None:
    cfg = run_config.load(name)
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    run_config.override(cfg, given)
    run_config.apply_network(cfg, network.of_weights(shapes, about, "my.pkl"), given, protocol=name, path="my.pkl")
    network.check(run_config.flatten(cfg))


RESNET = {"stem.conv1.weight": (64, 3, 7, 7), "res2.0.conv1.weight": (64, 64, 3, 3), "res2.0.conv2.weight": (64, 64)}
RESNET |= {f"res{stage}.{block}.conv1.weight": (64, 64) for stage in (2, 3, 4, 5) for block in (0, 1)}
VIT = {"backbone.net.patch_embed.proj.weight": (384, 3, 14, 14), "backbone.net.pos_embed": (1, 1370, 384)}
VIT |= {f"backbone.net.blocks.{block}.norm1.weight": (384,) for block in range(12)}
TIMM = {"backbone.bottom_up.network.stem_0.weight": (96, 3, 4, 4)}
OF_VIT = {"backbone": {"name": "vit_small_patch14", "heads": 6}}


@pytest.mark.parametrize(
    ("name", "shapes", "about", "message"),
    [
        ("moco-c4-1x", VIT, OF_VIT, "is of a ViT .vit_small_patch14., protocol moco-c4-1x is for ResNets.*vitdet-b"),
        (
            "vitdet-b-100ep",
            RESNET,
            {},
            r"my.pkl is of a ResNet .resnet18., protocol vitdet-b-100ep is for ViTs.*moco-c4-1x",
        ),
        ("moco-fpn-1x", TIMM, {"backbone": {"name": "convnext_tiny"}}, "of a timm:convnext_tiny, .* is for ResNets"),
        ("timm-fpn-1x", TIMM, {}, "does not say which network of timm"),
        ("vitdet-b-100ep", VIT, OF_VIT, "patches of 14 pixels: .* p2 to p5, is for patches of 16 pixels"),
        ("demo-vitdet", VIT, OF_VIT, "patches of 14 pixels: .* p2 to p4, is for patches of 8 or 16 pixels"),
        ("vitdet-b-100ep", VIT, {}, "does not say how many attention heads"),
        ("vitdet-b-100ep", VIT | {"backbone.net.pos_embed": (1, 200, 384)}, OF_VIT, "200 positions, .* no square grid"),
        ("moco-c4-1x", RESNET | {"res5.7.conv1.weight": (64, 64)}, {}, r"\[2, 2, 2, 3\] basic blocks"),
    ],
)
def test_weights_that_do_not_fit_the_protocol_are_one_line(name, shapes, about, message):
    with pytest.raises(UserError, match=message) as caught:
        applied(name, shapes, about)
    assert all(len(line) <= 300 for line in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("vitdet-b-100ep", "TRANSFER.SQUARE=1000", "multiple of its patch of 16 pixels, got 1000"),
        ("vitdet-b-100ep", "TRANSFER.SQUARE=512", "INPUT.MAX_SIZE_TEST 1024 must lie within TRANSFER.SQUARE 512"),
        ("vitdet-b-100ep", "TRANSFER.VIT.HEADS=7", "shared evenly by its heads"),
        ("vitdet-b-100ep", "TRANSFER.VIT.DEPTH=13", "GLOBAL_BLOCKS 4 must divide the 13 blocks"),
        ("vitdet-b-100ep", "TRANSFER.SCALE_JITTER=[0.5]", "least, most"),
        ("vitdet-b-100ep", "MODEL.ROI_HEADS.IN_FEATURES=['res4']", "called p2, p3 and so on, got 'res4'"),
        ("moco-fpn-1x", "TRANSFER.SQUARE=1024", "for ViTs and networks of timm"),
        ("moco-fpn-1x", "TRANSFER.LAYER_DECAY=0.7", "LAYER_DECAY is for ViTs and ConvNeXts, the network is resnet50"),
        ("moco-fpn-1x", "MODEL.RESNETS.DEPTH=18", "add MODEL.RESNETS.RES2_OUT_CHANNELS=64"),
        ("moco-fpn-1x", "MODEL.RESNETS.DEPTH=51", "one of 18, 34, 50, 101, 152, got 51"),
        ("moco-fpn-1x", "TRANSFER.BACKBONE=vit_base_patch16", "is of ViTs, the protocol is for ResNets; .*vitdet-b"),
        ("moco-fpn-1x", "TRANSFER.BACKBONE=resnet19", "unknown backbone 'resnet19'; known: .*resnet18"),
        ("vitdet-b-100ep", "TRANSFER.BACKBONE=vit_large_patch14", "patches of 14 pixels: .* for patches of 16"),
        ("timm-fpn-1x", "TRANSFER.TIMM.NAME=", "which network of timm"),
        ("swin-fpn-3x", "TRANSFER.LAYER_DECAY=0.9", "for ViTs and ConvNeXts, the network is timm:swin_tiny"),
        ("vitdet-b-100ep", "TRANSFER.DETR_CROP=true", "DETR_CROP and TRANSFER.SCALE_JITTER are two ways to crop"),
        ("moco-fpn-1x", "TRANSFER.OPTIMIZER=Adam", "one of SGD, AdamW"),
    ],
)
def test_settings_of_which_no_detector_can_be_built_are_refused_before_anything_starts(name, words, message):
    from transfer import train

    command = f"--protocol {name} --benchmark scenes --weights random --out x {words}".split()
    with pytest.raises(UserError, match=message):
        train.parse(command)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tinny", "unknown network of timm 'convnext_tinny'; known: .*convnext_tiny"),
        (
            "vit_tiny_patch16_224",
            "timm:vit_tiny_patch16_224 does not take images of any size|has feature maps of stride",
        ),
        ("vit_small_patch16_dinov3", "has feature maps of stride 16, 16, 16.* and none called res2"),
    ],
)
def test_a_network_of_timm_without_maps_for_an_fpn_is_one_line(name, message):
    cfg = run_config.load("timm-fpn-1x", {"MODEL.DEVICE": "cpu", "TRANSFER.TIMM.NAME": name})
    with pytest.raises(UserError, match=message):
        build_model(cfg)


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224", "regnety_002"])
def test_a_network_of_timm_has_the_maps_of_an_fpn_at_any_size(name):
    changes = {"MODEL.DEVICE": "cpu", "TRANSFER.TIMM.NAME": name, "TRANSFER.TIMM.DROP_PATH": 0.0}
    cfg = run_config.load("timm-fpn-1x", changes | {"MODEL.RESNETS.NORM": "BN"})
    model = build_model(cfg)
    assert model.backbone.size_divisibility == 32
    found = model.backbone(torch.zeros(1, 3, 64, 96))
    assert {key: tuple(each.shape[2:]) for key, each in found.items()} == {
        "p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)
    }  # fmt: skip
    inside = [key for key in model.state_dict() if key.startswith(network.IN_TIMM)]
    assert all(re.match(r"backbone\.bottom_up\.network\.\w+", key) for key in inside) and inside


@pytest.mark.parametrize(
    ("name", "backbone", "parameters"),
    [
        ("demo-c4", "resnet18", 11_176_512),  # torchvision's, less the classifier
        ("demo-fpn", "resnet152", 58_143_808),
        ("demo-fpn", "wide_resnet50_2", 66_834_240),
        ("demo-fpn", "resnext50_32x4d", 22_979_904),
    ],
)
def test_a_backbone_is_called_by_its_name(name, backbone, parameters):
    cfg = run_config.load(name, SMALL | {"TRANSFER.BACKBONE": backbone, "MODEL.DEVICE": "meta"})
    with torch.device("meta"):
        model = build_model(cfg)
    inside = [p.numel() for key, p in model.named_parameters() if name_in_file(key)]
    extra = sum(p.numel() for key, p in model.named_parameters() if key.startswith("roi_heads.res5.norm."))
    assert sum(inside) - extra == parameters


def test_the_defaults_and_every_protocol_can_be_built():
    for name in protocol.available():
        network.check(settings.defaults() | protocol.read(name))
