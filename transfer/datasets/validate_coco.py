"""Whether a COCO data set can be trained on and evaluated: the faults that stop a run, and warnings for its reader.

check_data lists them all; training and evaluation refuse a file exactly for those that stop.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath

from runtime.command_line import Faults, printable
from transfer.datasets import coco_json, image_files
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.coco_json import unpacked, usable_mask
from transfer.datasets.coco_types import is_whole, shown_id, untyped
from transfer.datasets.faults import Fault, refuse, shown

TOLERANCE_PX = 1.0
"""How far a box may stand out of its image: COCO's own boxes are rounded and do so by a fraction of a pixel."""


@dataclass(frozen=True)
class Summary:
    """What a valid file holds."""

    categories: dict[int, str]
    images: int
    annotations: int
    has_masks: bool
    """Whether there are objects and each of them has a mask; crowds do not count."""
    has_rle: bool
    """Whether any object that is not a crowd stores its mask run-length encoded."""


def check(split: Split, *, evaluated: bool, images: bool = False) -> Summary:
    """Validate one COCO json against its image folder.

    Args:
        evaluated: whether the file is the ground truth of an evaluation; else it is trained on.
        images: also read the header of every image file.

    Raises UserError with a line for each kind of fault, which names the first entries.
    """
    content = coco_json.read(split.json)
    faults = list(stopping(content, split.images, evaluated=evaluated))
    if images and not faults:
        faults += [fault for fault in image_files.faults_of(content, split.images) if fault.stops]
    refuse(split.json, faults)
    return summary(content)


def check_both(paths: Paths, *, images: bool = False) -> tuple[Summary, Summary]:
    """Validate the training and the validation half of a data set, each alone and the two together.

    Args:
        images: also read the header of every image file.

    Raises UserError with a line for each kind of fault.
    """
    faults, summaries = Faults(), []
    for split, evaluated in ((paths.train, False), (paths.val, True)):
        with faults.collected():
            summaries.append(check(split, evaluated=evaluated, images=images))
    faults.check()
    train, val = summaries
    refuse(f"{paths.train.json} and {paths.val.json}", other_categories(train.categories, val.categories))
    return train, val


def other_categories(train: dict[int, str], val: dict[int, str]) -> list[Fault]:
    """The categories, id -> name, that only one half has."""
    return [
        Fault("is a category of one half only", f"{number} {shown(name)}")
        for number, name in sorted(train.items() ^ val.items())
    ]


def summary(content: dict) -> Summary:
    """What a content without faults holds."""
    masks = [usable_mask(entry.get("segmentation")) for entry in content["annotations"] if not entry.get("iscrowd")]
    return Summary(
        categories={int(entry["id"]): entry["name"] for entry in sorted(content["categories"], key=lambda e: e["id"])},
        images=len(content["images"]),
        annotations=len(content["annotations"]),
        has_masks=bool(masks) and sum(mask is None for mask in masks) < len(masks),
        has_rle=any(isinstance(mask, dict) for mask in masks),
    )


def stopping(content: dict, folder: Path | None, *, evaluated: bool) -> Iterator[Fault]:
    """The faults of a json that stop a run, without opening an image.

    Args:
        folder: where the images are; None leaves the files out of the check.
    """
    if wrong := untyped(content):
        yield from wrong
        return
    yield from _repeated(content)
    yield from _file_faults(content["images"], folder)
    broken = list(_annotation_faults(content))
    yield from broken
    positions = {fault.annotation for fault in broken}
    whole = [pair for pair in enumerate(content["annotations"]) if pair[0] not in positions]
    yield from _missing_masks(whole, evaluated=evaluated)
    if not evaluated and not broken and not any(_trainable(entry) for _, entry in whole):
        crowds = sum(bool(entry.get("iscrowd")) for entry in content["annotations"])
        detail = f"{len(content['annotations'])} annotations, {crowds} of them crowds"
        yield Fault("has no object to train on", "the file", detail)


def _repeated(content: dict) -> Iterator[Fault]:
    """Ids and names that must be there once."""
    for kind, key in (("image", "images"), ("category", "categories"), ("annotation", "annotations")):
        for number, times in Counter(entry["id"] for entry in content[key]).items():
            if times > 1:
                yield Fault(f"is the id of several {key}", f"{kind} id {shown_id(number)}", f"{times} times")
    for name, times in Counter(category["name"] for category in content["categories"]).items():
        if times > 1:
            yield Fault("is the name of several categories", shown(name), f"{times} times")


def _file_faults(images: list[dict], folder: Path | None) -> Iterator[Fault]:
    present = {entry.name for entry in os.scandir(folder)} if folder else set()
    for image in images:
        name, entry = image["file_name"], f"image id {shown_id(image['id'])}"
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield Fault("has a file name that leaves the image folder", entry, shown(name))
        elif folder and name not in present and not (folder / name).is_file():
            yield Fault("is a file that is not in the image folder", entry, f"{shown(name)} in {folder}")


