"""predictions.png: a few validation images, ground truth above, prediction below."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from pretrain.data.decode import read_image
from runtime.command_line import printable
from runtime.files import replacing
from transfer.datasets import coco_json
from transfer.datasets.benchmarks import Split
from transfer.datasets.coco_json import coco_mask

TILE_PX = 320
BAND_PX = 26
SCORE_SHOWN = 0.5
"""Predictions below this score are left out of the picture; where none reaches it, the best one is drawn."""

COLOURS = [(66, 133, 244), (219, 68, 55), (244, 180, 0), (15, 157, 88), (171, 71, 188), (0, 172, 193), (255, 112, 67)]
"""RGB, by category, in turn."""


def draw(path: str | Path, split: Split, predictions: Sequence[dict], *, count: int) -> None:
    """Write a contact sheet of the first ``count`` images of ``split``, annotated ones if there are any.

    Args:
        predictions: COCO results over the whole split.
    """
    content = coco_json.clean(coco_json.read(split.json))
    names = {category["id"]: category["name"] for category in content["categories"]}
    truth = _by_image(content["annotations"])
    everything = sorted(content["images"], key=lambda image: image["id"])
    images = ([image for image in everything if image["id"] in truth] or everything)[:count]
    drawn = {image["id"] for image in images}
    predicted = _by_image(entry for entry in predictions if entry["image_id"] in drawn)
    columns = []
    for image in images:
        pixels = np.asarray(read_image(split.images / image["file_name"]))
        above = tile(pixels, truth.get(image["id"], []), names, title="ground truth")
        below = tile(pixels, _confident(predicted.get(image["id"], [])), names, title="prediction")
        columns.append(np.concatenate([above, below]))
    write(path, np.concatenate(columns, axis=1))


def write(path: str | Path, sheet: np.ndarray) -> None:
    """Write an RGB picture (height, width, 3) as PNG."""
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    with replacing(path) as temporary:
        temporary.write_bytes(png.tobytes())


def _by_image(entries: Iterable[dict]) -> dict[int, list[dict]]:
    groups: dict[int, list[dict]] = {}
    for entry in entries:
        groups.setdefault(entry["image_id"], []).append(entry)
    return groups


def _confident(predictions: Sequence[dict]) -> list[dict]:
    ordered = sorted(predictions, key=lambda entry: -entry["score"])
    return [entry for entry in ordered if entry["score"] >= SCORE_SHOWN] or ordered[:1]


def tile(pixels: np.ndarray, objects: list[dict], names: dict[int, str], *, title: str) -> np.ndarray:
    """The image scaled into a square tile, with masks, boxes, keypoints and labels, under a band with the title."""
    height, width = pixels.shape[:2]
    scale = TILE_PX / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))  # a strip of 2000 x 3 pixels keeps one
    scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    for entry in reversed(objects):
        colour = COLOURS[int(entry["category_id"]) % len(COLOURS)]
        if entry.get("segmentation"):
            mask = cv2.resize(_mask(entry["segmentation"], height, width), size, interpolation=cv2.INTER_LINEAR) > 0.5
            scaled[mask] = (0.55 * scaled[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    for entry in reversed(objects):
        category = int(entry["category_id"])
        label = _letters(names[category]) + (f" {entry['score']:.2f}" if "score" in entry else "")
        _box(scaled, [value * scale for value in entry["bbox"]], label, category)
        for x, y, seen in np.reshape(entry.get("keypoints") or (), (-1, 3)):
            drawn = seen > 0 and 0 <= x <= width and 0 <= y <= height
            for radius, colour in ((3, (255, 255, 255)), (2, COLOURS[category % len(COLOURS)])) if drawn else ():
                cv2.circle(scaled, (round(x * scale), round(y * scale)), radius, colour, -1, cv2.LINE_AA)
    square = np.full((TILE_PX + BAND_PX, TILE_PX, 3), 255, np.uint8)
    square[BAND_PX : BAND_PX + size[1], : size[0]] = scaled
    cv2.putText(square, _letters(title), (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return square


def _letters(text: str) -> str:
    """What OpenCV's fonts can draw of a text; lone surrogates crash it."""
    return printable(text).encode("ascii", "replace").decode()


def _mask(segmentation, height: int, width: int) -> np.ndarray:
    """COCO's polygons or run lengths -> (height, width) float32 of 0 and 1."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # four numbers would be read as a box
        segmentation = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)) if polygons else None
    if segmentation is None:
        return np.zeros((height, width), np.float32)
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(segmentation).astype(np.float32)


def _box(tile: np.ndarray, box: list[float], label: str, category: int) -> None:
    colour = COLOURS[category % len(COLOURS)]
    x, y, width, height = (round(value) for value in box)
    cv2.rectangle(tile, (x, y), (x + width, y + height), colour, 2)
    (text_width, text_height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    left = min(max(x, 0), max(tile.shape[1] - text_width - 6, 0))
    top = max(y - text_height - 6, 0)
    cv2.rectangle(tile, (left, top), (left + text_width + 6, top + text_height + 6), colour, -1)
    white = (255, 255, 255)
    at = (left + 3, top + text_height + 2)
    cv2.putText(tile, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, white, 1, cv2.LINE_AA)
