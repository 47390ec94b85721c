"""The ViTDet protocols are Detectron2's published ones: the same modules, rates, decays and augmentations."""

from functools import partial

import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import instantiate
from detectron2.data import transforms as T
from detectron2.modeling import build_model, get_vit_lr_decay_rate
from omegaconf import ListConfig
from torch.overrides import TorchFunctionMode

from transfer.detection import images, optimizer, run_config

# Width, blocks, heads, drop path, blocks with global attention, layer decay; projects/ViTDet/configs/COCO/*.py
PUBLISHED = {
    "vitdet-b-100ep": (768, 12, 12, 0.1, (2, 5, 8, 11), 0.7),
    "vitdet-l-100ep": (1024, 24, 16, 0.4, (5, 11, 17, 23), 0.8),
    "vitdet-h-75ep": (1280, 32, 16, 0.5, (7, 15, 23, 31), 0.9),
}
DECAYS_ALL = {"vitdet-h-75ep"}
"""The one that sets ``overrides = {}`` and ``weight_decay_norm = None``."""


class RatesOnCpu(TorchFunctionMode):
    """Detectron2 reads its drop rates from a tensor, which one on the meta device does not allow."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}) | ({"device": "cpu"} if func is torch.linspace else {}))


def theirs(name: str) -> torch.nn.Module:
    width, depth, heads, drop_path, of_image, _ = PUBLISHED[name]
    model = model_zoo.get_config("common/models/mask_rcnn_vitdet.py").model
    net = model.backbone.net
    net.embed_dim, net.depth, net.num_heads, net.drop_path_rate = width, depth, heads, drop_path
    net.window_block_indexes = [block for block in range(depth) if block not in of_image]
    with torch.device("meta"), RatesOnCpu():
        return instantiate(model)


def ours(name: str) -> torch.nn.Module:
    cfg = run_config.load(name, {"MODEL.DEVICE": "meta"})
    with torch.device("meta"), RatesOnCpu():
        return build_model(cfg)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_model_is_detectron2s_module_by_module(name):
    mine, published = ours(name), theirs(name)
    assert repr(mine) == repr(published)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (mine, published)]
    assert shapes[0] == shapes[1]
    for part in ("proposal_generator", "roi_heads"):
        settings = [plain(getattr(model, part)) for model in (mine, published)]
        assert settings[0] == settings[1]
    assert mine.backbone.padding_constraints == published.backbone.padding_constraints


def plain(part) -> dict:
    """A module's own numbers: thresholds, batch sizes, how many proposals are kept."""
    numbers = (bool, int, float, str, tuple, list, dict, ListConfig)
    found = {key: value for key, value in vars(part).items() if isinstance(value, numbers) and not key.startswith("_")}
    return {key: list(value) if isinstance(value, tuple | ListConfig) else value for key, value in found.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_has_the_published_rate_and_decay(name):
    model, cfg, depth = ours(name), run_config.load(name), PUBLISHED[name][1]
    params = model_zoo.get_config("common/optim.py").AdamW.params
    params.model, params.base_lr, params.weight_decay = model, 1e-4, 0.1
    params.lr_factor_func = partial(get_vit_lr_decay_rate, lr_decay_rate=PUBLISHED[name][5], num_layers=depth)
    params.weight_decay_norm = None if name in DECAYS_ALL else 0.0
    params.overrides = {} if name in DECAYS_ALL else {"pos_embed": {"weight_decay": 0.0}}
    made = optimizer.optimizer_of(cfg, model)
    assert isinstance(made, torch.optim.AdamW) and made.defaults["betas"] == (0.9, 0.999)
    found = {p: (group["lr"], group["weight_decay"]) for group in made.param_groups for p in group["params"]}
    published = {p: (group["lr"], group["weight_decay"]) for group in instantiate(params) for p in group["params"]}
    assert len(found) == len(list(model.parameters())) and found.keys() == published.keys()
    assert all(found[p] == pytest.approx(published[p], rel=1e-12) for p in found)


def test_the_schedule_is_100_or_75_epochs_of_64_images():
    for name, (steps, end) in {
        "vitdet-b-100ep": ((163889, 177546), 184375),
        "vitdet-l-100ep": ((163889, 177546), 184375),
        "vitdet-h-75ep": ((163889 * 3 // 4, 177546 * 3 // 4), 184375 * 3 // 4),
    }.items():
        solver = run_config.load(name).SOLVER
        assert (steps, end, 64) == (solver.STEPS, solver.MAX_ITER, solver.IMS_PER_BATCH)
        assert (solver.GAMMA, solver.WARMUP_ITERS, solver.WARMUP_FACTOR, solver.AMP.ENABLED) == (0.1, 250, 0.001, True)
        assert not solver.CLIP_GRADIENTS.ENABLED


def test_large_scale_jitter_is_detectron2s_list():
    """projects/ViTDet/configs/common/coco_loader_lsj.py."""
    side = 1024
    published = [
        T.RandomFlip(horizontal=True, vertical=False),
        T.ResizeScale(min_scale=0.1, max_scale=2.0, target_height=side, target_width=side),
        T.FixedSizeCrop(crop_size=(side, side), pad=False),
    ]
    cfg = run_config.load("vitdet-b-100ep")
    mapper = images.mapper_of(cfg, is_train=True)
    assert list(map(repr, mapper.augmentations.augs)) == list(map(repr, published))
    assert (mapper.recompute_boxes, mapper.image_format) == (True, "RGB")
    (resized,) = images.mapper_of(cfg, is_train=False).augmentations.augs
    assert (tuple(resized.short_edge_length), resized.max_size) == ((side, side), side)


@pytest.mark.parametrize("patch", [8, 16])
def test_the_demo_takes_patches_of_8_and_16(patch):
    """With 8 the pyramid has no level of scale 4, and what tops it stands on p4 rather than p5."""
    model = build_model(run_config.load("demo-vitdet", {"MODEL.DEVICE": "cpu", "TRANSFER.VIT.PATCH": patch}))
    found = model.backbone(torch.zeros(1, 3, 64, 64))
    assert {name: 64 // each.shape[-1] for name, each in found.items()} == {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
    assert len([name for name in model.backbone.net.state_dict() if "rel_pos" not in name]) == 12 * 4 + 3
