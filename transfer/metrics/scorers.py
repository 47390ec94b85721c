"""Predictions -> figures, by the metric that the data set's own papers use."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from runtime.command_line import UserError
from transfer.datasets import coco_json
from transfer.metrics import cityscapes, coco, ground_truth, voc
from transfer.metrics.ground_truth import GroundTruth

TASKS = {
    "coco": ("bbox", "segm", "keypoints"),
    "voc-2007": ("bbox",),
    "cityscapes": ("segm",),
    "lvis": ("bbox", "segm"),
}
"""What each metric can score."""

LVIS_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
"""LVIS adds rare, common and frequent categories; it looks at 300 detections of an image."""


def score(truth: str | Path, predictions: Sequence[dict], *, tasks: list[str], engine: str) -> dict[str, dict]:
    """The figures of each task in percent, and AP per category, by the metric that ``truth`` names.

    Args:
        truth: COCO json of the ground truth.
        predictions: COCO results over the whole set.
        tasks: of ``bbox``, ``segm`` and ``keypoints``; those that the metric does not know are left out.
        engine: for COCO's own metric, one of ``coco.ENGINES``.

    Returns ``{"bbox": {"AP": 41.0, ..., "AP-person": 55.1}}``; None where the set has no ground truth of that kind.
    """
    known = ground_truth.read(truth)
    metric = known.metric
    tasks = [task for task in tasks if task in scored_tasks(known)]
    if metric == "voc-2007":
        return voc.score(truth, predictions)
    if metric == "cityscapes":
        return cityscapes.score(truth, predictions)
    if metric == "lvis":
        return _lvis(known, predictions, tasks)
    return coco.score(truth, predictions, tasks=tasks, engine=engine)


def errors(truth: str | Path, predictions: Sequence[dict], *, tasks: list[str]) -> dict[str, dict[str, float]]:
    """What each kind of error costs (``coco.errors``); empty on a data set with a metric of its own."""
    known = ground_truth.read(truth)
    tasks = [task for task in tasks if task in scored_tasks(known)]
    return coco.errors(truth, predictions, tasks=tasks) if known.metric == "coco" else {}


def scored_tasks(known: GroundTruth) -> tuple[str, ...]:
    """What predictions can be scored on: the tasks of the metric, masks and keypoints only where objects have them."""
    lacking = set()
    if known.content["annotations"]:
        lacking = {task for task, has in (("segm", known.has_masks), ("keypoints", known.has_keypoints)) if not has}
    return tuple(task for task in TASKS[known.metric] if task not in lacking)


def check_ground_truth(truth: str | Path, *, tasks: list[str], engine: str) -> None:
    """Score one prediction, so that whatever evaluation refuses in a ground truth is known before training.

    Raises UserError for that, and where none of ``tasks``, or not the masks that are predicted, can be scored.
    """
    known = ground_truth.read(truth)
    scored = scored_tasks(known)
    if not set(tasks) & set(scored):
        raise UserError(
            f"{truth} is scored on {', '.join(scored)}, which the protocol does not predict; take another protocol"
        )
    if "segm" in tasks and known.metric == "coco" and "segm" not in scored:
        raise UserError(f"{truth} has objects without a mask; add MODEL.MASK_ON=False to predict boxes only")
    if known.content["annotations"]:
        score(truth, [_as_prediction(known)], tasks=tasks, engine=engine)


def _as_prediction(known: GroundTruth) -> dict:
    """A prediction of the first annotation, with everything that a task may read."""
    entry = known.content["annotations"][0]
    size = next(
        (image["height"], image["width"]) for image in known.content["images"] if image["id"] == entry["image_id"]
    )
    mask = coco_json.run_lengths(entry.get("segmentation") or [[0, 0, 1, 0, 1, 1]], *size)
    if isinstance(mask["counts"], bytes):
        mask = mask | {"counts": mask["counts"].decode()}
    points = entry.get("keypoints") or [0] * 3 * coco_json.KEYPOINTS
    kept = {key: entry[key] for key in ("image_id", "category_id", "bbox")}
    return kept | {"score": 1.0, "segmentation": mask, "keypoints": points}


def _lvis(known: GroundTruth, predictions: Sequence[dict], tasks: list[str]) -> dict[str, dict]:
    from hotcoco import LVIS, LVISEval, LVISResults

    if not predictions:
        return {task: dict.fromkeys(("AP", "AP50", "AP75"), 0.0) for task in tasks}
    figures = {}
    with coco.engine_call(known):
        ground = LVIS({key: known.content[key] for key in coco_json.LISTS})
        for task in tasks:
            keys = ("image_id", "category_id", "score", coco.KEYS[task])
            with tempfile.NamedTemporaryFile(suffix=".json") as file:
                coco.write_json_list(file, ({key: entry[key] for key in keys} for entry in predictions))
                file.flush()
                result = LVISEval(ground, LVISResults(ground, file.name), task)
            result.run()
            values = result.get_results()
            figures[task] = {name: _percent(values[name]) for name in LVIS_FIGURES}
    return figures


def _percent(value: float) -> float | None:
    """-1 where there is no ground truth."""
    return None if value < 0 else 100 * float(value)
