"""Whether the values of a COCO json have the types that every reader expects."""

from collections.abc import Iterator
from math import isfinite

from pretrain.data.decode import pixel_limit
from runtime.command_line import shortened
from transfer.datasets.faults import SHOWN, Fault, shown


def is_whole(value) -> bool:
    """Whether a value of a json is a whole number: 7 and 7.0, but not "7" and not true."""
    return type(value) is int or (type(value) is float and value.is_integer())


def is_number(value) -> bool:
    """Whether a value of a json is a finite number."""
    if type(value) not in (int, float):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def shown_id(value) -> str:
    """An id as a message may show it."""
    return shortened(str(value), SHOWN) if is_whole(value) else shown(value)


def untyped(content: dict) -> list[Fault]:
    """The faults of values that have not the type that every reader expects; with one, the rest cannot be read."""
    faults: list[Fault] = []
    for entry, name in _typed(faults, "category", content["categories"], ("id", "name"), ("id",)):
        points = entry.get("keypoints")
        if not (isinstance(entry["name"], str) and entry["name"].strip()):
            faults.append(Fault("has a wrong name, expected a text", name, shown(entry["name"])))
        if points is not None and not (isinstance(points, list) and all(isinstance(point, str) for point in points)):
            faults.append(Fault("has a wrong list of keypoints, expected their names", name, shown(points)))
    sides = ("width", "height")
    for entry, name in _typed(faults, "image", content["images"], ("id", "file_name", *sides), ("id", *sides)):
        width, height = entry["width"], entry["height"]
        if not (isinstance(entry["file_name"], str) and entry["file_name"]):
            faults.append(Fault("has a wrong file_name, expected a text", name, shown(entry["file_name"])))
        if min(width, height) < 1 or width * height > pixel_limit():
            limits = f"expected 1 to {pixel_limit()} pixels"
            faults.append(Fault(f"has a wrong size, {limits}", name, f"{shown_id(width)} x {shown_id(height)}"))
    keys = ("id", "image_id", "category_id")
    for entry, name in _typed(faults, "annotation", content["annotations"], (*keys, "bbox"), keys):
        faults += _untyped_annotation(entry, name)
    return faults


def _typed(
    faults: list[Fault], kind: str, entries: list, keys: tuple[str, ...], whole: tuple[str, ...]
) -> Iterator[tuple[dict, str]]:
    """Each entry that has ``keys``, those of ``whole`` as whole numbers, and its name; faults of the others."""
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            name = f"{kind} number {position}"
            faults.append(Fault(f"is no object, expected one with {', '.join(keys)}", name, shown(entry)))
            continue
        name = f"{kind} id {shown_id(entry['id'])}" if "id" in entry else f"{kind} number {position}"
        wrong = [Fault(f"lacks {key!r}", name) for key in keys if key not in entry]
        for key in whole:
            if key in entry and not is_whole(entry[key]):
                wrong.append(Fault(f"has a wrong {key}, expected a whole number", name, shown(entry[key])))
        faults += wrong
        if not wrong:
            yield entry, name


def _untyped_annotation(entry: dict, name: str) -> Iterator[Fault]:
    box, area, points = entry["bbox"], entry.get("area"), entry.get("keypoints")
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        yield Fault("has a wrong box, expected [x, y, width, height]", name, shown(box))
    if area is not None and not (is_number(area) and area >= 0):
        yield Fault("has a wrong area, expected a number of pixels", name, shown(area))
    if entry.get("iscrowd") not in (None, 0, 1):
        yield Fault("has a wrong iscrowd, expected 0 or 1", name, shown(entry["iscrowd"]))
    if entry.get("ignore") not in (None, 0):
        yield Fault("is marked 'ignore', which COCO's metric does not know; mark it iscrowd or leave it out", name)
    if points and not (isinstance(points, list) and len(points) % 3 == 0 and all(map(is_number, points))):
        yield Fault("has wrong keypoints, expected x, y and visibility of each", name, shown(points))
