"""Whether a COCO data set can be trained on and evaluated: the faults that stop a run, and warnings for its reader.

check_data lists them all; training and evaluation refuse a file exactly for those that stop.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PurePosixPath

from pretrain.data.decode import UnreadableImage, pixel_limit, read_header
from runtime.command_line import UserError, printable, shortened
from transfer.datasets import coco_json
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.coco_json import unpacked, usable_mask
from transfer.datasets.thread_map import mapped

TOLERANCE_PX = 1.0
"""How far a box may stand out of its image: COCO's own boxes are rounded and do so by a fraction of a pixel."""

EXAMPLES = 3
"""Entries of a kind of fault that are named."""

SHOWN = 60
"""Characters of a value or name that a message shows."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a data set."""

    kind: str
    """What is wrong, in the same words for every entry it is true of."""
    entry: str
    """The entry: ``annotation id 12``."""
    detail: str = ""
    """Its values."""
    stops: bool = True
    """Whether training and evaluation refuse the data set; else it is a warning."""
    annotation: int | None = None
    """Position in the list of annotations, of a fault that makes one impossible to read or draw."""

    @property
    def message(self) -> str:
        return f"{self.entry} {self.kind}" + (f" ({self.detail})" if self.detail else "")


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
    found = list(stopping(content, split.images, evaluated=evaluated))
    if images and not found:
        found += [fault for fault in in_images(content, split.images) if fault.stops]
    refuse(split.json, found)
    return summary(content)


def refuse(source: object, faults: Iterable[Fault]) -> None:
    """Raise UserError with a line for each kind of fault that stops; none, and nothing happens."""
    if lines := described(fault for fault in faults if fault.stops):
        raise UserError.of(f"{source}: {line}; correct it (transfer/check_data.py lists all faults)" for line in lines)


def described(faults: Iterable[Fault]) -> list[str]:
    """One line for each kind of fault, with its first entries."""
    groups: dict[tuple[bool, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((not fault.stops, fault.kind), []).append(fault)
    lines = []
    for (_, kind), members in sorted(groups.items(), key=lambda group: group[0]):
        if len(members) == 1:
            lines.append(members[0].message)
            continue
        examples = [fault.entry + (f" ({fault.detail})" if fault.detail else "") for fault in members[:EXAMPLES]]
        more = f" and {len(members) - EXAMPLES} more" if len(members) > EXAMPLES else ""
        lines.append(f"{len(members)} x {kind}: {'; '.join(examples)}{more}")
    return lines


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


def shown(value) -> str:
    """A value of a file as a message may show it: short, escaped."""
    return shortened(printable(repr(value)), SHOWN)


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


def _id(value) -> str:
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
            faults.append(Fault(f"has a wrong size, {limits}", name, f"{_id(width)} x {_id(height)}"))
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
        name = f"{kind} id {_id(entry['id'])}" if "id" in entry else f"{kind} number {position}"
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


def _repeated(content: dict) -> Iterator[Fault]:
    """Ids and names that must be there once."""
    for kind, key in (("image", "images"), ("category", "categories"), ("annotation", "annotations")):
        for number, times in Counter(entry["id"] for entry in content[key]).items():
            if times > 1:
                yield Fault(f"is the id of several {key}", f"{kind} id {_id(number)}", f"{times} times")
    for name, times in Counter(category["name"] for category in content["categories"]).items():
        if times > 1:
            yield Fault("is the name of several categories", shown(name), f"{times} times")


def _file_faults(images: list[dict], folder: Path | None) -> Iterator[Fault]:
    present = {entry.name for entry in os.scandir(folder)} if folder else set()
    for image in images:
        name, entry = image["file_name"], f"image id {_id(image['id'])}"
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield Fault("has a file name that leaves the image folder", entry, shown(name))
        elif folder and name not in present and not (folder / name).is_file():
            yield Fault("is a file that is not in the image folder", entry, f"{shown(name)} in {folder}")


def _annotation_faults(content: dict) -> Iterator[Fault]:
    sizes = {image["id"]: (int(image["width"]), int(image["height"])) for image in content["images"]}
    points = {category["id"]: len(category.get("keypoints") or ()) for category in content["categories"]}
    for position, entry in enumerate(content["annotations"]):
        name = f"annotation id {_id(entry['id'])}"
        if entry["category_id"] not in points:
            detail = f"category {_id(entry['category_id'])}"
            yield Fault("has a category that is not among the categories", name, detail, annotation=position)
        elif (given := len(entry.get("keypoints") or ())) and given != 3 * points[entry["category_id"]] > 0:
            detail = f"{given // 3} of {points[entry['category_id']]}"
            yield Fault("has another number of keypoints than its category", name, detail, annotation=position)
        if entry["image_id"] not in sizes:
            detail = f"image {_id(entry['image_id'])}"
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
        yield Fault("is without a mask where others have one", f"annotation id {_id(entry['id'])}", annotation=position)


def _trainable(entry: dict) -> bool:
    dropped = any(entry.get("segmentation") or ()) and not usable_mask(entry["segmentation"])
    return not entry.get("iscrowd") and not dropped and min(entry["bbox"][2:]) > 0


def between(contents: dict[str, dict], paths: Paths) -> list[Fault]:
    """What only the training and the validation half together show."""
    faults = []
    categories = [
        {(int(entry["id"]), entry["name"]) for entry in content["categories"]} for content in contents.values()
    ]
    for number, name in sorted(categories[0] ^ categories[1]):
        faults.append(Fault("is a category of one half only", f"{number} {shown(name)}"))
    train, val = (
        {(str(split.images.resolve()), image["file_name"]) for image in content["images"]}
        for split, content in zip((paths.train, paths.val), contents.values(), strict=True)
    )
    for folder, name in sorted(train & val):
        faults.append(Fault("is an image of train and of val", printable(f"{folder}/{name}"), stops=False))
    return faults


def in_images(content: dict, folder: Path, *, decode: bool = False) -> list[Fault]:
    """The faults of the image files, which are read in parallel.

    Args:
        decode: read every pixel; else the header, and whether the file ends as its format does.
    """
    sizes = {}
    for image in content["images"]:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            sizes[image["file_name"]] = (image.get("width"), image.get("height"))
    read = mapped(
        lambda item: in_image(folder / item[0], item[1], decode=decode), sizes.items(), f"check {folder.name}"
    )
    return [fault for fault in read if fault]


def in_image(path: Path, size: tuple, *, decode: bool) -> Fault | None:
    """The fault of one image file, if any.

    Args:
        size: (width, height) as the json has it, of the picture after the turn that its EXIF asks for.
    """
    if not path.is_file():
        return None  # a fault of the json
    try:
        header = read_header(path, decode=decode)
    except UnreadableImage as error:
        return Fault("is an image that cannot be read", printable(path), str(error).removeprefix(f"{path} "))
    if (header.width, header.height) != size:
        detail = f"{header.width} x {header.height}, json {size[0]} x {size[1]}"
        return Fault("is an image of another size than the json says", printable(path), detail)
    if header.sixteen_bit:
        return Fault("is a 16-bit image, of which the upper 8 bits are used", printable(path), stops=False)
    return None
