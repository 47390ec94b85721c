"""LVIS v1's json as a COCO json: its images are COCO's, known by their address only; nothing in it is a crowd."""

import json
from pathlib import Path

from runtime.command_line import UserError


def read(files: list[Path]) -> dict:
    """The COCO object of one split; image names are relative to the coco folder: ``train2017/000000000009.jpg``.

    What LVIS' metric needs stays: each category's ``frequency``, and for each image which categories are certainly
    absent and which are not labelled completely.
    """
    content = json.loads(files[0].read_bytes())
    try:
        images = [image | {"file_name": "/".join(image["coco_url"].split("/")[-2:])} for image in content["images"]]
        annotations = [annotation | {"iscrowd": 0} for annotation in content["annotations"]]
        missing = [category["id"] for category in content["categories"] if "frequency" not in category]
    except (KeyError, TypeError) as error:
        raise UserError(f"{files[0]} is no LVIS file (lacks {error}); expected lvis_v1_train.json or _val") from error
    if missing:
        raise UserError(f"{files[0]}: category {missing[0]} lacks 'frequency', which LVIS v1 has")
    return {"images": images, "annotations": annotations, "categories": content["categories"]}
