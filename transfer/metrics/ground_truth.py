"""The ground truth of an evaluation: a COCO json that was checked, completed, and made ready for the engines."""

import functools
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import UserError
from transfer.datasets import benchmarks, coco_json, validate_coco
from transfer.datasets.coco_json import usable_mask
from transfer.datasets.faults import refuse


@dataclass(frozen=True)
class GroundTruth:
    """What predictions are scored against."""

    path: Path
    content: dict
    """COCO's lists, with every field that evaluation reads; not to be changed."""
    metric: str
    """One of ``transfer.datasets.coco_json.METRICS``."""
    images: dict[int, int]
    """Id of each image -> its number from 1 on, in the order of the ids."""
    categories: dict[int, int]
    """Id of each category -> its number from 1 on, in the order of the ids."""
    has_masks: bool
    """Whether there are objects, and each has a mask."""
    has_keypoints: bool

    @property
    def names(self) -> dict[int, str]:
        """Number of each category -> its name."""
        return {self.categories[entry["id"]]: entry["name"] for entry in self.content["categories"]}

    def for_engine(self) -> dict:
        """COCO's object with the fields that an engine reads, and ids that every engine takes.

        pycocotools takes an annotation with id 0 for no match, and hotcoco refuses negative ids and the headers that
        some programs write; so everything is numbered from 1 on, and headers and names are left out.
        """
        sizes = ("width", "height")
        optional = ("segmentation", "keypoints", "num_keypoints")
        images = [
            {"id": self.images[entry["id"]], "file_name": "", **{key: entry[key] for key in sizes}}
            for entry in self.content["images"]
        ]
        annotations = [
            {
                "id": number,
                "image_id": self.images[entry["image_id"]],
                "category_id": self.categories[entry["category_id"]],
                **{key: entry[key] for key in ("bbox", "area", "iscrowd")},
                **{key: entry[key] for key in optional if key in entry},
            }
            for number, entry in enumerate(self.content["annotations"], 1)
        ]
        categories = [{"id": number, "name": str(number)} for number in self.categories.values()]
        return {"images": images, "annotations": annotations, "categories": categories}


def find(benchmark: str, *, data: str | None, val_json: Path | None) -> Path:
    """The val json of ``benchmark``; UserError if it cannot be found or is given twice."""
    if val_json is None:
        return benchmarks.locate(benchmark, root=data, paths=dict.fromkeys(benchmarks.PATHS)).val.json
    if data:
        raise UserError("--val-json names the ground truth itself; leave --data out")
    if not val_json.is_file():
        raise UserError(f"{val_json} does not exist; --val-json is a COCO annotation file")
    return val_json


def read(path: str | Path) -> GroundTruth:
    """The ground truth in a COCO json. Raises UserError for the faults that check_data calls faults."""
    path = Path(path)
    state = path.stat() if path.is_file() else None
    return _read(path, state and (state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=1)  # an evaluation asks for the same file several times
def _read(path: Path, state: tuple[int, int] | None) -> GroundTruth:
    content = coco_json.read(path)
    refuse(path, validate_coco.stopping(content, None, evaluated=True))
    content = coco_json.clean(content, evaluated=True)
    objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    return GroundTruth(
        path=path,
        content=content,
        metric=coco_json.metric_in(content),
        images=_numbered(content["images"]),
        categories=_numbered(content["categories"]),
        has_masks=any(usable_mask(entry.get("segmentation")) for entry in objects),
        has_keypoints=any("keypoints" in entry for entry in objects),
    )


def _numbered(entries: list[dict]) -> dict[int, int]:
    return {number: rank for rank, number in enumerate(sorted(entry["id"] for entry in entries), 1)}
