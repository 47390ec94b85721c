"""Predictions -> figures, by the metric that the data set's own papers use."""

import contextlib
import io
from pathlib import Path

from transfer.datasets.coco_cache import metric_of
from transfer.metrics import cityscapes, coco, voc

TASKS = {
    "coco": ("bbox", "segm", "keypoints"),
    "voc-2007": ("bbox",),
    "cityscapes": ("segm",),
    "lvis": ("bbox", "segm"),
}
"""What each metric can score."""

LVIS_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
"""LVIS adds rare, common and frequent categories; it looks at 300 detections of an image."""


def score(truth: str | Path, predictions: list[dict], *, tasks: list[str], engine: str) -> dict[str, dict]:
    """The figures of each task in percent, and AP per category, by the metric that ``truth`` names.

    Args:
        truth: COCO json of the ground truth.
        predictions: COCO results over the whole set.
        tasks: of ``bbox``, ``segm`` and ``keypoints``; those that the metric does not know are left out.
        engine: for COCO's own metric, one of ``coco.ENGINES``.

    Returns ``{"bbox": {"AP": 41.0, ..., "AP-person": 55.1}}``; None where the set has no ground truth of that kind.
    """
    metric = metric_of(Path(truth))
    tasks = [task for task in tasks if task in TASKS[metric]]
    if metric == "voc-2007":
        return voc.score(truth, predictions)
    if metric == "cityscapes":
        return cityscapes.score(truth, predictions)
    if metric == "lvis":
        return _lvis(truth, predictions, tasks)
    return coco.score(truth, predictions, tasks=tasks, engine=engine)


def _lvis(truth: str | Path, predictions: list[dict], tasks: list[str]) -> dict[str, dict]:
    from hotcoco import LVIS, LVISEval, LVISResults

    if not predictions:
        return {task: dict.fromkeys(("AP", "AP50", "AP75"), 0.0) for task in tasks}
    figures = {}
    with contextlib.redirect_stdout(io.StringIO()):
        ground = LVIS(str(truth))
        for task in tasks:
            keys = ("image_id", "category_id", "score", coco.KEYS[task])
            reading = [{key: entry[key] for key in keys} for entry in predictions]
            result = LVISEval(ground, LVISResults(ground, reading), task)
            result.run()
            found = result.get_results()
            figures[task] = {name: _percent(found[name]) for name in LVIS_FIGURES}
    return figures


def _percent(value: float) -> float | None:
    """-1 where there is no ground truth."""
    return None if value < 0 else 100 * float(value)
