"""Which detections are right, image by image: all that AP depends on, in a form that can be weighted by image.

COCO's matching of detections and objects happens within an image, so a resampled set of images needs no new matching:
an image drawn twice counts twice. AP of a resample is then three cumulative sums over detections that are sorted once.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from transfer.metrics.coco import evaluator

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of IoU."""

RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads the precision-recall curve."""

FIGURES = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
"""Each figure, and the thresholds it averages over."""

CHUNK = 500
"""Images matched at a time; what the engine says of one image takes many times the memory of what is kept."""


@dataclass(frozen=True)
class Matches:
    """One task of one run. A segment is a category at a threshold, numbered ``category * 10 + threshold``.

    N detections sorted by category, then score; M of them right at some threshold, listed once per such segment.
    """

    images: int
    objects: np.ndarray
    """(K, images): what there is to find, crowds left out."""
    image: np.ndarray
    """(N,): the image of each detection, 0 .. images - 1."""
    first: np.ndarray
    """(K,): where each category's detections begin."""
    right: np.ndarray
    """(M,): places among the N, segment by segment."""
    right_segment: np.ndarray
    """(M,): the segment of each, ascending."""
    ignored: np.ndarray
    """(L,): places of detections that count neither way, segment by segment."""
    ignored_segment: np.ndarray
    """(L,): the segment of each, ascending."""

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """AP, AP50, AP75 in percent, (3,), if image i occurs ``weights[i]`` times; NaN where nothing is to be found."""
        expected = self.objects @ weights
        true = _within(weights[self.image[self.right]], self.right_segment)
        counted = self._counted(weights)
        precision = true / np.maximum(counted, 1)
        recall = true / np.maximum(expected, 1)[self.right_segment // len(THRESHOLDS)]
        # The best precision at this recall or a higher one. Later segments are lifted less, so none reaches over.
        lift = 2.0 * (self.right_segment[-1] - self.right_segment) if len(true) else true
        precision = np.maximum.accumulate((precision + lift)[::-1])[::-1] - lift
        reached = np.searchsorted(RECALLS, recall, side="right")
        before = np.concatenate([[0], reached[:-1]])[: len(reached)]
        before[_starts(self.right_segment)] = 0
        segments = len(expected) * len(THRESHOLDS)
        area = np.bincount(self.right_segment, precision * (reached - before), segments) / len(RECALLS)
        kept = area.reshape(-1, len(THRESHOLDS))[expected > 0]
        if not len(kept):
            return np.full(len(FIGURES), np.nan)
        return np.array([100 * kept[:, columns].mean() for columns in FIGURES.values()])

    def _counted(self, weights: np.ndarray) -> np.ndarray:
        """(M,): for each right detection, how many up to it count, right or wrong."""
        seen = np.concatenate([[0], np.cumsum(weights[self.image])])
        passed = np.concatenate([[0], np.cumsum(weights[self.image[self.ignored]])])
        begins, upto = self._ignored_before
        counted = seen[self.right + 1] - seen[self.first[self.right_segment // len(THRESHOLDS)]]
        return counted - (passed[upto] - passed[begins])

    @cached_property
    def _ignored_before(self) -> tuple[np.ndarray, np.ndarray]:
        """For each right detection, the ignored ones of its segment in front of it, as a range of their list."""
        segments = np.arange(len(self.first) * len(THRESHOLDS) + 1)
        begins = np.searchsorted(self.ignored_segment, segments)[self.right_segment]
        key = self.ignored_segment * (len(self.image) + 1) + self.ignored
        return begins, np.searchsorted(key, self.right_segment * (len(self.image) + 1) + self.right)


def _starts(segment: np.ndarray) -> np.ndarray:
    """Where a new segment begins in an ascending list of segments."""
    return np.flatnonzero(np.diff(segment, prepend=-1))


def _within(values: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """The cumulative sum of ``values`` that begins anew at each segment."""
    total = np.cumsum(values)
    starts = _starts(segment)
    offset = np.concatenate([[0], total])[starts]
    return total - np.repeat(offset, np.diff(starts, append=len(segment)))


def match(truth: str | Path, predictions: Sequence[dict], task: str) -> Matches:
    """Match ``predictions`` with the objects of ``truth`` at COCO's ten thresholds, all sizes, 100 an image."""
    judge = evaluator(truth, predictions, task)
    images, categories = (sorted(known) for known in (judge.coco_gt.get_img_ids(), judge.coco_gt.get_cat_ids()))
    judge.params.area_rng, judge.params.area_rng_lbl = [[0, 1e10]], ["all"]
    judge.params.max_dets = [100 if task != "keypoints" else 20]
    row = {id_: k for k, id_ in enumerate(categories)}
    objects, parts = np.zeros((len(categories), len(images))), []
    collecting = gc.isenabled()
    gc.disable()  # millions of short lists come next, none of them in a cycle
    try:
        for start in range(0, len(images), CHUNK):
            column = {id_: start + k for k, id_ in enumerate(images[start : start + CHUNK])}
            judge.params.img_ids = list(column)
            judge.evaluate()
            few = []
            for cell in judge.eval_imgs:
                if cell is not None:
                    place = row[cell["category_id"]], column[cell["image_id"]]
                    objects[place] = len(cell["gtIgnore"]) - sum(cell["gtIgnore"])
                    few += _detections(cell, place)
            parts += [_joined(few)] if few else []
    finally:
        if collecting:
            gc.enable()
    return _sorted(objects, parts)


def _detections(cell: dict, place: tuple[int, int]) -> list[tuple]:
    """Of the detections of a cell, if any: category and image, score, right and ignored at each threshold."""
    count = len(cell["dtScores"])
    if not count:
        return []
    right, ignored = (np.array(cell[key], bool).reshape(-1, count) for key in ("dtMatched", "dtIgnore"))
    return [(np.tile(np.array(place)[:, None], count), np.array(cell["dtScores"]), right & ~ignored, ignored)]


def _joined(parts: list[tuple]) -> tuple:
    return tuple(np.concatenate(columns, -1) for columns in zip(*parts, strict=True))


def _sorted(objects: np.ndarray, parts: list[tuple]) -> Matches:
    categories, images = objects.shape
    if not parts:
        none = np.zeros(0, int)
        return Matches(images, objects, none, np.zeros(categories, int), none, none, none, none)
    place, score, right, ignored = _joined(parts)
    order = np.lexsort((place[1], -score, place[0]))  # of equal scores, the earlier image first, as COCO has it
    place, right, ignored = place[:, order], right[:, order], ignored[:, order]
    first = np.searchsorted(place[0], np.arange(categories))
    return Matches(images, objects, place[1], first, *_by_segment(right, place[0]), *_by_segment(ignored, place[0]))


def _by_segment(flags: np.ndarray, category: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(10, N) flags -> the places of those set and their segments, segment by segment."""
    threshold, place = np.nonzero(flags)
    segment = category[place] * len(THRESHOLDS) + threshold
    order = np.lexsort((place, segment))
    return place[order], segment[order]
