"""The contact sheet shows the truth above and the prediction below, for polygons and run lengths."""

import json

import cv2
import numpy as np

from transfer.datasets.benchmarks import Split
from transfer.metrics import pictures


def test_a_sheet_has_a_column_per_image_and_colours_inside_the_object(tmp_path, coco):
    split = Split(coco / "data.json", coco / "images")
    prediction = {
        "image_id": 1,
        "category_id": 7,
        "score": 0.9,
        "bbox": [5, 5, 20, 10],
        "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]],
    }
    pictures.draw(tmp_path / "p.png", split, [prediction], count=6)
    sheet = cv2.imread(str(tmp_path / "p.png"))
    tile = pictures.TILE_PX + pictures.BAND_PX
    assert sheet.shape == (2 * tile, 2 * pictures.TILE_PX, 3)
    inside = (pictures.BAND_PX + 10 * 8 + 12, 15 * 8)  # pixel (15, 10) of an image drawn 8 times as large

    def coloured(top: int, left: int) -> bool:
        return len(np.unique(sheet[top + inside[0], left + inside[1]])) > 1

    assert coloured(0, 0)
    assert coloured(tile, 0)
    assert coloured(0, pictures.TILE_PX)
    assert not coloured(tile, pictures.TILE_PX)  # nothing was predicted for the second image


def test_run_lengths_are_drawn_too(tmp_path, scenes):
    split = Split(scenes / "detection/val.json", scenes / "detection/val")
    annotations = json.loads(split.json.read_text())["annotations"]
    pictures.draw(tmp_path / "p.png", split, [entry | {"score": 0.3} for entry in annotations], count=2)
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_a_strip_is_drawn():
    """It stopped a run after its training, before its result was written."""
    strip = np.zeros((3, 2000, 3), np.uint8)
    side = pictures.TILE_PX
    assert pictures.tile(strip, [], {}, title="strip").shape == (side + pictures.BAND_PX, side, 3)
