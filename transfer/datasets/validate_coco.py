"""Is this a COCO data set one can train on? Faults of a file are found before the first iteration, not during it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from runtime.command_line import UserError
from transfer.datasets.benchmarks import Split

TOLERANCE_PX = 1.0
"""How far a box may stand out of its image: COCO's own boxes are rounded and do so by a fraction of a pixel."""


@dataclass(frozen=True)
class Summary:
    """What a valid file holds."""

    categories: dict[int, str]
    images: int
    annotations: int
    has_masks: bool
    """Whether every annotation that is not a crowd has a mask."""
    has_rle: bool
    """Whether any annotation that is not a crowd stores its mask run-length encoded."""


def check(split: Split, *, evaluated: bool) -> Summary:
    """Validate one COCO json against its image folder.

    Args:
        evaluated: whether COCO evaluation will read the file; it needs ``area`` and ``iscrowd`` too.

    Raises UserError that names the first fault (with the annotation's id) and says how many there are.
    """
    content = load(split.json)
    if found := list(faults(content, split, evaluated=evaluated)):
        more = f"; {len(found)} faults in all" if len(found) > 1 else ""
        raise UserError(f"{split.json}: {found[0]}{more}; correct the file")
    masks = [a.get("segmentation") for a in content["annotations"] if not a.get("iscrowd", 0)]
    return Summary(
        categories={category["id"]: category["name"] for category in sorted(content["categories"], key=_id)},
        images=len(content["images"]),
        annotations=len(content["annotations"]),
        has_masks=all(masks),
        has_rle=any(isinstance(mask, dict) for mask in masks),
    )


def _id(entry: dict) -> int:
    return entry["id"]


KINDS = {
    **dict.fromkeys(("id", "image_id", "category_id"), (int, str)),
    **dict.fromkeys(("name", "file_name"), (str,)),
    **dict.fromkeys(("width", "height", "area"), (float, int)),
}
"""What the values of an entry must be."""


def load(path: Path) -> dict:
    """The content of a COCO json. Raises UserError unless it has lists of images, annotations and categories."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not json ({error}); expected a COCO annotation file") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected COCO's object of images and annotations")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise UserError(
                f"{path} lacks the list {key!r}, which a COCO file has; found {', '.join(content) or 'nothing'}"
            )
    if not content["images"] or not content["categories"]:
        raise UserError(f"{path} has {len(content['images'])} images and {len(content['categories'])} categories")
    return content


def faults(content: dict, split: Split, *, evaluated: bool) -> Iterator[str]:
    """What would stop a training run, one line each, beginning with the entry: ``annotation id 12 has box ...``."""
    needed = {
        "categories": ("id", "name"),
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id", "bbox") + (("area", "iscrowd") if evaluated else ()),
    }
    unreadable = list(_unreadable(content, needed))
    if unreadable:  # nothing further can be told of such a file
        yield from unreadable
        return
    yield from _image_faults(content["images"], split.images)
    yield from _annotation_faults(content)


def _unreadable(content: dict, needed: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for kind, keys in needed.items():
        one = "category" if kind == "categories" else kind.removesuffix("s")
        for position, entry in enumerate(content[kind]):
            if not isinstance(entry, dict):
                yield f"{one} number {position} is {entry!r}, expected an object with {', '.join(keys)}"
                continue
            name = f"id {entry['id']}" if "id" in entry else f"number {position}"
            for key in keys:
                if key not in entry:
                    yield f"{one} {name} lacks {key!r}"
                elif key in KINDS and not isinstance(entry[key], KINDS[key]):
                    yield f"{one} {name} has {key} {entry[key]!r}, which is no {KINDS[key][0].__name__}"


def _image_faults(images: list[dict], folder: Path) -> Iterator[str]:
    present = {entry.name for entry in os.scandir(folder)}
    seen = set()
    for image in images:
        name = image["file_name"]
        if name not in present and not (folder / name).is_file():
            yield f"image id {image['id']} is {name}, which is not in {folder}"
        if image["id"] in seen:
            yield f"image id {image['id']} occurs twice"
        seen.add(image["id"])


def _annotation_faults(content: dict) -> Iterator[str]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    seen = set()
    for annotation in content["annotations"]:
        who = f"annotation id {annotation['id']}"
        if annotation["id"] in seen:
            yield f"{who} occurs twice"
        seen.add(annotation["id"])
        if annotation["category_id"] not in categories:
            yield f"{who} has category {annotation['category_id']}, which is not among the categories"
        if annotation["image_id"] not in sizes:
            yield f"{who} belongs to image {annotation['image_id']}, which is not among the images"
            continue
        size = sizes[annotation["image_id"]]
        yield from (f"{who} {fault}" for fault in _box_faults(annotation["bbox"], size))
        yield from (f"{who} {fault}" for fault in _mask_faults(annotation.get("segmentation"), size))


def _box_faults(box: list[float], size: tuple[int, int]) -> Iterator[str]:
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) and isfinite(x) for x in box)):
        yield f"has box {box}, expected [x, y, width, height]"
        return
    x, y, width, height = box
    beyond = max(-x, -y, x + width - size[0], y + height - size[1])
    if beyond > TOLERANCE_PX or width < 0 or height < 0:
        yield f"has box {box} outside its image of {size[0]} x {size[1]}"


def _mask_faults(mask, size: tuple[int, int]) -> Iterator[str]:
    if isinstance(mask, dict):
        if list(mask.get("size", ())) != [size[1], size[0]]:
            yield f"has a mask of {mask.get('size')} (height, width) in an image of {[size[1], size[0]]}"
        return
    for polygon in mask or ():
        if not isinstance(polygon, list) or len(polygon) % 2:
            count = len(polygon) if isinstance(polygon, list) else "no list"
            yield f"has a polygon with an odd number of coordinates ({count})"
