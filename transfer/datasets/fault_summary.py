"""What is wrong with a COCO data set: what would stop a training run, and what a careful reader wants to know."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from transfer.datasets import validate_coco
from transfer.datasets.benchmarks import Split

ENTRY = re.compile(r"^(\w+ (?:id|number) \S+) (.*)$")

TRAILERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What a whole file ends with; some cameras add bytes after it."""

EXIF_ORIENTATION = 0x0112
"""From 5 on width and height change places."""

TAIL_BYTES = 4096


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    kind: str
    """What is wrong, the same words for every entry it is true of."""
    who: str
    """The entry, with its numbers."""
    stops: bool
    """Whether training refuses it or breaks on it."""


def in_json(content: dict, split: Split, *, evaluated: bool) -> Iterator[Fault]:
    """The faults of a json, without opening an image."""
    stopping = list(validate_coco.faults(content, split, evaluated=evaluated))
    for line in stopping:
        who, what = ENTRY.match(line).groups()
        kind = re.sub(r"\[.*?\]", "[..]", what)
        kind = re.sub(r"is \S+, which is not in .*", "is a file that is not in the image folder", kind)
        yield Fault(re.sub(r"-?\d+(\.\d+)?", "..", kind), f"{who} {what}", stops=True)
    if not any(" lacks " in line or " expected " in line for line in stopping):  # else it cannot be read further
        yield from _masks(content)
        yield from _oddities(content)


def _masks(content: dict) -> Iterator[Fault]:
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for entry in content["annotations"]:
        who, size, mask = f"annotation id {entry['id']}", sizes.get(entry["image_id"]), entry.get("segmentation")
        if not all(math.isfinite(value) for value in entry["bbox"]):
            yield Fault("has a box that is not finite", f"{who} {entry['bbox']}", stops=True)
        if isinstance(mask, dict):
            counts = mask.get("counts", ())
            counts = counts if isinstance(counts, list | tuple) else unpacked(counts)
            if size and (sum(counts) != size[0] * size[1] or min(counts) < 0):
                yield Fault("has run lengths that do not fill its image", who, stops=True)
        elif isinstance(mask, list):
            yield from _polygons(who, mask, size)


def unpacked(text: str) -> list[int]:
    """COCO's packed run lengths -> pixels of each run.

    Six bits a character above ``0``: five of the number, lowest first, and whether it goes on; from the third number on
    they are differences to the number two places before.
    """
    counts, value, shift = [], 0, 0
    for code in (ord(character) - 48 for character in text):
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts


def annotations_that_stop(faults: list[Fault]) -> set[str]:
    """The ids, as text, of the annotations that nothing should read any further."""
    return {fault.who.split()[2] for fault in faults if fault.stops and fault.who.startswith("annotation id ")}


def _polygons(who: str, polygons: list, size: tuple[int, int] | None) -> Iterator[Fault]:
    polygons = [polygon for polygon in polygons if isinstance(polygon, list)]
    if any(len(polygon) < 6 for polygon in polygons):
        yield Fault("has a polygon of fewer than three points, which is left out", who, stops=False)
    values = [value for polygon in polygons for value in polygon]
    if not all(math.isfinite(value) for value in values):
        yield Fault("has a polygon that is not finite", who, stops=True)
    elif size and values:
        horizontal = [value for polygon in polygons for value in polygon[::2]]
        vertical = [value for polygon in polygons for value in polygon[1::2]]
        beyond = max(-min(values), max(horizontal) - size[0], max(vertical) - size[1])
        if beyond > validate_coco.TOLERANCE_PX:
            yield Fault("has a polygon outside its image", f"{who} by {beyond:.1f} pixels", stops=False)


def _oddities(content: dict) -> Iterator[Fault]:
    for name, times in Counter(image["file_name"] for image in content["images"]).items():
        if times > 1:
            yield Fault("is the file of several images", f"{name}, {times} times", stops=False)
    for name, times in Counter(category["name"] for category in content["categories"]).items():
        if times > 1:
            yield Fault("is the name of several categories", f"{name}, {times} times", stops=False)
    used = {entry["category_id"] for entry in content["annotations"]}
    for category in content["categories"]:
        if category["id"] not in used:
            yield Fault("is a category without an object", category["name"], stops=False)
    seen = set()
    for entry in content["annotations"]:
        box = tuple(entry["bbox"])
        who = f"annotation id {entry['id']}"
        if min(box[2:]) <= 0:
            yield Fault("has a box without area, which is left out", f"{who} {list(box)}", stops=False)
        if (place := (entry["image_id"], entry["category_id"], box)) in seen:
            yield Fault("is the same object as another", who, stops=False)
        seen.add(place)


def in_image(path: Path, size: tuple[int, int], *, decode: bool) -> Fault | None:
    """The fault of one image file, if any.

    Args:
        size: (width, height) as the json says; Detectron2 turns images by their EXIF orientation before it compares.
        decode: read every pixel; else the header, and whether the file ends as its format does.
    """
    try:
        with Image.open(path) as image:
            if decode:
                image.load()
            # PNG may hold its EXIF at the end: looking for it would decode the image.
            turned = image.format != "PNG" and image.getexif().get(EXIF_ORIENTATION, 1) > 4
            found = image.size[::-1] if turned else image.size
            trailer = TRAILERS.get(image.format, b"")
    except FileNotFoundError:
        return None  # the json's check has said so
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        return Fault("is an image that cannot be read", f"{path}: {error}", stops=True)
    if found != size:
        return Fault("is an image of another size than the json says", f"{path}: {found}, json {size}", stops=True)
    if trailer and trailer not in _tail(path):
        return Fault("is an image that ends too early", str(path), stops=True)
    return None


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read()
