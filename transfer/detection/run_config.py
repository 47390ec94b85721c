"""From a protocol to Detectron2's config of one run: the data set's classes, the weights' input, the machine."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from runtime.command_line import UserError
from transfer.datasets import coco_json
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.validate_coco import Summary
from transfer.detection import (
    heads,
    network,
    protocol,
    records,
    settings,
    timm_fpn,
    vit,
)
from transfer.detection.scaling import linear_rule

REGISTERED = (heads, timm_fpn, vit)
"""Modules that make known to Detectron2 what protocols name."""


def default_config() -> CfgNode:
    """Detectron2's settings plus this suite's, which stand under TRANSFER."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "auto"  # CUDA if there is a GPU; Detectron2's own default fails without one
    # A scratch row must not start from whatever Detectron2 would fetch by default.
    cfg.MODEL.WEIGHTS = ""
    cfg.TRANSFER = CfgNode(dataclasses.asdict(settings.TransferSettings()))
    return cfg


def read(name: str) -> CfgNode:
    """The config of protocol ``name``. Raises UserError as `protocol.read` does."""
    cfg = default_config()
    override(cfg, protocol.read(name))
    return cfg


def load(
    name: str, overrides: Mapping[str, Any] | None = None, *, base_lr: float | None = None, scale: int = 1
) -> CfgNode:
    """Protocol ``name``, scaled, with the command line's ``overrides`` last, which are taken as they are.

    Args:
        overrides: setting -> value, as `settings.parse` gives them.
        base_lr: learning rate in place of the protocol's, for the protocol's own batch.
        scale: how many times smaller the batch is (``transfer.detection.scaling``).

    Raises UserError for an unknown protocol or setting, and for values that do not fit.
    """
    overrides = network.expanded(overrides or {})
    if base_lr is not None and "SOLVER.BASE_LR" in overrides:
        raise UserError("SOLVER.BASE_LR is decided by --search-lr; use that option")
    cfg = read(name)
    if base_lr is not None:
        cfg.SOLVER.BASE_LR = base_lr
    linear_rule(cfg, scale)
    override(cfg, overrides)
    return cfg


def override(cfg: CfgNode, values: Mapping[str, Any]) -> None:
    """Put ``values`` (dotted key -> value) into ``cfg``.

    Raises UserError for a key that this Detectron2 does not have and for a value of another type.
    """
    for key, value in values.items():
        *groups, name = key.split(".")
        node = functools.reduce(lambda node, group: node.get(group, {}), groups, cfg)
        if name not in node:
            raise UserError(f"{key} is no setting of the installed Detectron2; leave it out, or install 0.6 or later")
        node[name] = _as_type_of(node[name], value, key)


