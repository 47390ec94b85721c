"""A part of a data set that everybody draws alike: by a hash of each image's file name, so by no library's generator.

Images are ranked by the SHA-256 of ``<salt>/<file name>``; a fraction f of N images is the first round(f N) of that
order. The parts of one salt lie inside each other: the 1% images are among the 10%.
"""

import hashlib

LABELS = "labels-0"
"""Salt of the label fractions, coco_2017_10pct and coco_2017_1pct."""

HELD_OUT = "held-out-0"
"""Salt of the part of a training set on which a learning rate is chosen."""


def chosen(names: list[str], fraction: float, *, salt: str) -> set[str]:
    """The file names that belong to the part; at least one."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{salt}/{name}".encode()).digest())
    return set(ranked[: max(1, round(fraction * len(names)))])


def split(content: dict, fraction: float, *, salt: str) -> tuple[dict, dict]:
    """A COCO object -> the part, and the rest; both keep every category and whatever else it holds."""
    names = chosen([image["file_name"] for image in content["images"]], fraction, salt=salt)
    inside = {image["id"] for image in content["images"] if image["file_name"] in names}
    return _only(content, inside), _only(content, {image["id"] for image in content["images"]} - inside)


def _only(content: dict, images: set[int]) -> dict:
    return content | {
        "images": [image for image in content["images"] if image["id"] in images],
        "annotations": [annotation for annotation in content["annotations"] if annotation["image_id"] in images],
    }
