"""COCO's figures: predictions of a detector -> AP and AR, by one of two engines that agree in every figure.

``pycocotools`` is the reference. ``hotcoco`` computes the same numbers in Rust, on boxes more than a hundred times
faster (docs/evaluation.md), and is the default for that reason only; a test holds the two against each other, and
``cross_check`` does so for the predictions at hand.
"""

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from runtime.command_line import UserError, one_of, shortened
from transfer.metrics import ground_truth
from transfer.metrics.ground_truth import GroundTruth

ENGINES = ("hotcoco", "pycocotools")

BOX_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KEYPOINT_FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")

FIGURES = {"bbox": BOX_FIGURES, "segm": BOX_FIGURES, "keypoints": KEYPOINT_FIGURES}
"""What each task reports, in COCO's order; s, m and l are areas up to 32^2, up to 96^2 and above, in pixels."""

ALWAYS = ("AP", "AP50", "AP75")
"""The figures that exist wherever there is any ground truth."""

KEYS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
"""What of a prediction each task reads."""

ERRORS = {
    "Cls": "wrong class, right place",
    "Loc": "right class, overlap below 0.5",
    "Both": "wrong class and poor overlap",
    "Dupe": "found a second time",
    "Bkg": "nothing there",
    "Miss": "not found at all",
}
"""TIDE's kinds of error (Bolya et al., arXiv 2008.08115)."""

AGREEMENT = 1e-6
"""How far two engines may differ in any figure, in percent."""


def score(truth: str | Path, predictions: Sequence[dict], *, tasks: list[str], engine: str) -> dict[str, dict]:
    """COCO's figures for each task, in percent, and AP per category.

    Args:
        truth: COCO json of the ground truth.
        predictions: COCO results over the whole set; left as they are.
        tasks: of ``bbox``, ``segm`` and ``keypoints``.
        engine: one of ``ENGINES``.

    Returns ``{"bbox": {"AP": 41.0, ..., "AP-person": 55.1}}``; None where the set has no ground truth of that kind.
    A detector that finds nothing scores 0.
    """
    one_of("evaluation engine", engine, ENGINES)
    known = ground_truth.read(truth)
    with engine_call(known):
        ground = _loaded(known, engine)
        return {task: _score_task(known, ground, predictions, task, engine) for task in tasks}


def errors(truth: str | Path, predictions: Sequence[dict], *, tasks: list[str]) -> dict[str, dict[str, float]]:
    """TIDE's breakdown at IoU 0.5: by how many points AP50 would rise without the errors of one kind.

    Returns ``{"bbox": {"Cls": 3.4, "Loc": ..., ...}}`` in percent, for boxes and masks; empty without predictions.
    """
    if not predictions:
        return {}
    gains = {}
    known = ground_truth.read(truth)
    if not known.content["annotations"]:
        return {}
    with engine_call(known):
        ground = _loaded(known, "hotcoco")
        for task in sorted(set(tasks) & {"bbox", "segm"}):
            result = _evaluator(known, ground, predictions, task, "hotcoco")
            # What the breakdown looks at, and no more: the rest would cost memory.
            result.params.iouThrs, result.params.maxDets = [0.5], [100]
            result.params.areaRng, result.params.areaRngLbl = [[0.0, 1e10]], ["all"]
            result.evaluate()
            gain = result.tide_errors()["delta_ap"]
            gains[task] = {kind: 100 * float(gain[kind]) for kind in ERRORS}
    return gains


def cross_check(truth: str | Path, predictions: Sequence[dict], figures: dict[str, dict]) -> float:
    """Recompute ``figures`` with pycocotools; the largest difference, in percent.

    Raises UserError that names the figure if one differs by more than ``AGREEMENT``.
    """
    reference = score(truth, predictions, tasks=list(figures), engine="pycocotools")
    largest = 0.0
    for task, values in reference.items():
        for name, value in values.items():
            ours = figures[task][name]
            same = (ours is None) == (value is None)
            difference = 0.0 if value is None or ours is None else abs(ours - value)
            if not same or difference > AGREEMENT:
                raise UserError(
                    f"{task} {name} is {ours}, but {value} by pycocotools; set TRANSFER.EVALUATION_ENGINE pycocotools "
                    "and report it to hotcoco"
                )
            largest = max(largest, difference)
    return largest


