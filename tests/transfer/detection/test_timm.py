"""The recipes of Swin and ConvNeXt: what they add to a network of timm under an FPN."""

from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.modeling import build_model

from transfer.detection import images, optimizer, run_config
from transfer.detection.model_surgery import trunk_of

# mmcv_custom/layer_decay_optimizer_constructor.py of facebookresearch/ConvNeXt: powers of the decay, of a network whose
# third stage has 9 blocks (tiny, num_layers 6) or 27 (small, num_layers 12)
POWERS = {
    "convnext_tiny": {
        "stem_0.weight": 7,
        "stem_1.weight": 7,
        "stages_0.blocks.2.gamma": 6,
        "stages_1.downsample.1.weight": 5,
        "stages_1.blocks.0.norm.weight": 5,
        "stages_2.downsample.0.bias": 4,
        "stages_2.blocks.2.mlp.fc1.weight": 4,
        "stages_2.blocks.3.mlp.fc1.weight": 3,
        "stages_2.blocks.8.mlp.fc1.bias": 2,
        "stages_3.downsample.1.weight": 1,
        "stages_3.blocks.2.conv_dw.weight": 1,
    },
    "convnext_small": {"stem_0.weight": 13, "stages_2.blocks.0.gamma": 10, "stages_2.blocks.26.gamma": 2},
}


@pytest.mark.parametrize("name", POWERS)
def test_a_convnext_learns_layer_by_layer_as_its_authors_group_it(name):
    cfg = run_config.load("convnext-fpn-3x", {"MODEL.DEVICE": "meta", "TRANSFER.TIMM.NAME": name})
    with torch.device("meta"):
        model = build_model(cfg)
    groups = optimizer.optimizer_of(cfg, model).param_groups
    found = {p: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    for key, parameter in model.named_parameters():
        rate, decay = found[parameter]
        assert decay == (0.0 if parameter.ndim == 1 else 0.05), key
        if not key.startswith("backbone.bottom_up.network."):
            assert rate == 1e-4, key
        elif (place := key.removeprefix("backbone.bottom_up.network.")) in POWERS[name]:
            assert rate == pytest.approx(1e-4 * 0.95 ** POWERS[name][place], rel=1e-12), key


def test_swin_decays_all_but_norms_and_tables():
    cfg = run_config.load("swin-fpn-3x", {"MODEL.DEVICE": "meta"})
    with torch.device("meta"):
        model = build_model(cfg)
    kept = {
        p for group in optimizer.optimizer_of(cfg, model).param_groups for p in group["params"] if group["weight_decay"]
    }
    free = [key for key, parameter in model.named_parameters() if parameter not in kept]
    assert all("norm" in key or key.endswith("relative_position_bias_table") for key in free)
    assert sum(key.endswith("table") for key in free) == 12


def test_each_map_of_the_recipes_has_a_norm_of_its_own():
    cfg = run_config.load("convnext-fpn-3x", {"MODEL.DEVICE": "cpu", "TRANSFER.TIMM.NAME": "convnext_atto"})
    trunk: Any = trunk_of(build_model(cfg))
    maps = trunk(torch.rand(1, 3, 64, 96))
    assert list(maps) == ["res2", "res3", "res4", "res5"]
    assert all(one.mean(1).abs().max() < 1e-4 and (one.std(1) - 1).abs().max() < 0.1 for one in maps.values())
    plain = trunk_of(build_model(run_config.load("timm-fpn-1x", {"MODEL.DEVICE": "cpu"})))
    assert not [name for name in plain.state_dict() if name.startswith("norms.")]


def test_half_of_the_images_are_cropped_as_detr_does():
    cfg = run_config.load("swin-fpn-3x", {"MODEL.DEVICE": "cpu"})
    made: Any = images.mapper_of(cfg, is_train=True).augmentations.augs
    smaller = T.ResizeShortestEdge([400, 500, 600], 1333, sample_style="choice")
    assert made[0].prob == 0.5
    assert list(map(repr, made[0].aug.augs)) == [repr(smaller), repr(T.RandomCrop("absolute_range", (384, 600)))]
    assert [type(one) for one in made[1:]] == [T.ResizeShortestEdge, T.RandomFlip]
    np.random.seed(0)
    sizes = []
    for _ in range(60):
        image: Any = T.AugInput(np.zeros((480, 640, 3), np.uint8))
        made[0](image)
        sizes.append(image.image.shape[:2])
    cropped = [size for size in sizes if size != (480, 640)]
    assert 20 < len(cropped) < 40 and all(384 <= side <= 600 for size in cropped for side in size)
    assert len(images.mapper_of(cfg, is_train=False).augmentations.augs) == 1
