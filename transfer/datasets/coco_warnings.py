"""What is odd about a COCO data set without stopping a run: a careful reader wants to know it before training."""

from collections import Counter
from collections.abc import Iterator

from transfer.datasets.coco_json import coco_mask, run_lengths, usable_mask
from transfer.datasets.faults import Fault, shown
from transfer.datasets.validate_coco import TOLERANCE_PX, beyond

SLACK_PX = 2.0
SLACK = 0.1
"""An edge of a box may lie SLACK_PX plus this share of the longer side away from the edge of its mask."""

MANY = 8
"""From so many boxes on it is no chance that all of them look like corners."""


def warnings(content: dict, *, evaluated: bool) -> Iterator[Fault]:
    """The warnings of a content whose values have the expected types.

    Args:
        evaluated: whether the file is the ground truth of an evaluation.
    """
    for fault in (*_of_the_set(content), *_of_annotations(content, evaluated=evaluated)):
        yield Fault(*fault, stops=False)


def _of_the_set(content: dict) -> Iterator[tuple[str, ...]]:
    for name, times in Counter(image["file_name"] for image in content["images"]).items():
        if times > 1:
            yield "is the file of several images", shown(name), f"{times} times"
    counts = Counter(entry["category_id"] for entry in content["annotations"])
    for category in content["categories"]:
        if not counts[category["id"]]:
            yield "is a category without an object", shown(category["name"])
    boxes = [entry["bbox"] for entry in content["annotations"]]
    if len(boxes) >= MANY and all(w >= x and h >= y for x, y, w, h in boxes):
        yield "has boxes that all look like corners [x, y, x, y]; COCO's are [x, y, width, height]", "the file"
    if not boxes:
        yield "has no object", "the file"


def _of_annotations(content: dict, *, evaluated: bool) -> Iterator[tuple[str, ...]]:
    sizes = {image["id"]: (int(image["width"]), int(image["height"])) for image in content["images"]}
    seen = set()
    for entry in content["annotations"]:
        name, box = f"annotation id {shown(entry['id'])}", entry["bbox"]
        if (same := (entry["image_id"], entry["category_id"], *box)) in seen:
            yield "is the same object as another", name
        seen.add(same)
        if min(box[2:]) <= 0:
            yield "has a box without area" + ("" if evaluated else ", which is left out"), name, shown(box)
        elif max(box) <= 1:
            yield "has a box between 0 and 1, as if divided by the size of the image", name, shown(box)
        if entry.get("iscrowd") is None:
            yield "lacks iscrowd; 0 is taken", name
        if evaluated and entry.get("area") is None:
            yield "lacks area; that of its mask, or else of its box, is taken", name
        if entry["image_id"] in sizes:
            yield from ((kind, name, detail) for kind, detail in _of_mask(entry, *sizes[entry["image_id"]]))


def _of_mask(entry: dict, width: int, height: int) -> Iterator[tuple[str, str]]:
    mask = entry.get("segmentation")
    if isinstance(mask, list):
        if any(len(polygon) < 6 for polygon in mask):
            yield "has a polygon of fewer than three points, which is left out", shown(mask)
        if (far := beyond(mask, width, height)) > TOLERANCE_PX:
            yield "has a polygon outside its image", f"by {far:.1f} pixels"
    if usable := usable_mask(mask):
        x, y, w, h = entry["bbox"]
        left, top, right, bottom = _extent(usable, width, height)
        distance = max(abs(x - left), abs(y - top), abs(x + w - right), abs(y + h - bottom))
        if distance > SLACK_PX + SLACK * max(w, h, right - left, bottom - top):
            yield "has a box that is not the box of its mask", f"by {distance:.1f} pixels"


def _extent(mask: dict | list, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge of a mask inside its image."""
    if isinstance(mask, dict):
        x, y, w, h = coco_mask.toBbox(run_lengths(mask, height, width)).tolist()
        return x, y, x + w, y + h
    across = [value for polygon in mask for value in polygon[::2]]
    down = [value for polygon in mask for value in polygon[1::2]]
    return max(min(across), 0), max(min(down), 0), min(max(across), width), min(max(down), height)
