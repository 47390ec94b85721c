"""The embedded data: drawn scenes of objects whose classes differ in outline and surface, with exact boxes and masks.

`write` makes, once:

    DIR/unlabelled/000000.jpg ...                         one object per image, for pretraining
    DIR/classification/{train,val}/<class>/000000.jpg     one object per image
    DIR/detection/{train,val}/000000.jpg, {train,val}.json   1-4 objects; COCO: exact boxes, RLE masks of what is seen
    DIR/contact_sheet.png                                 a look at the detection set, ground truth drawn in
    DIR/scenes.json                                       the settings; written last, so its presence means complete

Every image is a function of (seed, split, index) alone: a larger set begins with the images of a smaller one.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pretrain.data import drawing
from pretrain.data.drawing import CLASSES
from runtime import folder_lock
from runtime.command_line import UserError
from runtime.files import replacing, write_json
from runtime.progress import Progress
from runtime.read import read_json

# How many images each part holds, as a share of --images.
SHARES = {
    "unlabelled": 1.0,
    "classification/train": 0.5,
    "classification/val": 0.25,
    "detection/train": 0.5,
    "detection/val": 0.1,
}
COUNT_ODDS = (0.5, 0.25, 0.15, 0.1)  # of 1, 2, 3 and 4 objects in a scene
RADII = {1: (0.36, 0.46), 2: (0.24, 0.34), 3: (0.20, 0.28), 4: (0.17, 0.25)}  # of that many objects, share of the side
LARGEST_ANGLE = math.radians(15)  # of an object: stripes stay upright or level
NOISE = 0.05  # largest standard deviation, over the whole image
MARKER = "scenes.json"
PARTS = ("unlabelled", "classification", "detection", "contact_sheet.png", folder_lock.LOCK)
FORMAT = 3  # raised whenever the same settings draw other pixels, so that old sets are not taken for new ones


@dataclass(frozen=True)
class Settings:
    """What fixes every pixel of the set."""

    images: int
    size: int
    seed: int
    format: int = FORMAT


@dataclass(frozen=True)
class Scene:
    """A drawn image and the visible part of each object in it."""

    image: np.ndarray
    """(size, size, 3) uint8, RGB."""
    masks: list[np.ndarray]
    """(size, size) bool each, disjoint: where one object hides another, the pixel belongs to the one in front."""
    classes: list[str]


def draw(split: str, index: int, *, size: int, seed: int) -> Scene:
    """Draw image ``index`` of ``split``: 1-4 objects that may overlap for detection, else one."""
    rng = np.random.default_rng([seed, list(SHARES).index(split), index])
    if split.startswith("classification"):
        wanted = [CLASSES[index % len(CLASSES)]]
    else:
        count = 1 + rng.choice(4, p=COUNT_ODDS) if split.startswith("detection") else 1
        wanted = list(rng.choice(CLASSES, count))
    radii = RADII[len(wanted)]
    image = drawing.background(rng, size)
    masks, classes = [], []
    for name in wanted:
        placed = _free_place(rng, name, masks, size=size, radii=radii)
        if placed is None:
            continue
        mask, place = placed
        masks = [other & ~mask for other in masks] + [mask]
        classes.append(str(name))
        image = np.where(mask[..., None], drawing.surface(rng, name, **place, size=size), image)
    image = image + rng.normal(0, rng.uniform(0.0, NOISE), image.shape)
    return Scene((image.clip(0, 1) * 255).round().astype(np.uint8), masks, classes)


def _free_place(
    rng, name: str, others: list[np.ndarray], *, size: int, radii: tuple[float, float]
) -> tuple[np.ndarray, dict[str, Any]] | None:
    """Mask and place (centre, radius, angle) of a new object that leaves at least half of each other one in sight;
    None after ten tries."""
    for _ in range(10):
        radius = rng.uniform(*radii) * size
        centre = rng.uniform(0.8 * radius, size - 0.8 * radius, 2)
        place = {"centre": centre, "radius": radius, "angle": rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE)}
        mask = drawing.shape_mask(name, **place, size=size)
        if all((other & ~mask).sum() >= 0.5 * other.sum() for other in others):
            return mask, place
    return None


def annotation(mask: np.ndarray, *, number: int, image: int, category: int) -> dict:
    """A COCO annotation of one visible mask: RLE, area in pixels, box [x, y, width, height] that touches the mask."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "segmentation": {"size": list(mask.shape), "counts": rle["counts"].decode()},  # pyright: ignore[reportAttributeAccessIssue]
    }


