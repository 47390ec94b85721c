"""A COCO data set as Detectron2's list of records, from the one reader of COCO json files."""

from collections import defaultdict

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from transfer.datasets import coco_json
from transfer.datasets.benchmarks import Split
from transfer.datasets.coco_json import coco_mask


def register(name: str, split: Split, categories: dict[int, str], **about) -> None:
    """Make a data set known to Detectron2 as ``name``, in place of an earlier one of that name.

    Args:
        categories: id -> name; the classes are numbered in the order of the ids.
        about: further metadata, such as the names of keypoints.
    """
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    numbers = {number: index for index, number in enumerate(sorted(categories))}
    DatasetCatalog.register(name, lambda: read(split))
    MetadataCatalog.get(name).set(
        thing_classes=[categories[number] for number in numbers],
        thing_dataset_id_to_contiguous_id=numbers,
        json_file=str(split.json),
        image_root=str(split.images),
        evaluator_type="coco",
        **about,
    )


def read(split: Split) -> list[dict]:
    """The records of a valid COCO json, by image id: what Detectron2's own ``load_coco_json`` makes of it.

    An object whose polygons all have fewer than three points is left out, as there.
    """
    content = coco_json.read(split.json)
    too_short = [_is_too_short(entry.get("segmentation")) for entry in content["annotations"]]
    content = coco_json.clean(content)
    numbers = {number: index for index, number in enumerate(sorted(entry["id"] for entry in content["categories"]))}
    points = {entry["id"]: len(entry.get("keypoints") or ()) for entry in content["categories"]}
    objects = defaultdict(list)
    for entry, left_out in zip(content["annotations"], too_short, strict=True):
        if not left_out:
            objects[entry["image_id"]].append(_object(entry, numbers, points[entry["category_id"]]))
    return [
        {
            "file_name": str(split.images / image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": objects[image["id"]],
        }
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]


def _is_too_short(mask) -> bool:
    return bool(mask) and coco_json.usable_mask(mask) is None


def _object(entry: dict, numbers: dict[int, int], points: int) -> dict:
    """An object of a category with so many keypoints; one that says nothing of them has none that are marked."""
    made = {
        "iscrowd": entry["iscrowd"],
        "bbox": entry["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": numbers[entry["category_id"]],
    }
    if mask := entry.get("segmentation"):
        unpacked = isinstance(mask, dict) and isinstance(mask["counts"], list)
        made["segmentation"] = coco_mask.frPyObjects(mask, *mask["size"]) if unpacked else mask
    if marks := entry.get("keypoints") or [0] * (3 * points):
        # COCO's masks are in continuous coordinates, its keypoints are numbers of pixels: their centres are meant.
        made["keypoints"] = [value if place % 3 == 2 else value + 0.5 for place, value in enumerate(marks)]
    return made
