"""Cityscapes' fine annotations (gtFine) as a COCO json: one run-length mask for each instance of the eight classes."""

from pathlib import Path

import numpy as np

from pretrain.data.decode import UnreadableImage, read_numbers
from runtime.command_line import UserError
from transfer.datasets.coco_json import coco_mask
from transfer.datasets.thread_map import mapped

CATEGORIES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Cityscapes' label ids of the classes that have instances."""

VOID = {*range(7), 9, 10, 14, 15, 16, 18, 29, 30}
"""Label ids that the benchmark's own metric ignores: a prediction that lies on them is not wrong."""


def instance_files(folders: list[Path]) -> list[Path]:
    """The ``*_instanceIds.png`` below ``gtFine/train`` or ``gtFine/val``, by city and name."""
    files = [file for folder in folders for file in sorted(folder.glob("*/*_gtFine_instanceIds.png"))]
    if not files:
        raise UserError(f"{folders[0]} holds no CITY/*_gtFine_instanceIds.png; unpack gtFine_trainvaltest.zip there")
    return files


def read(folders: list[Path]) -> dict:
    """The COCO object of one split.

    Image names are relative to leftImg8bit: ``val/lindau/lindau_000000_000019_leftImg8bit.png``. A group of objects
    without a number of its own is a crowd. Each image carries ``void``, the mask of what the metric ignores.
    """
    images, annotations = [], []
    files = instance_files(folders)
    for image_id, (file, (void, objects)) in enumerate(
        zip(files, mapped(_parse, files, "read Cityscapes"), strict=True), 1
    ):
        name = file.name.replace("_gtFine_instanceIds.png", "_leftImg8bit.png")
        height, width = void["size"]
        folder = f"{file.parents[1].name}/{file.parent.name}"
        images.append({"id": image_id, "file_name": f"{folder}/{name}", "width": width, "height": height, "void": void})
        for entry in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **entry})
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _parse(file: Path) -> tuple[dict, list[dict]]:
    # 16 bits: the label id of a pixel, or 1000 times it plus the number of the instance.
    try:
        pixels = np.asfortranarray(read_numbers(file), dtype=np.int32)  # the order of run lengths
    except UnreadableImage as error:
        raise UserError(f"{error}; unpack gtFine_trainvaltest.zip again") from error
    void = np.isin(pixels, list(VOID))  # numbered instances of a void class (caravans) count as background, as there
    objects = []
    for number in np.flatnonzero(np.bincount(pixels.ravel("K"))).tolist():
        label, group = (number, True) if number < 1000 else (number // 1000, False)
        if label in CATEGORIES:
            objects.append(_object(pixels == number, label, group))
    return _encoded(void), objects


def _object(mask: np.ndarray, label: int, group: bool) -> dict:
    encoded = _encoded(mask)
    return {
        "category_id": label,
        "bbox": coco_mask.toBbox(encoded).tolist(),
        "area": int(mask.sum()),
        "iscrowd": int(group),
        "segmentation": encoded,
    }


def _encoded(mask: np.ndarray) -> dict:
    runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()}