def _as_type_of(default: Any, value: Any, key: str) -> Any:
    """``value`` as Detectron2 keeps this setting: a whole number may stand for a float, a list for a tuple."""
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return type(default)(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if default is not None and type(value) is not type(default):
        raise UserError(f"{key} must be a {type(default).__name__}, got {value!r}")
    return value


def flatten(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    """``{"SOLVER.BASE_LR": 0.02, ...}``."""
    flat = {}
    for key, value in cfg.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else {f"{prefix}{key}": value})
    return flat


def changed(name: str, cfg: CfgNode, *, base_lr: float | None, scale: int) -> dict[str, Any]:
    """The settings of a loaded ``cfg`` that are not protocol ``name``'s own at this rate and scale: key -> value.

    A network that TRANSFER.BACKBONE names counts as one setting.
    """
    named = {network.NAMED: cfg.TRANSFER.BACKBONE} if cfg.TRANSFER.BACKBONE else {}
    own = flatten(load(name, named, base_lr=base_lr, scale=scale))
    now = flatten(cfg)
    return named | {key: value for key, value in now.items() if key not in settings.INCIDENTAL and value != own[key]}


def tasks(cfg: CfgNode) -> list[str]:
    """What the detector predicts: ``bbox``, and ``segm`` and ``keypoints`` where it has those heads."""
    heads = {"segm": cfg.MODEL.MASK_ON, "keypoints": cfg.MODEL.KEYPOINT_ON}
    return ["bbox", *(task for task, on in heads.items() if on)]


def apply_input(cfg: CfgNode, about: dict, overrides: Mapping[str, Any]) -> None:
    """Give the model the input that its weights were trained on.

    Colour order, mean, standard deviation and the place of the stride belong to the weights: a wrong one loads without
    complaint and costs several AP. Raises UserError if ``overrides`` contradict them.
    """
    trained = about.get("input") or {}
    places = {
        "INPUT.FORMAT": "order",
        "MODEL.PIXEL_MEAN": "pixel_mean",
        "MODEL.PIXEL_STD": "pixel_std",
        "MODEL.RESNETS.STRIDE_IN_1X1": "stride_in_1x1",
    }
    _decided(cfg, {key: trained[place] for key, place in places.items() if place in trained}, overrides)


def apply_network(
    cfg: CfgNode, weights: network.Network | None, overrides: Mapping[str, Any], *, protocol: str, path: str
) -> None:
    """Build the network that the weights at ``path`` are of. Raises UserError if it is not of the protocol's family."""
    if weights is None:
        return
    network.refuse_another_family(flatten(cfg), weights, protocol=protocol, path=path)
    if weights.family == network.VIT and not {"TRANSFER.VIT.HEADS"} & (weights.settings.keys() | overrides.keys()):
        raise UserError(
            f"{path} does not say how many attention heads its ViT has, and no tensor shows it; convert it with "
            f"transfer/convert.py, or set TRANSFER.VIT.HEADS"
        )
    _decided(cfg, weights.settings, overrides)


def _decided(cfg: CfgNode, wanted: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Put what the weights decide into ``cfg``. Raises UserError if ``overrides`` contradict it."""
    current = flatten(cfg)
    for key, value in wanted.items():
        if key in overrides and current[key] != value:
            raise UserError(
                f"{key} {current[key]} contradicts the weights, which were trained with {value}; leave it out"
            )
    override(cfg, wanted)


def resolve(
    cfg: CfgNode, paths: Paths, summary: Summary, *, out: Path, seed: int, weights: str, world_size: int, device: str
) -> None:
    """Fill in what depends on the data set, the machine and the command line, register the data, and freeze ``cfg``."""
    if cfg.MODEL.MASK_ON and not summary.has_masks:
        raise UserError(f"{paths.train.json} has annotations without a mask; add MODEL.MASK_ON=False to train on boxes")
    network.check(flatten(cfg))
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise UserError(
            f"a batch of SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} images cannot be shared evenly by "
            f"{world_size} processes; change one of them"
        )
    cfg.SEED, cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = seed, str(out), weights, device
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (f"{paths.name}/train",), (f"{paths.name}/val",)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(summary.categories)
    cfg.INPUT.MASK_FORMAT = "bitmask" if summary.has_rle else "polygon"
    model, points = cfg.MODEL, []
    if model.KEYPOINT_ON:
        points = coco_json.keypoint_names(paths.train.json)
        model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = len(points)
    for node in (model.RESNETS, model.FPN, model.ROI_BOX_HEAD, model.ROI_MASK_HEAD):
        node.NORM = norm_for(node.NORM, world_size=world_size, device=device)
    cfg.freeze()
    for split, half in (("train", paths.train), ("val", paths.val)):
        _register(f"{paths.name}/{split}", half, summary.categories, points)


def norm_of(cfg: CfgNode) -> str:
    """The norm beside the pretrained network, which a ViT's own is not."""
    return cfg.MODEL.FPN.NORM if network.family(flatten(cfg)) == network.VIT else cfg.MODEL.RESNETS.NORM


def norm_for(name: str, *, world_size: int, device: str) -> str:
    """The norm that computes what ``name`` means with so many processes on such a device.

    One process has nothing to synchronise, so SyncBN is plain BN there; torch's SyncBN is for GPUs only, on CPU
    Detectron2's own version stands in.
    """
    if name != "SyncBN":
        return name
    if world_size == 1:
        return "BN"
    return "SyncBN" if device == "cuda" else "naiveSyncBN"


def _register(name: str, half: Split, categories: dict[int, str], points: list[str]) -> None:
    about = {"keypoint_names": points, "keypoint_flip_map": coco_json.mirrored_pairs(points)} if points else {}
    records.register(name, half, categories, **about)
