"""Everything that a reader wants to know of a data set before training: faults, warnings, counts, a contact sheet."""

from collections import Counter
from pathlib import Path

import numpy as np

from pretrain.data.decode import UnreadableImage, read_image
from runtime.command_line import printable
from runtime.files import write_json
from transfer.datasets import coco_json, coco_warnings, image_files, validate_coco
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.coco_types import untyped
from transfer.datasets.faults import Fault, described
from transfer.metrics import pictures

COLUMNS = 4
SHOWN = {"train": 8, "val": 4}
"""Images of each half in the contact sheet."""

TITLE = 28
"""Characters of an image's name that fit above it: the last ones, which tell images apart."""

BARS = 16
"""Categories of the histogram."""


def inspect(paths: Paths, out: Path, *, decode: bool) -> int:
    """Print what is wrong with a data set and what it holds; write ``out``/check.json and contact_sheet.png.

    Returns 1 if something would stop a training run, else 0.

    Args:
        decode: read every pixel of every image.
    """
    halves = {"train": paths.train, "val": paths.val}
    contents = {half: coco_json.read(split.json) for half, split in halves.items()}
    typed = not any(untyped(content) for content in contents.values())
    faults = {half: check(contents[half], halves[half], evaluated=half == "val", decode=decode) for half in halves}
    faults["both"] = validate_coco.between(contents, paths) if typed else []
    for half, split in halves.items():
        print(summary(half, split, contents[half]) if typed else f"{half}: {printable(split.json)}")
        print("".join(f"  {line}\n" for line in lines(faults[half])), end="")
    print("".join(f"{line}\n" for line in lines(faults["both"])), end="")
    content = {
        half: [{"kind": fault.kind, "who": fault.message, "stops": fault.stops} for fault in entries]
        for half, entries in faults.items()
    }
    write_json(out / "check.json", {"benchmark": paths.name, "faults": content})
    sheet = contact_sheet(contents, halves, faults) if typed else []
    if sheet:
        pictures.write(out / "contact_sheet.png", np.concatenate(sheet))
    stopping = sum(fault.stops for entries in faults.values() for fault in entries)
    warnings = sum(len(entries) for entries in faults.values()) - stopping
    verdict = f"{stopping} faults would stop training" if stopping else "ready to train on"
    print(f"{verdict}, {warnings} warnings; {out / 'check.json'}{', contact_sheet.png' if sheet else ''}")
    return int(stopping > 0)


def check(content: dict, split: Split, *, evaluated: bool, decode: bool) -> list[Fault]:
    """The faults and warnings of one half: those of its json, then those of its image files."""
    faults = list(validate_coco.stopping(content, split.images, evaluated=evaluated))
    if not untyped(content):
        broken = {fault.annotation for fault in faults}
        whole = [entry for position, entry in enumerate(content["annotations"]) if position not in broken]
        faults += coco_warnings.warnings(content | {"annotations": whole}, evaluated=evaluated)
    return faults + image_files.faults_of(content, split.images, decode=decode)


def lines(faults: list[Fault]) -> list[str]:
    """One line for each kind of fault, with its first entries; what stops training comes first."""
    stopping = described(fault for fault in faults if fault.stops)
    warnings = described(fault for fault in faults if not fault.stops)
    return [f"stops training: {line}" for line in stopping] + [f"warning: {line}" for line in warnings]


def summary(half: str, split: Split, content: dict) -> str:
    """Counts, and a histogram of the categories, most frequent first."""
    objects = content["annotations"]
    with_objects = {entry["image_id"] for entry in objects} & {image["id"] for image in content["images"]}
    crowds = sum(bool(entry.get("iscrowd")) for entry in objects)
    masks = Counter(_mask_kind(entry) for entry in objects)
    text = [
        f"{half}: {printable(split.json)}",
        f"  {len(content['images'])} images, {len(content['images']) - len(with_objects)} of them without an object",
        f"  {len(objects)} objects, {crowds} of them crowds; " + ", ".join(f"{n} {kind}" for kind, n in masks.items()),
    ]
    counts = Counter({category["id"]: 0 for category in content["categories"]})
    counts.update(entry["category_id"] for entry in objects if entry["category_id"] in counts)
    names = {category["id"]: printable(category["name"]) for category in content["categories"]}
    most = max(counts.values(), default=0)
    for number, count in counts.most_common(BARS):
        text.append(f"  {names[number]:>16.16} {count:>7} {'█' * round(30 * count / max(most, 1))}".rstrip())
    if rest := counts.most_common()[BARS:]:
        text.append(f"  {len(rest)} further categories, {rest[0][1]} to {rest[-1][1]} objects each")
    return "\n".join(text)


def _mask_kind(entry: dict) -> str:
    mask = entry.get("segmentation")
    if not mask:
        return "without a mask"
    return "with run lengths" if isinstance(mask, dict) else "with polygons"


def contact_sheet(
    contents: dict[str, dict], halves: dict[str, Split], faults: dict[str, list[Fault]]
) -> list[np.ndarray]:
    """Rows of drawn ground truth, images taken at even distances through each half; empty if none can be drawn.

    Annotations with a fault are left out: a mask that does not fit its image crashes its decoder.
    """
    tiles: list[np.ndarray] = []
    for half, content in contents.items():
        broken = {fault.annotation for fault in faults[half]}
        objects: dict[int, list[dict]] = {}
        for position, entry in enumerate(content["annotations"]):
            if position not in broken:
                objects.setdefault(entry["image_id"], []).append(entry)
        names = {category["id"]: category["name"] for category in content["categories"]}
        images = [image for image in content["images"] if image["id"] in objects]
        chosen = np.linspace(0, len(images) - 1, min(SHOWN[half], len(images))).round().astype(int)
        for image in (images[number] for number in chosen):
            try:
                pixels = np.asarray(read_image(halves[half].images / image["file_name"]))
            except UnreadableImage:
                continue  # named among the faults
            if pixels.shape[:2] == (image["height"], image["width"]):
                title = f"{half} {Path(image['file_name']).stem[-TITLE:]}"
                tiles.append(pictures.tile(pixels, objects[image["id"]], names, title=title))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS) if tiles else []
    return [np.concatenate(tiles[at : at + COLUMNS], axis=1) for at in range(0, len(tiles), COLUMNS)]
