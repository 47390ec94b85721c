"""The predictions of a run, kept as compressed COCO results, so that any figure can be computed again without a GPU."""

from pathlib import Path

from runtime import run_guard
from runtime.command_line import UserError
from runtime.files import sha256
from runtime.read import read_json, read_json_items
from transfer.datasets.coco_json import KEYPOINTS, run_lengths, size_limit
from transfer.datasets.coco_types import is_number, is_whole
from transfer.datasets.faults import shown
from transfer.datasets.validate_coco import mask_fault
from transfer.metrics import ground_truth
from transfer.metrics.coco import KEYS
from transfer.metrics.coco_results import LARGEST_ID, CocoResults

FILE = "predictions.json.gz"

NEEDED = ("image_id", "category_id", "score")


def find(results: str | Path) -> Path:
    """The predictions in folder ``results``, or ``results`` itself if it is a file."""
    results = Path(results)
    path = results / FILE if results.is_dir() else results
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the folder of a fine-tuning run, or a COCO results json (or .gz)")
    return path


def read(path: str | Path) -> CocoResults:
    """COCO results from a json file, compressed if its name ends in .gz. Raises UserError if it holds anything else."""
    found = CocoResults()
    items = read_json_items(path, limit_bytes=size_limit(path), remedy="it cannot be read as COCO results")
    for position, entry in enumerate(items):
        if fault := _fault(entry):
            raise UserError(f"{path}: entry {position} {fault}")
        for key in KEYS.values():
            if position and (key in entry) != (key in found.kinds):
                lacking = 0 if key in entry else position
                raise UserError(f"{path}: entry {lacking} has no {key}, others have one; predict it for all or none")
        found.append(entry)
    return found


def _fault(entry) -> str | None:
    """What keeps an entry from being scored; the engines stop at it, or count it as wrong and say nothing."""
    if not (isinstance(entry, dict) and entry.keys() >= set(NEEDED) and not entry.keys().isdisjoint(KEYS.values())):
        return f"is no COCO result; expected {', '.join(NEEDED)} and one of {', '.join(KEYS.values())}"
    for key in ("image_id", "category_id"):
        if not (is_whole(entry[key]) and abs(entry[key]) <= LARGEST_ID):
            return f"has {key} {shown(entry[key])}, expected a whole number"
    if not is_number(entry["score"]):
        return f"has score {shown(entry['score'])}, expected a number"
    box, points = entry.get("bbox"), entry.get("keypoints")
    if "bbox" in entry and not (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and min(box[2:]) >= 0
    ):
        return f"has bbox {shown(box)}, expected x, y, width and height"
    if "keypoints" in entry and not (
        isinstance(points, list) and len(points) == 3 * KEYPOINTS and all(map(is_number, points))
    ):
        return f"has keypoints {shown(points)}, expected {KEYPOINTS} times x, y and visibility"
    mask = entry.get("segmentation", {"counts": "", "size": ()})
    if not (mask and (isinstance(mask, list) or (isinstance(mask, dict) and {"counts", "size"} <= mask.keys()))):
        return f"has segmentation {shown(mask)}, expected run lengths (size, counts) or polygons"
    return None


def tasks(predictions: CocoResults) -> list[str]:
    """The tasks that all of ``predictions`` can be scored on."""
    return [task for task, key in KEYS.items() if key in predictions.kinds]


def check_origin(path: Path, benchmark: str, truth: Path) -> None:
    """Refuse predictions of a run on another data set; a file of unknown origin passes (its ids are checked)."""
    run = path.parent / run_guard.FILE
    if not run.exists():
        return
    begun = read_json(run)
    if not (isinstance(begun, dict) and {"benchmark", "val_json_sha256"} <= begun.keys()):
        raise UserError(f"{run} does not name the run's data set; move {path.name} out of its folder")
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


def check_against(path: Path, predictions: CocoResults, truth: Path) -> None:
    """Make the masks of ``predictions`` packed run lengths, the only kind that every engine takes.

    Raises UserError if a prediction is for an image or category that ``truth`` lacks, or its mask does not fit.
    """
    known = ground_truth.read(truth)
    for key, kind, ids in (("image_id", "images", known.images), ("category_id", "categories", known.categories)):
        if strange := predictions.ids(key) - ids.keys():
            raise UserError(
                f"{path} has predictions for {key} {min(strange)}, which {truth} does not have "
                f"({len(strange)} unknown of {len(ids)} {kind}); was it another data set?"
            )
    sizes = {image["id"]: (image["width"], image["height"]) for image in known.content["images"]}
    for position, entry in enumerate(predictions):
        mask = entry.get("segmentation")
        if fault := mask and mask_fault(mask, *sizes[entry["image_id"]]):
            raise UserError(
                f"{path}: entry {position} {' '.join(fault)} (image {entry['image_id']}); predict at the size of the "
                "images"
            )
        if isinstance(mask, list) and any(len(polygon) < 6 for polygon in mask):
            raise UserError(f"{path}: entry {position} has a polygon of fewer than three points; leave it out")
        if mask and not (isinstance(mask, dict) and isinstance(mask["counts"], str)):
            width, height = sizes[entry["image_id"]]
            packed = run_lengths(mask, height, width)
            predictions.replace_mask(position, {"size": [height, width], "counts": packed["counts"].decode()})
