"""Not a test: a COCO set with all that makes evaluation hard, and predictions of any quality on it."""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 240, 320


def write(path: Path, *, images: int, seed: int = 0) -> Path:
    """Ground truth with crowds (run lengths), images and a category without objects, and every size.

    Ids neither start at 1 nor follow each other; objects lie on and around the limits of COCO's sizes.
    """
    rng = np.random.default_rng(seed)
    categories = [{"id": id_, "name": f"kind-{id_}"} for id_ in (2, 3, 7, 11, 90)]
    entries, annotations = [], []
    for number in range(images):
        image_id = 1000 - 3 * number
        entries.append({"id": image_id, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        for _ in range(int(rng.integers(0, 7))):  # none at all now and then
            side = float(rng.choice([8, 31.999, 32, 33, 60, 96, 97, 150]))
            x, y = (round(float(rng.uniform(0, size - min(side, size))), 1) for size in (WIDTH, HEIGHT))
            crowd = int(rng.random() < 0.15)
            annotations.append(
                {
                    "id": 17 + 2 * len(annotations),
                    "image_id": image_id,
                    "category_id": int(rng.choice([2, 3, 7, 11])),  # 90 never occurs
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": crowd,
                    "segmentation": run_length([x, y, side, side]) if crowd else [corners([x, y, side, side])],
                }
            )
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return path


def corners(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def run_length(box: list[float]) -> dict:
    mask = coco_mask.frPyObjects([corners(box)], HEIGHT, WIDTH)[0]
    return {"size": mask["size"], "counts": mask["counts"].decode()}


def predict(truth: Path, *, pixels: float = 6.0, copies: int = 3, steps: int = 5, seed: int = 1) -> list[dict]:
    """``copies`` predictions of each object, moved by ``pixels``, some of another class, and some out of nothing.

    Scores take one of ``steps`` values, so that most are tied.
    """
    rng = np.random.default_rng(seed)
    content = json.loads(truth.read_text())
    ids = [category["id"] for category in content["categories"]]
    found = []
    for annotation in content["annotations"]:
        for _ in range(copies):
            x, y, width, height = np.array(annotation["bbox"]) + rng.normal(0, pixels, 4)
            box = [float(x), float(y), float(max(width, 2)), float(max(height, 2))]
            right = rng.random() < 0.75
            found.append((annotation["image_id"], annotation["category_id"] if right else int(rng.choice(ids)), box))
    for image in content["images"][::2]:
        found += [(image["id"], int(rng.choice(ids)), [*map(float, rng.uniform(5, 100, 4))]) for _ in range(3)]
    return [
        {
            "image_id": image_id,
            "category_id": category,
            "bbox": box,
            "score": float(rng.integers(1, steps + 1)) / steps,
            "segmentation": run_length(box),
        }
        for image_id, category, box in found
    ]
