"""Which points of an object a data set marks, and which of them change places when an image is mirrored."""

import json
from pathlib import Path

from runtime.command_line import UserError

COUNT = 17
"""COCO's person has 17 points, and the metric knows no other: each point has a tolerance of its own."""


def names(path: Path) -> list[str]:
    """The points' names. Raises UserError unless every category of the COCO json ``path`` has the same 17."""
    categories = json.loads(path.read_bytes())["categories"]
    found = {tuple(category.get("keypoints", ())) for category in categories}
    if len(found) != 1 or len(next(iter(found))) != COUNT:
        counts = ", ".join(f"{category['name']} {len(category.get('keypoints', ()))}" for category in categories[:3])
        raise UserError(
            f"{path}: the protocol needs COCO's {COUNT} keypoints in every category, found {counts}; "
            f"take coco_2017_keypoints, or a protocol without keypoints"
        )
    return list(next(iter(found)))


def mirrored(points: list[str]) -> list[tuple[str, str]]:
    """The pairs ``("left_eye", "right_eye")`` among ``points``."""
    pairs = [(point, point.replace("left", "right", 1)) for point in points if point.startswith("left")]
    return [pair for pair in pairs if pair[1] in points]