def _annotation_faults(content: dict) -> Iterator[Fault]:
    sizes = {image["id"]: (int(image["width"]), int(image["height"])) for image in content["images"]}
    points = {category["id"]: len(category.get("keypoints") or ()) for category in content["categories"]}
    for position, entry in enumerate(content["annotations"]):
        name = f"annotation id {shown_id(entry['id'])}"
        if entry["category_id"] not in points:
            detail = f"category {shown_id(entry['category_id'])}"
            yield Fault("has a category that is not among the categories", name, detail, annotation=position)
        elif (given := len(entry.get("keypoints") or ())) and given != 3 * points[entry["category_id"]] > 0:
            detail = f"{given // 3} of {points[entry['category_id']]}"
            yield Fault("has another number of keypoints than its category", name, detail, annotation=position)
        if entry["image_id"] not in sizes:
            detail = f"image {shown_id(entry['image_id'])}"
            yield Fault("belongs to an image that is not among the images", name, detail, annotation=position)
            continue
        width, height = sizes[entry["image_id"]]
        x, y, w, h = entry["bbox"]
        if max(-x, -y, x + w - width, y + h - height) > TOLERANCE_PX or min(w, h) < 0:
            detail = f"{shown(entry['bbox'])} in {width} x {height}"
            yield Fault("has a box outside its image", name, detail, annotation=position)
        if fault := mask_fault(entry.get("segmentation"), width, height):
            kind, detail = fault
            yield Fault(kind, name, detail, annotation=position)


def mask_fault(mask, width: int, height: int) -> tuple[str, str] | None:
    """What is wrong with a mask in an image of this size: kind and detail."""
    if isinstance(mask, dict):
        return _run_length_fault(mask, width, height) if mask else None
    if mask is None:
        return None
    if not isinstance(mask, list):
        return "has a segmentation that is neither polygons nor run lengths", shown(mask)
    for polygon in mask:
        if not isinstance(polygon, list):
            return "has a polygon that is no list, expected [[x, y, x, y, ...]]", shown(polygon)
        try:
            finite = all(map(isfinite, polygon))
        except (TypeError, OverflowError):
            return "has a polygon with a value that is no number, expected [[x, y, x, y, ...]]", shown(polygon)
        if not finite:
            return "has a polygon that is not finite", shown(polygon)
        if len(polygon) % 2:
            return "has a polygon with an odd number of coordinates", str(len(polygon))
    far = beyond(mask, width, height)
    if far > max(width, height):
        return "has a polygon far outside its image", f"by {far:.1f} pixels of {width} x {height}"
    return None


def _run_length_fault(mask: dict, width: int, height: int) -> tuple[str, str] | None:
    size, counts = mask.get("size"), mask.get("counts")
    if not (isinstance(size, list) and size == [height, width] and all(map(is_whole, size))):
        return "has run lengths of another size than its image", f"{shown(size)}, image {[height, width]}"
    try:
        if isinstance(counts, str):
            runs = unpacked(counts)
            fills = len(runs) and runs.min() >= 0 and runs.sum() == width * height
        elif isinstance(counts, list) and all(type(count) is int for count in counts):
            fills = min(counts, default=-1) >= 0 and sum(counts) == width * height
        else:
            return "has run lengths that are neither a text nor whole numbers", shown(counts)
    except ValueError:  # no packed run lengths
        fills = False
    return None if fills else ("has run lengths that do not fill its image", shown(counts))


def beyond(polygons: list, width: int, height: int) -> float:
    """How far polygons stand out of their image, in pixels."""
    polygons = [polygon for polygon in polygons if polygon]
    return max((max(-min(p), max(p[::2]) - width, max(p[1::2]) - height) for p in polygons if len(p) > 1), default=0)


def _missing_masks(annotations: list[tuple[int, dict]], *, evaluated: bool) -> Iterator[Fault]:
    """Objects without a mask among others that have one; training would drop them, the metric count them as missed."""
    if not any(usable_mask(entry.get("segmentation")) for _, entry in annotations if not entry.get("iscrowd")):
        return
    for position, entry in annotations:
        if usable_mask(entry.get("segmentation")) or (entry.get("iscrowd") and not evaluated):
            continue
        if not evaluated and any(entry.get("segmentation") or ()):
            continue  # polygons of fewer than three points: a warning, the object is left out
        yield Fault(
            "is without a mask where others have one", f"annotation id {shown_id(entry['id'])}", annotation=position
        )


def _trainable(entry: dict) -> bool:
    dropped = any(entry.get("segmentation") or ()) and not usable_mask(entry["segmentation"])
    return not entry.get("iscrowd") and not dropped and min(entry["bbox"][2:]) > 0


def between(contents: dict[str, dict], paths: Paths) -> list[Fault]:
    """What only the training and the validation half together show."""
    train, val = ({int(entry["id"]): entry["name"] for entry in content["categories"]} for content in contents.values())
    halves = zip((paths.train, paths.val), contents.values(), strict=True)
    files = [{(str(split.images.resolve()), image["file_name"]) for image in c["images"]} for split, c in halves]
    both = [printable(f"{folder}/{name}") for folder, name in sorted(files[0] & files[1])]
    return other_categories(train, val) + [Fault("is an image of train and of val", name, stops=False) for name in both]
