"""Look a data set over before a GPU waits for it: the json, every image file, and a picture of the ground truth.

    python transfer/check_data.py --benchmark coco_2017 [--data ROOT] [--out DIR]

DIR (runs/checks/BENCHMARK) gets check.json and contact_sheet.png. The exit code is 1 if something would stop a training
run, 0 if there is nothing or only warnings.
"""

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from runtime.command_line import Parser, run
from runtime.files import write_json
from transfer.datasets import benchmarks, fault_summary, validate_coco
from transfer.datasets.benchmarks import Paths, Split
from transfer.datasets.fault_summary import Fault
from transfer.datasets.thread_map import mapped
from transfer.metrics import pictures

PATHS = ("train_json", "train_images", "val_json", "val_images")
COLUMNS = 4
SHOWN = {"train": 8, "val": 4}
"""Images of each half in the contact sheet."""

TITLE = 28
"""Characters of an image's name that fit above it: the last ones, which tell images apart."""

FIRST = 3
"""Entries of a kind of fault that are named."""

BARS = 16
"""Categories of the histogram."""


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    given = {key: getattr(arguments, key) for key in PATHS}
    paths = benchmarks.locate(arguments.benchmark, root=arguments.data, paths=given)
    out = Path(arguments.out or f"runs/checks/{arguments.benchmark}")
    halves = {"train": paths.train, "val": paths.val}
    contents = {half: validate_coco.load(split.json) for half, split in halves.items()}
    faults = {
        half: check(contents[half], split, evaluated=half == "val", decode=arguments.decode)
        for half, split in halves.items()
    }
    whole = not any(fault.kind.startswith("lacks") for found in faults.values() for fault in found)
    faults["both"] = between(contents, paths) if whole else []
    for half, split in halves.items():
        print(summary(half, split, contents[half]) if whole else f"{half}: {split.json}")
        print("".join(f"  {line}\n" for line in described(faults[half])), end="")
    print("".join(f"{line}\n" for line in described(faults["both"])), end="")
    content = {half: [vars(fault) for fault in found] for half, found in faults.items()}
    write_json(out / "check.json", {"benchmark": paths.name, "faults": content})
    left_out = {half: fault_summary.annotations_that_stop(faults[half]) for half in halves}
    if sheet := contact_sheet(contents, halves, left_out) if whole else []:
        pictures.write(out / "contact_sheet.png", np.concatenate(sheet))
    stopping = sum(fault.stops for found in faults.values() for fault in found)
    warnings = sum(len(found) for found in faults.values()) - stopping
    verdict = f"{stopping} faults would stop training" if stopping else "ready to train on"
    print(f"{verdict}, {warnings} warnings; {out / 'check.json'}{', contact_sheet.png' if sheet else ''}")
    return int(stopping > 0)


def check(content: dict, split: Split, *, evaluated: bool, decode: bool) -> list[Fault]:
    """Every fault of one half: those of its json, then those of its image files, which are read in parallel."""
    found = list(fault_summary.in_json(content, split, evaluated=evaluated))
    sizes = {}
    for image in content["images"]:
        if {"file_name", "width", "height"} <= image.keys():
            sizes[split.images / image["file_name"]] = (image["width"], image["height"])
    read = mapped(
        lambda entry: fault_summary.in_image(*entry, decode=decode), sizes.items(), f"check {split.images.name}"
    )
    return found + [fault for fault in read if fault]


def between(contents: dict[str, dict], paths: Paths) -> list[Fault]:
    """What only the two halves together show."""
    found = []
    names = [{(entry["id"], entry["name"]) for entry in content["categories"]} for content in contents.values()]
    for number, name in sorted(names[0] ^ names[1]):
        found.append(Fault("is a category of one half only", f"{number} {name}", stops=True))
    files = [
        {str((split.images / image["file_name"]).resolve()) for image in content["images"]}
        for split, content in zip((paths.train, paths.val), contents.values(), strict=True)
    ]
    for name in sorted(files[0] & files[1]):
        found.append(Fault("is an image of train and of val", name, stops=False))
    return found


