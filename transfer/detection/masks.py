"""Masks between a detector and their two outer forms: targets drawn from polygons, predictions as run lengths.

Both give what Detectron2 gives, bit for bit, in less of the training thread's time: it draws each region's target by
itself and encodes each predicted mask over the whole image.
"""

from typing import Any

import numpy as np
import torch
from detectron2.structures import PolygonMasks
from pycocotools import mask as coco_mask

REACH_PX = 1
"""How far outside its box, rounded outwards, a pasted mask may have pixels."""


class Polygons(PolygonMasks):
    """The polygons of N objects, whose targets for N regions are drawn in one call."""

    @classmethod
    def of(cls, polygons: list[list[np.ndarray]]) -> "Polygons":
        """Polygons that were checked before, not copied."""
        made = cls([])
        made.polygons = polygons
        return made

    def __getitem__(self, item: int | slice | list[int] | torch.Tensor) -> "Polygons":
        index = item.cpu().numpy() if isinstance(item, torch.Tensor) else item
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return self.of([self.polygons[number] for number in chosen])

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """The part of each object inside its region, (N, 4) as x1, y1, x2, y2 -> (N, mask_size, mask_size) of bool."""
        edges = boxes.cpu().numpy()
        drawn = np.zeros((len(self), mask_size, mask_size), dtype=bool)
        parts = [len(polygons) for polygons in self.polygons]
        if sum(parts):
            lengths: Any = _run_lengths(self._inside(edges, mask_size), parts, mask_size)
            drawn[np.flatnonzero(parts)] = coco_mask.decode(lengths).transpose(2, 0, 1)
        return torch.from_numpy(drawn).to(boxes.device)

    def _inside(self, edges: np.ndarray, mask_size: int) -> list[np.ndarray]:
        """Every polygon in the coordinates of its region's target; the arithmetic is Detectron2's."""
        flat = [polygon for polygons in self.polygons for polygon in polygons]
        corners = np.array([len(polygon) // 2 for polygon in flat])
        owners = np.repeat(np.repeat(np.arange(len(self)), [len(polygons) for polygons in self.polygons]), corners)
        scales = np.array(
            [
                [mask_size / max(width, 0.1), mask_size / max(height, 0.1)]
                for width, height in edges[:, 2:] - edges[:, :2]
            ]
        )
        points = (np.concatenate(flat).reshape(-1, 2) - edges[owners, :2]) * scales[owners]
        return np.split(points.ravel(), 2 * np.cumsum(corners)[:-1])


def _run_lengths(polygons: list[np.ndarray], parts: list[int], size: int) -> list[Any]:
    """Packed run lengths of objects of so many polygons each; one without any has none."""
    outlines: Any = polygons
    each: Any = coco_mask.frPyObjects(outlines, size, size)
    ends = np.cumsum(parts)
    return [
        each[end - 1] if count == 1 else coco_mask.merge(each[end - count : end])
        for count, end in zip(parts, ends, strict=True)
        if count
    ]


def packed_in_boxes(masks: np.ndarray, boxes: np.ndarray) -> list[dict[str, Any]]:
    """COCO's packed run lengths of masks that are empty outside their boxes, as pycocotools packs the whole image.

    Args:
        masks: (N, height, width) of bool.
        boxes: (N, 4) as x1, y1, x2, y2 in pixels; a mask may reach ``REACH_PX`` further.
    """
    if not len(masks):
        return []
    height, width = masks.shape[1:]
    corner = np.clip(np.floor(boxes[:, :2]).astype(int) - REACH_PX, 0, (width, height))
    sides = np.clip(np.ceil(boxes[:, 2:]).astype(int) + REACH_PX, corner, (width, height)) - corner
    starts, ends, owners = _runs(masks, corner, sides)
    # Bounds of the runs of every mask, and the image's end: what lies between two of them is one of COCO's counts.
    counts = np.bincount(owners, minlength=len(masks))
    closes = np.cumsum(2 * counts + 1) - 1
    bounds = np.full(2 * len(owners) + len(masks), height * width)
    place = 2 * np.arange(len(owners)) + owners
    bounds[place], bounds[place + 1] = starts, ends
    lengths = np.diff(bounds, prepend=0)
    opens = np.concatenate([[0], closes[:-1] + 1])
    lengths[opens] = bounds[opens]
    closes += lengths[closes] > 0  # a mask that ends with a set pixel has no run of nothing after it
    size = [height, width]
    runs: Any = [{"size": size, "counts": lengths[begin:end]} for begin, end in zip(opens, closes, strict=True)]
    packed: Any = coco_mask.frPyObjects(runs, height, width)
    return [{"size": size, "counts": entry["counts"].decode()} for entry in packed]


def _runs(masks: np.ndarray, corner: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of set pixels, column after column: number of the first pixel, of that after the last, and of the mask.

    Args:
        masks: (N, height, width) of bool; only what lies in N rectangles is read.
        corner: (N, 2) left and top of each.
        sides: (N, 2) width and height of each.
    """
    height = masks.shape[1]
    columns = sides[:, 1] + 1  # with a pixel of nothing below: a run then ends in its column
    offsets = np.concatenate([[0], np.cumsum(sides[:, 0] * columns)])
    pixels = np.zeros(offsets[-1] + 1, dtype=bool)
    for mask, (left, top), (across, down), offset in zip(masks, corner, sides, offsets[:-1], strict=True):
        part = pixels[offset + 1 : offset + 1 + across * (down + 1)].reshape(across, down + 1)
        part[:, :-1] = mask[top : top + down, left : left + across].T
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    owners = np.searchsorted(offsets, changes, side="right") - 1
    column, row = np.divmod(changes - offsets[owners], columns[owners])
    edges = (corner[owners, 0] + column) * height + corner[owners, 1] + row
    starts, ends, owners = edges[::2], edges[1::2], owners[::2]
    # Where two neighbouring columns are set from top to bottom of the image, their runs are one.
    apart = (starts[1:] != ends[:-1]) | (owners[1:] != owners[:-1])
    first, last = np.append(True, apart), np.append(apart, True)
    return (starts[first], ends[last], owners[first]) if len(starts) else (starts, ends, owners)
