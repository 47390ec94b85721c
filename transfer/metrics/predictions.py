"""The predictions of a run, kept as compressed COCO results, so that any figure can be computed again without a GPU."""

import gzip
import json
import math
import zlib
from pathlib import Path

from runtime import run_guard
from runtime.command_line import UserError
from runtime.files import sha256
from transfer.datasets import benchmarks
from transfer.metrics.coco import KEYS

FILE = "predictions.json.gz"

NEEDED = ("image_id", "category_id", "score", "bbox")


def find(results: str | Path) -> Path:
    """The predictions in folder ``results``, or ``results`` itself if it is a file."""
    results = Path(results)
    path = results / FILE if results.is_dir() else results
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the folder of a fine-tuning run, or a COCO results json (or .gz)")
    return path


def ground_truth(benchmark: str, *, data: str | None, val_json: Path | None) -> Path:
    """The val json of ``benchmark``; UserError if it cannot be found or is given twice."""
    if val_json is None:
        paths = dict.fromkeys(("train_json", "train_images", "val_json", "val_images"))
        return benchmarks.locate(benchmark, root=data, paths=paths).val.json
    if data:
        raise UserError("--val-json names the ground truth itself; leave --data out")
    if not val_json.is_file():
        raise UserError(f"{val_json} does not exist; --val-json is a COCO annotation file")
    return val_json


def read(path: str | Path) -> list[dict]:
    """COCO results from a json file, compressed if its name ends in .gz. Raises UserError if it holds anything else."""
    try:
        with (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb") as file:
            content = json.load(file)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as COCO results ({error}); evaluate the run again") from error
    if not isinstance(content, list):
        raise UserError(f"{path} holds a {type(content).__name__}, expected a list of COCO results")
    for position, entry in enumerate(content):
        if fault := _fault(entry):
            raise UserError(f"{path}: entry {position} {fault}")
    for key in KEYS.values():
        lacking = next((position for position, entry in enumerate(content) if key not in entry), None)
        if lacking is not None and any(key in entry for entry in content):
            raise UserError(f"{path}: entry {lacking} has no {key}, others have one; predict it for all or none")
    return content


def _fault(entry) -> str | None:
    """What keeps an entry from being scored; the engines stop at it, or count it as wrong and say nothing."""
    if not isinstance(entry, dict) or any(key not in entry for key in NEEDED):
        return f"is no COCO result; expected {', '.join(NEEDED)}"
    box, mask = entry["bbox"], entry.get("segmentation", {"counts": "", "size": ()})
    if not all(type(entry[key]) in (int, str) for key in ("image_id", "category_id")):
        return f"has image_id {entry['image_id']!r} and category_id {entry['category_id']!r}, expected two ids"
    if not (isinstance(box, list) and len(box) == 4 and all(map(_finite, box)) and min(box[2:]) >= 0):
        return f"has bbox {box!r}, expected x, y, width and height"
    if not _finite(entry["score"]):
        return f"has score {entry['score']!r}, expected a number"
    if not (mask and (isinstance(mask, list) or (isinstance(mask, dict) and {"counts", "size"} <= mask.keys()))):
        return f"has segmentation {mask!r}, expected run lengths (size, counts) or polygons"
    return None


def _finite(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def tasks(predictions: list[dict]) -> list[str]:
    """The tasks that all of ``predictions`` can be scored on."""
    return [task for task, key in KEYS.items() if all(key in entry for entry in predictions)] if predictions else []


def check_origin(path: Path, benchmark: str, truth: Path) -> None:
    """Refuse predictions of a run on another data set; a file of unknown origin passes (its ids are checked)."""
    run = path.parent / run_guard.FILE
    if not run.exists():
        return
    begun = json.loads(run.read_text(encoding="utf-8"))
    if begun["benchmark"] != benchmark:
        raise UserError(
            f"{path} holds predictions on {begun['benchmark']}, not on {benchmark}; "
            f"use --benchmark {begun['benchmark']}"
        )
    if begun["val_json_sha256"] != (now := sha256(truth)):
        raise UserError(
            f"{path} was predicted for a {benchmark} whose ground truth has sha256 {begun['val_json_sha256'][:12]}, "
            f"{truth} has {now[:12]}; give that data set with --data or --val-json"
        )


def check_ids(path: Path, predictions: list[dict], truth: Path) -> None:
    """Raises UserError if a prediction is for an image or a category that ``truth`` does not have, or that is none."""
    try:
        content = json.loads(truth.read_bytes())
        ids = {kind: {entry["id"] for entry in content[kind]} for kind in ("images", "categories", "annotations")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{truth} is no COCO ground truth ({error}); expected images, categories, annotations"
        ) from error
    for key, kind in (("image_id", "images"), ("category_id", "categories")):
        known = ids[kind]
        if strange := {entry[key] for entry in predictions} - known:
            raise UserError(
                f"{path} has predictions for {key} {min(strange)}, which {truth} does not have "
                f"({len(strange)} unknown of {len(known)} {kind}); was it another data set?"
            )
    sizes = {image["id"]: [image.get("height"), image.get("width")] for image in content["images"]}
    for position, entry in enumerate(predictions):
        mask = entry.get("segmentation")
        if isinstance(mask, dict) and list(mask["size"]) != sizes[entry["image_id"]]:
            raise UserError(
                f"{path}: entry {position} has a mask of {mask['size']} (height, width) in image {entry['image_id']} "
                f"of {sizes[entry['image_id']]}; predict at the size of the images"
            )