def evaluator(truth: str | Path, predictions: Sequence[dict], task: str):
    """hotcoco's evaluator of ``predictions``, ready for ``params`` to be changed and ``evaluate()`` to be called."""
    known = ground_truth.read(truth)
    with engine_call(known):
        return _evaluator(known, _loaded(known, "hotcoco"), predictions, task, "hotcoco")


@contextlib.contextmanager
def engine_call(known: GroundTruth) -> Iterator[None]:
    """Without the engines' tables, and their remarks on data that is checked elsewhere; what they refuse is a line."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except UserError:
        raise
    except Exception as error:  # an engine's errors have no class of their own
        reason = shortened(f"{type(error).__name__}: {error}", 120)
        raise UserError(f"the evaluator cannot score predictions on {known.path} ({reason})") from error


def _loaded(known: GroundTruth, engine: str) -> Any:
    """The ground truth as the engine's own object."""
    if engine == "hotcoco":
        from hotcoco import COCO

        return COCO(known.for_engine())
    from pycocotools.coco import COCO

    ground: Any = COCO()
    ground.dataset = known.for_engine()
    ground.createIndex()
    return ground


def reading(known: GroundTruth, predictions: Sequence[dict], task: str) -> Iterator[dict]:
    """Copies with only what ``task`` reads, numbered as the engine's ground truth is.

    With a box beside a mask, COCO would take the box's area for the object's, and small, medium and large would mean
    something else.
    """
    for entry in predictions:
        yield {
            "image_id": known.images[entry["image_id"]],
            "category_id": known.categories[entry["category_id"]],
            "score": entry["score"],
            KEYS[task]: entry[KEYS[task]],
        }


def write_json_list(file: IO[bytes], entries: Iterable[dict]) -> None:
    """Write a json list as ``json.dumps`` would, an entry at a time."""
    comma = b"["
    for entry in entries:
        file.write(comma + json.dumps(entry).encode())
        comma = b", "
    file.write(b"[]" if comma == b"[" else b"]")


def _evaluator(known: GroundTruth, ground, predictions: Sequence[dict], task: str, engine: str) -> Any:
    """The engine's evaluator. hotcoco reads predictions from a file: as dictionaries they take more memory than it."""
    entries = reading(known, predictions, task)
    COCOeval: Any
    if engine == "pycocotools":
        from pycocotools.cocoeval import COCOeval

        return COCOeval(ground, ground.loadRes(list(entries)), task)
    from hotcoco import COCOeval

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        write_json_list(file, entries)
        file.flush()
        return COCOeval(ground, ground.load_res(file.name), task)


def _evaluated(known: GroundTruth, ground, predictions: Sequence[dict], task: str, engine: str) -> Any:
    result = _evaluator(known, ground, predictions, task, engine)
    result.evaluate()
    result.accumulate()
    result.summarize()
    return result


def _score_task(
    known: GroundTruth, ground, predictions: Sequence[dict], task: str, engine: str
) -> dict[str, float | None]:
    names = dict(sorted(known.names.items()))
    if not predictions:
        counted = [entry for entry in known.content["annotations"] if not entry["iscrowd"]]
        if not counted:
            return dict.fromkeys((*ALWAYS, *(f"AP-{name}" for name in names.values())))
        present = {known.categories[entry["category_id"]] for entry in counted}
        return dict.fromkeys(ALWAYS, 0.0) | {
            f"AP-{name}": 0.0 if id_ in present else None for id_, name in names.items()
        }
    result = _evaluated(known, ground, predictions, task, engine)
    figures = {name: _percent(value) for name, value in zip(FIGURES[task], result.stats, strict=True)}
    # (iou, recall, category, area range, detections per image): all areas, the most detections
    precision = result.eval["precision"][:, :, :, 0, -1]
    for position, id_ in enumerate(result.params.catIds):
        valid = precision[:, :, position][precision[:, :, position] > -1]
        figures[f"AP-{names[id_]}"] = _percent(valid.mean()) if valid.size else None
    return figures


def _percent(value: float) -> float | None:
    """COCO writes -1 where there is no ground truth."""
    return None if value < 0 or not np.isfinite(value) else 100 * float(value)
