"""Masks of the training targets and of the predictions are those of Detectron2 and pycocotools, bit for bit."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, PolygonMasks
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from transfer.detection.masks import Polygons, packed_in_boxes


def objects(rng: np.random.Generator, count: int) -> list[list[np.ndarray]]:
    """Objects of one to three polygons of three to forty corners, in an image of 100 x 80."""
    return [
        [
            rng.uniform(-5, 105, 2 * int(rng.integers(3, 40))).round(int(rng.integers(0, 4)))
            for _ in range(rng.integers(1, 4))
        ]
        for _ in range(count)
    ]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), size=st.sampled_from([7, 14, 28]))
def test_targets_are_those_of_detectron2(seed, count, size):
    rng = np.random.default_rng(seed)
    theirs = PolygonMasks(objects(rng, count))
    ours = Polygons.of(theirs.polygons)
    chosen = torch.from_numpy(rng.integers(0, count, 9))
    corners = rng.uniform(-5, 100, (9, 2))
    sides = rng.choice([0.0, 0.05, 1.0, 30.0], (9, 2)) * rng.uniform(0.5, 2, (9, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + sides], axis=1)).float()
    expected = theirs[chosen].crop_and_resize(boxes, size)
    found = ours[chosen].crop_and_resize(boxes, size)
    assert found.dtype == expected.dtype and torch.equal(found, expected)


def test_an_object_without_polygons_and_an_image_without_objects_have_empty_targets():
    triangle = np.array([0.0, 0, 10, 0, 0, 10])
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    drawn = Polygons.of([[], [triangle], []]).crop_and_resize(boxes, 14)
    assert drawn.any((1, 2)).tolist() == [False, True, False]
    assert Polygons.of([]).crop_and_resize(boxes[:0], 14).shape == (0, 14, 14)


@pytest.mark.parametrize("item", [1, slice(1, 3), [2, 0], torch.tensor([2, 2]), torch.tensor([True, False, True])])
def test_objects_are_chosen_as_from_detectron2s(item):
    theirs = PolygonMasks(objects(np.random.default_rng(0), 3))
    chosen = Polygons.of(theirs.polygons)[item]
    assert isinstance(chosen, Polygons)
    assert [[polygon.tolist() for polygon in one] for one in chosen] == [
        [polygon.tolist() for polygon in one] for one in theirs[item]
    ]


@st.composite
def pasted(draw) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N, H, W) with anything inside boxes that may reach the image's edges, and the boxes."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = np.zeros((draw(st.integers(0, 4)), height, width), dtype=bool)
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for mask, box in zip(masks, boxes, strict=True):
        (x1, x2), (y1, y2) = (
            sorted(draw(st.lists(st.floats(0, side, width=32), min_size=2, max_size=2))) for side in (width, height)
        )
        box[:] = x1, y1, x2, y2
        inside = mask[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
        inside[:] = rng.random(inside.shape) < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    return masks, boxes


@settings(max_examples=300, deadline=None)
@given(pasted())
def test_run_lengths_made_in_the_box_are_those_of_the_whole_image(drawn):
    masks, boxes = drawn
    expected = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    assert packed_in_boxes(masks, boxes) == [
        {"size": entry["size"], "counts": entry["counts"].decode()} for entry in expected
    ]


def test_no_pasted_pixel_lies_beyond_the_reach_of_its_box():
    """Pasting reads the soft mask with zeros around it, so at a threshold of 0.5 nothing lies outside the box."""
    from detectron2.layers.mask_ops import _do_paste_mask

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (200, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + rng.uniform(0.01, 20, (200, 2))], axis=1)).float()
    soft, _ = _do_paste_mask(torch.ones(200, 1, 28, 28), boxes, 40, 40, skip_empty=False)
    pasted = (soft >= 0.5).numpy()
    expected = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode() for mask in pasted]
    assert [entry["counts"] for entry in packed_in_boxes(pasted, boxes.numpy())] == expected
    assert BitMasks(torch.from_numpy(pasted)).tensor.any((1, 2)).float().mean() > 0.5
