"""The one reader of a COCO json: what check_data, training and evaluation take from an annotation file."""

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask

from runtime.command_line import UserError
from runtime.read import read_json

coco_mask: Any = mask
"""pycocotools' functions for run lengths; its stubs know less than it takes."""

MOST_BYTES = 8 << 30
"""Largest annotation or results file that is read; COCO's training set has 0.45 GB."""

UNPACKED = 100
"""A compressed file may unfold to this many times its size; COCO's json files are about six times as large."""

SMALL_BYTES = 64 << 20
"""Every compressed file may unfold to this size."""

LISTS = ("images", "annotations", "categories")

REMEDY = "expected a COCO annotation file"

METRICS = ("coco", "voc-2007", "cityscapes", "lvis")
"""How predictions on a data set are scored; the first where its json does not say."""


def read(path: str | Path) -> dict:
    """The content of a COCO json; its entries are checked by `transfer.datasets.validate_coco`.

    Raises UserError unless it is an object with lists of images, annotations and categories, the first and the last
    not empty. The rest of the object (``info``, ``licenses``) may hold anything.
    """
    content = read_json(path, limit_bytes=size_limit(path), remedy=REMEDY)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected COCO's object of images and annotations")
    for key in LISTS:
        if not isinstance(content.get(key), list):
            keys = ", ".join(map(str, content)) or "nothing"
            raise UserError(f"{path} lacks the list {key!r}, which a COCO file has; found {keys}")
    if not content["images"] or not content["categories"]:
        raise UserError(
            f"{path} has {len(content['images'])} images and {len(content['categories'])} categories, expected at "
            "least one of each"
        )
    return content


def size_limit(path: str | Path) -> int:
    """The most bytes that a json file may hold, or unfold to."""
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    if size > MOST_BYTES:
        raise UserError(f"{path} has {size >> 20} MiB, at most {MOST_BYTES >> 20} are read; give the right file")
    return min(MOST_BYTES, max(SMALL_BYTES, UNPACKED * size)) if Path(path).suffix == ".gz" else size


def metric_in(content: dict) -> str:
    """The metric that a COCO object names in ``info.metric``."""
    info = content.get("info")
    name = info.get("metric") if isinstance(info, dict) else None
    return name if name in METRICS else METRICS[0]


def clean(content: dict, *, evaluated: bool = False) -> dict:
    """Fill in what a file without faults may leave open; changes ``content`` and returns it.

    Numbers that stand for whole ones become whole. ``iscrowd`` is 0 where it is missing. Polygons of fewer than three
    points go, because COCO's code would take four numbers for a box.

    Args:
        evaluated: also fill in ``area``, that of the mask or else of the box, and ``num_keypoints``.
    """
    for image in content["images"]:
        for key in ("id", "width", "height"):
            image[key] = int(image[key])
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    points = {}
    for category in content["categories"]:
        category["id"] = int(category["id"])
        points[category["id"]] = len(category.get("keypoints") or ())
    for entry in content["annotations"]:
        for key in ("id", "image_id", "category_id"):
            entry[key] = int(entry[key])
        entry["iscrowd"] = int(entry.get("iscrowd") or 0)
        entry.pop("ignore", None)
        if mask := usable_mask(entry.get("segmentation")):
            entry["segmentation"] = mask
        else:
            entry.pop("segmentation", None)
        if not entry.get("keypoints"):
            entry.pop("keypoints", None)
        if evaluated:
            _fill_for_evaluation(entry, sizes[entry["image_id"]], points[entry["category_id"]])
    return content


def _fill_for_evaluation(entry: dict, size: tuple[int, int], points: int) -> None:
    if entry.get("area") is None:
        mask = entry.get("segmentation")
        width, height = entry["bbox"][2:]
        entry["area"] = float(coco_mask.area(run_lengths(mask, *size))) if mask else float(width * height)
    if marks := entry.get("keypoints") or [0] * (3 * points):
        entry["keypoints"] = marks
        if type(entry.get("num_keypoints")) is not int or entry["num_keypoints"] < 0:
            entry["num_keypoints"] = sum(seen > 0 for seen in marks[2::3])
    else:
        entry.pop("num_keypoints", None)


def usable_mask(mask) -> dict | list | None:
    """A mask without polygons of fewer than three points; None if nothing is left."""
    if isinstance(mask, dict):
        return mask or None
    if not isinstance(mask, list):
        return None
    return [polygon for polygon in mask if len(polygon) >= 6] or None


def run_lengths(mask: dict | list, height: int, width: int) -> dict:
    """COCO's polygons or run lengths -> packed run lengths."""
    if isinstance(mask, list):
        return coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    if isinstance(mask["counts"], list):
        return coco_mask.frPyObjects(mask, height, width)
    return mask


def unpacked(text: str) -> np.ndarray:
    """COCO's packed run lengths -> pixels of each run, (runs,) int64. Raises ValueError for a text that is none.

    Six bits a character above ``0``: five of the number, lowest first, and whether it goes on; from the fourth number
    on they are differences to the number two places before.
    """
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    last = (codes & 32) == 0
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise ValueError("no run lengths")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:  # 35 bits hold more than an image has pixels
        raise ValueError("a run of more than 2^30 pixels")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((codes & 31) << shift, starts)
    values -= np.where(codes[ends] & 16, 1 << (shift[ends] + 5), 0)
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    if len(values) > 2:  # the first number is in no sum
        runs[2::2] = np.cumsum(values[2::2])
    return runs


PAIRS = 8
"""So many of a person's points stand left and right; a pair that is not found would keep its places in mirrored images
and teach the detector the wrong side."""

KEYPOINTS = 17
"""COCO's person has 17 points, and the metric knows no other number: each point has a tolerance of its own."""


def keypoint_names(path: Path) -> list[str]:
    """The points' names. Raises UserError unless every category of the COCO json ``path`` has the same 17, in pairs."""
    categories = read(path)["categories"]
    names = {tuple(category.get("keypoints") or ()) for category in categories}
    if len(names) != 1 or len(next(iter(names))) != KEYPOINTS:
        counts = ", ".join(f"{category['name']} {len(category.get('keypoints') or ())}" for category in categories[:3])
        raise UserError(
            f"{path}: the protocol needs COCO's {KEYPOINTS} keypoints in every category, found {counts}; "
            f"take coco_2017_keypoints, or a protocol without keypoints"
        )
    points: list[str] = list(next(iter(names)))
    if len(pairs := mirrored_pairs(points)) != PAIRS:
        raise UserError(
            f"{path}: {len(pairs)} pairs left_... and right_... among the keypoints {', '.join(points[:3])} ..., "
            f"expected {PAIRS}, which change places in mirrored images; name them as COCO does (left_eye, right_eye)"
        )
    return points


def mirrored_pairs(points: list[str]) -> list[tuple[str, str]]:
    """The pairs ``("left_eye", "right_eye")`` among ``points``, which change places when an image is mirrored."""
    pairs = [(point, point.replace("left", "right", 1)) for point in points if point.startswith("left")]
    return [pair for pair in pairs if pair[1] in points]
