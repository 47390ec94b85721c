"""Pascal VOC's xml tree as a COCO json, boxes as Detectron2 reads them: 0-based, the far edges excluded."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from runtime.command_line import UserError
from runtime.read import read_text
from transfer.datasets.thread_map import mapped

# fmt: off
CATEGORIES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on


def annotation_files(lists: list[Path]) -> list[Path]:
    """The xml files of image lists such as ``VOC2007/ImageSets/Main/trainval.txt``, in their order."""
    files = []
    for path in lists:
        year = path.parents[2]
        names = [line.split()[0] for line in read_text(path).split("\n") if line.strip()]
        files += [year / "Annotations" / f"{name}.xml" for name in names]
    if missing := [file for file in files if not file.exists()]:
        raise UserError(f"{missing[0]} does not exist ({len(missing)} of {len(files)} annotations are missing)")
    return files


def sources(lists: list[Path]) -> list[Path]:
    """The lists and every annotation they name."""
    return [*lists, *annotation_files(lists)]


def read(lists: list[Path]) -> dict:
    """The COCO object of the images in ``lists``.

    Image names are relative to the folder above the years: ``VOC2007/JPEGImages/000005.jpg``. Difficult objects are
    trained on, as in Detectron2, and carry ``difficult: 1``, by which the metric ignores them.
    """
    images, annotations = [], []
    files = annotation_files(lists)
    for image_id, (file, (size, objects)) in enumerate(zip(files, mapped(_parse, files, "read VOC"), strict=True), 1):
        year = file.parents[1].name
        name = f"{year}/JPEGImages/{file.stem}.jpg"
        images.append({"id": image_id, "file_name": name, "width": size[0], "height": size[1]})
        for entry in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0, **entry})
    categories = [{"id": number, "name": name} for number, name in enumerate(CATEGORIES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _parse(file: Path) -> tuple[tuple[int, int], list[dict]]:
    try:
        root = ElementTree.parse(file).getroot()
        size = (int(_text(root, "size/width")), int(_text(root, "size/height")))
        return size, [_object(element) for element in root.findall("object")]
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{file} is no VOC annotation ({error}); copy it again") from error


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"no {path}")
    return text


def _object(element: ElementTree.Element) -> dict:
    edges = (float(_text(element, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
    left, top, right, bottom = edges
    box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
    return {
        "category_id": CATEGORIES.index(_text(element, "name")) + 1,
        "bbox": box,
        "area": box[2] * box[3],
        "difficult": int(element.findtext("difficult", "0")),
    }
