"""VOC 2007's average precision: precision at the recalls 0, 0.1, ..., 1, averaged.

The numbers are those of Detectron2's evaluator, and so of the papers that used it: boxes are compared with one pixel
more in width and height, coordinates rounded to 0.1 and scores to 0.001, as in its result files. Detections of equal
score keep their order; Detectron2 leaves that to the sort.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfer.metrics import ground_truth

THRESHOLDS = [threshold / 100 for threshold in range(50, 100, 5)]


def score(truth: str | Path, predictions: Sequence[dict]) -> dict[str, dict[str, float | None]]:
    """AP (mean over IoU 0.50 to 0.95), AP50, AP75 and AP of each category, in percent.

    Args:
        truth: COCO json; annotations may carry ``difficult``.
        predictions: COCO results over the whole set.

    Returns ``{"bbox": {"AP": 57.0, ..., "AP-person": 55.1}}``; None for a category without an object to find.
    """
    content = ground_truth.read(truth).content
    objects, detections = defaultdict(list), defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation["category_id"]].append(annotation)
    for prediction in predictions:
        detections[prediction["category_id"]].append(prediction)
    curves = {
        category["name"]: _category(objects[category["id"]], detections[category["id"]])
        for category in content["categories"]
    }
    known = np.array([values for values in curves.values() if values is not None])
    if not len(known):
        return {"bbox": dict.fromkeys(("AP", "AP50", "AP75"))}
    mean = known.mean(0)
    overall = {"AP": mean.mean(), "AP50": mean[0], "AP75": mean[THRESHOLDS.index(0.75)]}
    each = {f"AP-{name}": None if values is None else np.mean(values) for name, values in curves.items()}
    return {"bbox": {key: None if value is None else float(value) for key, value in (overall | each).items()}}


def _category(objects: list[dict], detections: list[dict]) -> list[float] | None:
    """AP in percent at each threshold; None if there is nothing to find."""
    easy = sum(not entry.get("difficult", 0) for entry in objects)
    if not easy:
        return None
    boxes, of_image = _edges([entry["bbox"] for entry in objects]), defaultdict(list)
    for position, entry in enumerate(objects):
        of_image[entry["image_id"]].append(position)
    scores = np.array([float(f"{entry['score']:.3f}") for entry in detections])
    ranked = [detections[position] for position in np.argsort(-scores, kind="stable")] if detections else []
    best = [_best(box, of_image[entry["image_id"]], boxes) for box, entry in zip(_written(ranked), ranked, strict=True)]
    return [100 * _eleven_points(*_matches(best, objects, threshold), easy) for threshold in THRESHOLDS]


def _edges(boxes: list[list[float]]) -> np.ndarray:
    """[x, y, width, height] from 0 -> VOC's (left, top, right, bottom) from 1, the last pixel included."""
    x, y, width, height = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    return np.stack([x + 1, y + 1, x + width, y + height], axis=1)


def _written(detections: list[dict]) -> np.ndarray:
    edges = _edges([entry["bbox"] for entry in detections])
    return np.array([[float(f"{value:.1f}") for value in box] for box in edges.tolist()]).reshape(-1, 4)


def _best(box: np.ndarray, candidates: list[int], boxes: np.ndarray) -> tuple[float, int]:
    """The overlap with the object of the image that ``box`` overlaps most, and that object's position."""
    if not candidates:
        return -np.inf, -1
    others = boxes[candidates]
    sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2]) + 1
    common = np.maximum(sides, 0).prod(1)
    overlaps = common / ((box[2:] - box[:2] + 1).prod() + (others[:, 2:] - others[:, :2] + 1).prod(1) - common)
    position = int(overlaps.argmax())
    return float(overlaps[position]), candidates[position]


def _matches(best: list[tuple[float, int]], objects: list[dict], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """For each detection, by falling score: is it right, is it wrong; a difficult object makes it neither."""
    right, wrong, taken = np.zeros(len(best)), np.zeros(len(best)), set()
    for position, (overlap, number) in enumerate(best):
        if overlap <= threshold or number in taken:
            wrong[position] = 1
        elif not objects[number].get("difficult", 0):
            right[position] = 1
            taken.add(number)
    return right, wrong


def _eleven_points(right: np.ndarray, wrong: np.ndarray, count: int) -> float:
    right, wrong = right.cumsum(), wrong.cumsum()
    recall, precision = right / count, right / np.maximum(right + wrong, np.finfo(np.float64).eps)
    points = np.arange(0, 1.1, 0.1)
    return sum(precision[recall >= point].max(initial=0.0) for point in points) / len(points)