def write(out: str | Path, *, images: int, size: int, seed: int) -> None:
    """Write the whole set to ``out``; return at once if it is there, complete, with these settings.

    Raises UserError for impossible sizes, and where ``out`` holds other settings or something else.
    """
    out, settings = Path(out), Settings(images, size, seed)
    if images < 40 or size < 32:
        raise UserError(f"the scenes need at least 40 images of 32 pixels, got {images} of {size}")
    if _is_complete(out, settings):
        return
    with folder_lock.locked(out):
        _draw_all(out, settings)


def _draw_all(out: Path, settings: Settings) -> None:
    images, size, seed = settings.images, settings.size, settings.seed
    folder_lock.sweep(out)
    counts = {split: max(int(images * share), 1) for split, share in SHARES.items()}
    progress, done = Progress(sum(counts.values()), "drawing scenes"), 0
    for split, count in counts.items():
        coco: dict[str, list] = {"images": [], "annotations": [], "categories": []}
        drawn = set()
        for index in range(count):
            scene = draw(split, index, size=size, seed=seed)
            name = f"{index:06d}.jpg"
            folder = out / split / (scene.classes[0] if split.startswith("classification") else "")
            save_jpeg(folder / name, scene.image)
            drawn.add(folder / name)
            coco["images"].append({"id": index + 1, "file_name": name, "height": size, "width": size})
            for mask, class_name in zip(scene.masks, scene.classes, strict=True):
                number, category = len(coco["annotations"]) + 1, CLASSES.index(class_name) + 1
                coco["annotations"].append(annotation(mask, number=number, image=index + 1, category=category))
            progress.update(done := done + 1)
        _remove_others(out / split, drawn)
        if split.startswith("detection"):
            coco["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
            write_json(out / f"{split}.json", coco)
    _contact_sheet(out / "contact_sheet.png", size=size, seed=seed, count=min(counts["detection/val"], 24))
    write_json(out / MARKER, asdict(settings))


def _is_complete(out: Path, settings: Settings) -> bool:
    """Whether the set is there. Raises UserError for another set, and for a folder that holds anything else."""
    marker = out / MARKER
    if marker.is_file():
        found = read_json(marker, remedy="delete it, and the same command draws the set again")
        if found != asdict(settings):
            raise UserError(f"{out} holds scenes drawn with {found}, not {asdict(settings)}; choose another folder")
        return True
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    foreign = [name for name in names if name not in PARTS and not (name[0] == "." and name.endswith(".tmp"))]
    if foreign:
        raise UserError(f"{out} is not a folder of scenes (it holds {foreign[0]!r}); choose an empty or new one")
    return False


def _remove_others(folder: Path, kept: set[Path]) -> None:
    """Remove the images of a larger set that was begun in the same folder and never finished."""
    for path in folder.rglob("*.jpg"):
        if path.stem.isdecimal() and path not in kept:
            path.unlink()


def save_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an RGB image; quality 95 keeps the edges of the shapes where the masks say they are."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error


def _contact_sheet(path: Path, *, size: int, seed: int, count: int) -> None:
    scale = max(1, 192 // size)
    tiles = [drawing.outlined(draw("detection/val", i, size=size, seed=seed), scale=scale) for i in range(count)]
    columns = min(6, count)
    tiles += [np.full_like(tiles[0], 255)] * (-count % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes())