def summary(half: str, split: Split, content: dict) -> str:
    """Counts, and a histogram of the categories, most frequent first."""
    objects = content["annotations"]
    with_objects = {entry["image_id"] for entry in objects}
    crowds = sum(bool(entry.get("iscrowd")) for entry in objects)
    masks = Counter(_mask_kind(entry) for entry in objects)
    lines = [
        f"{half}: {split.json}",
        f"  {len(content['images'])} images, {len(content['images']) - len(with_objects)} of them without an object",
        f"  {len(objects)} objects, {crowds} of them crowds; " + ", ".join(f"{n} {kind}" for kind, n in masks.items()),
    ]
    counts = Counter({category["id"]: 0 for category in content["categories"]})
    counts.update(entry["category_id"] for entry in objects if entry["category_id"] in counts)
    names = {category["id"]: category["name"] for category in content["categories"]}
    most = max(counts.values(), default=0)
    for number, count in counts.most_common(BARS):
        lines.append(f"  {names[number]:>16.16} {count:>7} {'█' * round(30 * count / max(most, 1))}".rstrip())
    if rest := counts.most_common()[BARS:]:
        lines.append(f"  {len(rest)} further categories, {rest[0][1]} to {rest[-1][1]} objects each")
    return "\n".join(lines)


def _mask_kind(entry: dict) -> str:
    mask = entry.get("segmentation")
    if not mask:
        return "without a mask"
    return "with run lengths" if isinstance(mask, dict) else "with polygons"


def described(faults: list[Fault]) -> list[str]:
    """One line for each kind of fault, with its first entries; what stops training comes first."""
    groups: dict[tuple, list[str]] = {}
    for fault in faults:
        groups.setdefault((not fault.stops, fault.kind), []).append(fault.who)
    lines = []
    for (harmless, kind), entries in sorted(groups.items()):
        more = f" and {len(entries) - FIRST} more" if len(entries) > FIRST else ""
        severity = "warning" if harmless else "stops training"
        lines.append(f"{severity}: {len(entries)} x {kind}: {'; '.join(entries[:FIRST])}{more}")
    return lines


def contact_sheet(
    contents: dict[str, dict], halves: dict[str, Split], left_out: dict[str, set[str]]
) -> list[np.ndarray]:
    """Rows of drawn ground truth, images taken at even distances through each half; empty if none can be drawn.

    Args:
        left_out: ids of annotations that cannot be drawn; a mask that does not fit crashes its decoder.
    """
    tiles = []
    for half, content in contents.items():
        objects: dict[int, list[dict]] = {}
        for entry in content["annotations"]:
            if str(entry.get("id")) in left_out[half]:
                continue
            objects.setdefault(entry["image_id"], []).append(entry)
        names = {category["id"]: category["name"] for category in content["categories"]}
        images = [image for image in content["images"] if image["id"] in objects]
        places = np.linspace(0, len(images) - 1, min(SHOWN[half], len(images))).round().astype(int)
        for image in (images[place] for place in places):
            pixels = cv2.imread(str(halves[half].images / image["file_name"]))
            drawn = [entry for entry in objects[image["id"]] if entry["category_id"] in names]
            if pixels is not None and pixels.shape[:2] == (image["height"], image["width"]):
                title = f"{half} {Path(image['file_name']).stem[-TITLE:]}"
                tiles.append(pictures.tile(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), drawn, names, title=title))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS) if tiles else []
    return [np.concatenate(tiles[at : at + COLUMNS], axis=1) for at in range(0, len(tiles), COLUMNS)]


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(benchmarks.available())
    parser.add_argument("--benchmark", required=True, metavar="B", help=f"{names}, or a name for your four paths")
    parser.add_argument("--data", metavar="ROOT", help="the benchmark's folder, if it is not in its usual place")
    for key in PATHS:
        kind = "COCO json" if key.endswith("json") else "image folder"
        parser.add_argument("--" + key.replace("_", "-"), metavar="PATH", help=f"{kind} of your own data set")
    parser.add_argument("--decode", action="store_true", help="read every pixel, not only headers and ends of files")
    parser.add_argument("--out", metavar="DIR", help="for check.json and contact_sheet.png (runs/checks/B)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
