"""From a protocol to the settings of one run: the data set's classes, the weights' input, what the machine allows."""

from pathlib import Path

from detectron2.config import CfgNode

from runtime.command_line import UserError, one_of
from transfer.datasets import coco_json
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.validate_coco import Summary
from transfer.detection import protocol, records, samplers
from transfer.detection.run_guard import INCIDENTAL
from transfer.detection.scaling import linear_rule
from transfer.metrics.coco import ENGINES

OWNED = {
    "SEED": "--seed",
    "OUTPUT_DIR": "--out",
    "MODEL.WEIGHTS": "--weights",
    "DATASETS.TRAIN": "--benchmark",
    "DATASETS.TEST": "--benchmark",
    "MODEL.ROI_HEADS.NUM_CLASSES": "--benchmark",
}
"""Settings that an option decides."""


def load(name: str, overrides: list[str], *, base_lr: float | None = None, scale: int = 1) -> CfgNode:
    """Protocol ``name``, scaled, with the command line's ``overrides`` last, which are taken as they are.

    Args:
        base_lr: learning rate in place of the protocol's, for the protocol's own batch.
        scale: how many times smaller the batch is (``transfer.detection.scaling``).

    Raises UserError for the settings that belong to an option, and for values that nothing knows.
    """
    owned = OWNED | ({"SOLVER.BASE_LR": "--search-lr"} if base_lr is not None else {})
    for key in overrides[::2]:
        if key in owned:
            raise UserError(f"{key} is decided by {owned[key]}; use that option")
    cfg = protocol.read(name)
    if base_lr is not None:
        cfg.SOLVER.BASE_LR = base_lr
    linear_rule(cfg, scale)
    protocol.override(cfg, overrides)
    one_of("evaluation engine", cfg.TRANSFER.EVALUATION_ENGINE, ENGINES)
    one_of("DATALOADER.SAMPLER_TRAIN", cfg.DATALOADER.SAMPLER_TRAIN, samplers.SAMPLERS)
    return cfg


def changed(name: str, cfg: CfgNode, *, base_lr: float | None, scale: int) -> dict:
    """The settings of a loaded ``cfg`` that are not protocol ``name``'s own at this rate and scale: key -> value."""
    own = protocol.flatten(load(name, [], base_lr=base_lr, scale=scale))
    now = protocol.flatten(cfg)
    return {key: value for key, value in now.items() if key not in INCIDENTAL and value != own[key]}


def tasks(cfg: CfgNode) -> list[str]:
    """What the detector predicts: ``bbox``, and ``segm`` and ``keypoints`` where it has those heads."""
    heads = {"segm": cfg.MODEL.MASK_ON, "keypoints": cfg.MODEL.KEYPOINT_ON}
    return ["bbox", *(task for task, on in heads.items() if on)]


def apply_input(cfg: CfgNode, about: dict, overrides: list[str]) -> None:
    """Give the model the input that its weights were trained on.

    Colour order, mean, standard deviation and the place of the stride belong to the weights: a wrong one loads without
    complaint and costs several AP. Raises UserError if ``overrides`` contradict them.
    """
    seen = about.get("input")
    if not seen:
        return
    wanted = {
        "INPUT.FORMAT": seen["order"],
        "MODEL.PIXEL_MEAN": seen["pixel_mean"],
        "MODEL.PIXEL_STD": seen["pixel_std"],
        "MODEL.RESNETS.STRIDE_IN_1X1": seen["stride_in_1x1"],
    }
    current = protocol.flatten(cfg)
    for key, value in wanted.items():
        if key in overrides[::2] and current[key] != value:
            raise UserError(
                f"{key} {current[key]} contradicts the weights, which were trained with {value}; leave it out"
            )
        cfg.merge_from_list([key, value])


def resolve(
    cfg: CfgNode, paths: Paths, summary: Summary, *, out: Path, seed: int, weights: str, world_size: int, device: str
) -> None:
    """Fill in what depends on the data set, the machine and the command line, register the data, and freeze ``cfg``."""
    if cfg.MODEL.MASK_ON and not summary.has_masks:
        raise UserError(f"{paths.train.json} has annotations without a mask; add MODEL.MASK_ON False to train on boxes")
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
        node.NORM = protocol.norm_for(node.NORM, world_size=world_size, device=device)
    cfg.freeze()
    for split, half in (("train", paths.train), ("val", paths.val)):
        _register(f"{paths.name}/{split}", half, summary.categories, points)


def _register(name: str, half: Split, categories: dict[int, str], points: list[str]) -> None:
    about = {"keypoint_names": points, "keypoint_flip_map": coco_json.mirrored_pairs(points)} if points else {}
    records.register(name, half, categories, **about)
