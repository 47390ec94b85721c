"""The layouts of data sets that are not COCO's, and how each becomes a COCO object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import UserError
from runtime.read import read_json
from transfer.datasets import cityscapes, voc
from transfer.datasets.coco_json import size_limit


@dataclass(frozen=True)
class Layout:
    """One way to keep labels."""

    read: Callable[[list[Path]], dict]
    """The COCO object of the labels in these files or folders."""
    sources: Callable[[list[Path]], list[Path]]
    """Every file it reads, by which a change is noticed."""
    metric: str
    """The metric of the data set's papers, one of ``transfer.datasets.coco_json.METRICS``."""


def read_lvis(files: list[Path]) -> dict:
    """LVIS v1's json of one split as a COCO object: its images are COCO's, known by their address only; no crowds.

    Image names are relative to the coco folder: ``train2017/000000000009.jpg``. What LVIS' metric needs stays: each
    category's ``frequency``, and for each image which categories are certainly absent and which are not labelled
    completely.
    """
    content = read_json(files[0], limit_bytes=size_limit(files[0]), remedy="expected lvis_v1_train.json or _val")
    try:
        images = [image | {"file_name": "/".join(image["coco_url"].split("/")[-2:])} for image in content["images"]]
        annotations = [annotation | {"iscrowd": 0} for annotation in content["annotations"]]
        missing = [category["id"] for category in content["categories"] if "frequency" not in category]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{files[0]} is no LVIS file (lacks {error}); expected lvis_v1_train.json or _val") from error
    if missing:
        raise UserError(f"{files[0]}: category {missing[0]} lacks 'frequency', which LVIS v1 has")
    return {"images": images, "annotations": annotations, "categories": content["categories"]}


LAYOUTS = {
    "voc": Layout(voc.read, voc.sources, "voc-2007"),
    "cityscapes": Layout(cityscapes.read, cityscapes.instance_files, "cityscapes"),
    "lvis": Layout(read_lvis, list, "lvis"),
}
