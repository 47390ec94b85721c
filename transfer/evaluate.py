"""COCO evaluation: predictions of a detector -> AP, by one of two engines that agree in every figure.

``pycocotools`` is the reference. ``faster-coco-eval`` computes the same numbers in C++ many times faster, and is the
default for that reason only; a test holds the two against each other.
"""

import contextlib
import io
from pathlib import Path

import numpy as np
import torch

from pretrain.command_line import one_of
from pretrain.progress import Progress
from pretrain.stopping import StopRequest
from transfer.stopping import check

ENGINES = ("faster-coco-eval", "pycocotools")

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""COCO's first six figures, in its order."""


@torch.inference_mode()
def predict(model: torch.nn.Module, loader, *, category_ids: list[int], stop: StopRequest) -> list[dict]:
    """Run ``model`` over ``loader`` and return COCO results (image_id, category_id, bbox, score, segmentation).

    Args:
        loader: batches of Detectron2's inputs; each rank gives its own share, and the main process gets all.
        category_ids: the data set's category id of each class index.
        stop: asked after each batch; raises ``Stopped``.
    """
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json
    from detectron2.utils import comm

    was_training = model.training
    model.eval()
    progress = Progress(len(loader), "evaluate", quiet=not comm.is_main_process())
    predictions = []
    for done, inputs in enumerate(loader, 1):
        for image, output in zip(inputs, model(inputs), strict=True):
            found = instances_to_coco_json(output["instances"].to("cpu"), image["image_id"])
            predictions += [{**entry, "category_id": category_ids[entry["category_id"]]} for entry in found]
        progress.update(done)
        check(stop)
    model.train(was_training)
    return [entry for part in comm.gather(predictions) for entry in part]


def score(truth: str | Path, predictions: list[dict], *, tasks: list[str], engine: str) -> dict[str, dict]:
    """COCO's figures for each task, in percent, and AP per category.

    Args:
        truth: COCO json of the ground truth.
        predictions: COCO results over the whole set.
        tasks: of ``bbox`` and ``segm``.
        engine: ``pycocotools`` or ``faster-coco-eval``.

    Returns ``{"bbox": {"AP": 41.0, ..., "AP-person": 55.1}}``; None where the set has no ground truth of that kind.
    A detector that finds nothing scores 0.
    """
    read_truth, evaluation = _engine(engine)
    with contextlib.redirect_stdout(io.StringIO()):
        ground = read_truth(str(truth))
        return {task: _score_task(ground, predictions, task, evaluation) for task in tasks}


def _engine(name: str):
    if one_of("evaluation engine", name, ENGINES) == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def _score_task(ground, predictions: list[dict], task: str, evaluation) -> dict[str, float | None]:
    names = {id_: category["name"] for id_, category in sorted(ground.cats.items())}
    if not predictions:
        present = {annotation["category_id"] for annotation in ground.anns.values()}
        return dict.fromkeys(METRICS[:3], 0.0) | {
            f"AP-{name}": 0.0 if id_ in present else None for id_, name in names.items()
        }
    if task == "segm":
        # With a box in the result, COCO would take the box's area for the object's, and small, medium and large
        # would mean something else.
        predictions = [{key: value for key, value in entry.items() if key != "bbox"} for entry in predictions]
    result = evaluation(ground, ground.loadRes([dict(entry) for entry in predictions]), task)
    result.evaluate()
    result.accumulate()
    result.summarize()
    figures = {metric: _percent(value) for metric, value in zip(METRICS, result.stats, strict=False)}
    # (iou, recall, category, area range, detections per image): all areas, the most detections
    precision = result.eval["precision"][:, :, :, 0, -1]
    for position, id_ in enumerate(result.params.catIds):
        valid = precision[:, :, position][precision[:, :, position] > -1]
        figures[f"AP-{names[id_]}"] = _percent(valid.mean()) if valid.size else None
    return figures


def _percent(value: float) -> float | None:
    """COCO writes -1 where there is no ground truth."""
    return None if value < 0 or not np.isfinite(value) else 100 * float(value)
