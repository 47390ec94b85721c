"""Cityscapes' instance metric: AP over mask overlaps 0.50 to 0.95, where void, groups and specks are ignored.

The rules are those of cityscapesScripts' evalInstanceLevelSemanticLabeling: every prediction counts, however many an
image has; of two on one object the lower score is wrong; an unmatched prediction is ignored if more of it than the
threshold lies on void, on a group, or on objects under 100 pixels. A test holds the figures against that script's.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.command_line import UserError
from transfer.datasets.coco_json import coco_mask
from transfer.metrics import ground_truth

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
SMALLEST_PX = 100


@dataclass(frozen=True)
class Image:
    """One category in one image: P predictions, O objects."""

    scores: np.ndarray
    """(P,)"""
    overlaps: np.ndarray
    """(P, O) intersection over union."""
    ignored: np.ndarray
    """(P,) share of each prediction's pixels on what is ignored; a group under 100 pixels counts twice, as there."""
    counts: np.ndarray
    """(O,) whether the object is to be found: no group, large enough."""


def score(truth: str | Path, predictions: Sequence[dict]) -> dict[str, dict[str, float | None]]:
    """AP, AP50 and AP of each category, in percent; None for a category without an object to find.

    Args:
        truth: json of ``transfer.datasets.cityscapes``, with a void mask for each image.
        predictions: COCO results with run-length masks.
    """
    content = ground_truth.read(truth).content
    if not all(isinstance(image.get("void"), dict) for image in content["images"]):
        raise UserError(f"{truth} names Cityscapes' metric, but its images have no void masks; remove info.metric")
    objects, detections = _grouped(content["annotations"]), _grouped(predictions)
    curves = {}
    for category in content["categories"]:
        keys = [(image["id"], category["id"], image["void"]) for image in content["images"]]
        images = [_image(detections[number, kind], objects[number, kind], void) for number, kind, void in keys]
        curves[category["name"]] = _category(images)
    known = [values for values in curves.values() if values is not None]
    overall = {"AP": np.mean(known), "AP50": np.mean([values[0] for values in known])} if known else {}
    each = {f"AP-{name}": None if values is None else np.mean(values) for name, values in curves.items()}
    figures = dict.fromkeys(("AP", "AP50")) | overall | each
    return {"segm": {key: None if value is None else float(value) for key, value in figures.items()}}


def _grouped(entries: Sequence[dict]) -> dict[tuple[int, int], list[dict]]:
    groups = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"], entry["category_id"]].append(entry)
    return groups


def _image(detections: list[dict], objects: list[dict], void: dict) -> Image:
    detections = [entry for entry in detections if coco_mask.area(entry["segmentation"])]
    areas = np.array([entry["area"] for entry in objects], dtype=np.float64)
    groups = np.array([bool(entry["iscrowd"]) for entry in objects], dtype=bool)
    small = areas < SMALLEST_PX
    masks = [entry["segmentation"] for entry in detections]
    sizes = np.array([coco_mask.area(mask) for mask in masks], dtype=np.float64)
    overlaps = _overlaps(masks, [entry["segmentation"] for entry in objects])
    common = overlaps * (sizes[:, None] + areas) / (1 + overlaps)
    on_void = _overlaps(masks, [void])[:, 0]
    ignored = (
        on_void * (sizes + coco_mask.area(void)) / (1 + on_void) + common[:, groups].sum(1) + common[:, small].sum(1)
    )
    scores = np.array([entry["score"] for entry in detections])
    return Image(scores, overlaps, ignored / np.maximum(sizes, 1), ~groups & ~small)


def _overlaps(masks: list[dict], others: list[dict]) -> np.ndarray:
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    return np.asarray(coco_mask.iou(masks, others, [0] * len(others)))


def _category(images: list[Image]) -> list[float] | None:
    """AP in percent at each threshold; None if there is nothing to find."""
    if not any(image.counts.any() for image in images):
        return None
    return [100 * _average_precision(images, threshold) for threshold in THRESHOLDS]


def _average_precision(images: list[Image], threshold: float) -> float:
    right, wrong, missed = [], [], 0
    for image in images:
        matches = image.overlaps > threshold
        for column in matches[:, image.counts].T:
            scores = sorted(image.scores[column], reverse=True)
            missed += not scores
            right += scores[:1]
            wrong += scores[1:]
        wrong += image.scores[~matches.any(1) & (image.ignored <= threshold)].tolist()
    if not right:
        return 0.0
    cuts = np.unique([*right, *wrong])
    true = len(right) - np.searchsorted(np.sort(right), cuts)
    false = len(wrong) - np.searchsorted(np.sort(wrong), cuts)
    precision = np.append(true / (true + false), 1.0)
    recall = np.append(true / (len(right) + missed), 0.0)
    # Each precision holds from half way to its neighbours in recall.
    edges = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((edges[:-2] - edges[2:]) / 2))
