"""The downstream data sets, one ``Benchmark`` entry each. Any COCO-format set works by four paths, with no entry.

Sets in another layout (Pascal VOC, Cityscapes, LVIS) and parts of a set become a COCO json in the user's cache.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import UserError, one_of
from transfer.datasets import coco_json, subset
from transfer.datasets.coco_cache import derive
from transfer.datasets.layouts import LAYOUTS

DATASETS = "DETECTRON2_DATASETS"

PATHS = ("train_json", "train_images", "val_json", "val_images")
"""What a data set without an entry here needs."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where a data set keeps its files, below a root folder."""

    name: str
    train_labels: tuple[str, ...]
    """What holds the labels: a COCO json, or the files and folders that its layout names."""
    train_images: str
    """The folder that image names are relative to."""
    val_labels: tuple[str, ...]
    val_images: str
    layout: str = "coco"
    """``coco``, or one of ``transfer.datasets.layouts.LAYOUTS``."""
    fraction: float = 1.0
    """Part of the training images that is used, as ``transfer.datasets.subset`` chooses it."""
    environment: str = DATASETS
    """The variable that names the folder above the root; empty where ``default_root`` is used."""
    below: str = ""
    """The root's name in that folder; empty if it is that folder."""
    default_root: str = ""

    def tree(self, below: str = "") -> str:
        """What the root must hold, in one line; what the folder above it must hold if ``below`` is the root's name."""
        places = [*self.train_labels, self.train_images, *self.val_labels, self.val_images]
        return ", ".join(str(Path(below) / place) for place in dict.fromkeys(places) if place)


def _coco(name: str, labels: str, **changes) -> Benchmark:
    return Benchmark(
        name=name,
        train_labels=(f"annotations/{labels}_train2017.json",),
        train_images="train2017",
        val_labels=(f"annotations/{labels}_val2017.json",),
        val_images="val2017",
        below="coco",
        **changes,
    )


BENCHMARKS = [
    _coco("coco_2017", "instances"),
    _coco("coco_2017_10pct", "instances", fraction=0.1),
    _coco("coco_2017_1pct", "instances", fraction=0.01),
    _coco("coco_2017_keypoints", "person_keypoints"),
    Benchmark(
        name="voc_2007_2012",
        layout="voc",
        train_labels=("VOC2007/ImageSets/Main/trainval.txt", "VOC2012/ImageSets/Main/trainval.txt"),
        train_images="",
        val_labels=("VOC2007/ImageSets/Main/test.txt",),
        val_images="",
    ),
    Benchmark(
        name="cityscapes",
        layout="cityscapes",
        train_labels=("gtFine/train",),
        train_images="leftImg8bit",
        val_labels=("gtFine/val",),
        val_images="leftImg8bit",
        below="cityscapes",
    ),
    Benchmark(
        name="lvis_v1",
        layout="lvis",
        train_labels=("lvis/lvis_v1_train.json",),
        train_images="coco",
        val_labels=("lvis/lvis_v1_val.json",),
        val_images="coco",
    ),
    Benchmark(
        name="scenes",
        train_labels=("detection/train.json",),
        train_images="detection/train",
        val_labels=("detection/val.json",),
        val_images="detection/val",
        environment="",
        default_root="runs/data/scenes",
    ),
]


@dataclass(frozen=True)
class Split:
    """One half of a data set: its COCO json and the folder its image names are relative to."""

    json: Path
    images: Path


@dataclass(frozen=True)
class Paths:
    """A benchmark found on this machine."""

    name: str
    train: Split
    val: Split


def available() -> list[str]:
    """The benchmarks that have a name."""
    return [benchmark.name for benchmark in BENCHMARKS]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which data set is meant: --benchmark, --data, and the four paths of one's own."""
    names = ", ".join(available())
    parser.add_argument("--benchmark", required=True, metavar="B", help=f"{names}, or a name for your four paths")
    parser.add_argument("--data", metavar="ROOT", help="the benchmark's folder, if it is not in its usual place")
    for key in PATHS:
        kind = "COCO json" if key.endswith("json") else "image folder"
        parser.add_argument("--" + key.replace("_", "-"), metavar="PATH", help=f"{kind} of your own data set")


def given_paths(options: argparse.Namespace) -> dict[str, str | None]:
    """The four paths of `add_options`, None for those that are not given."""
    return {key: getattr(options, key) for key in PATHS}


def check_options(options: argparse.Namespace) -> None:
    """Raise UserError for options of `add_options` that do not fit together, without looking at any file."""
    check_names(options.benchmark, root=options.data, paths=given_paths(options))


def check_names(name: str, *, root: str | None, paths: dict[str, str | None]) -> None:
    """Raise UserError for an unknown name without four paths, some but not all paths, and a name that is taken."""
    given = [key for key, value in paths.items() if value]
    if not given:
        one_of("benchmark", name, available())
    elif len(given) < len(paths):
        lacking = ", ".join("--" + key.replace("_", "-") for key in paths if key not in given)
        raise UserError(f"a data set by paths needs all four of them; {lacking} not given")
    elif name in available() or root:
        raise UserError(f"the four paths need a --benchmark name of their own, not {name!r}, and no --data")


def locate(name: str, *, root: str | None, paths: dict[str, str | None]) -> Paths:
    """Find the files of benchmark ``name``; what is not in COCO's format is converted once.

    Args:
        name: one of ``available()``, or any name if all four ``paths`` are given.
        root: the data set's folder, if it is not where the benchmark says.
        paths: ``train_json``, ``train_images``, ``val_json``, ``val_images``; all of them or none.

    Raises UserError for an unknown name, some but not all paths, an unset variable, and a missing file or folder.
    """
    check_names(name, root=root, paths=paths)
    own = {key: Path(path) for key, path in paths.items() if path}
    if not own:
        return _named(name, root)
    for key, path in own.items():
        if not path.exists():
            raise UserError(f"benchmark {name}: {path} does not exist; correct the path")
        if key.endswith("json") == path.is_dir():
            kind = "a COCO json" if key.endswith("json") else "a folder of images"
            raise UserError(f"--{key.replace('_', '-')} {path} must be {kind}; correct the path")
    return Paths(name, Split(own["train_json"], own["train_images"]), Split(own["val_json"], own["val_images"]))


def _named(name: str, root: str | None) -> Paths:
    entry = next(benchmark for benchmark in BENCHMARKS if benchmark.name == name)
    folder = _root(entry, root)
    labels = {"train": entry.train_labels, "val": entry.val_labels}
    images = {"train": folder / entry.train_images, "val": folder / entry.val_images}
    for path in [*(folder / place for places in labels.values() for place in places), *images.values()]:
        if not path.exists():
            raise UserError(
                f"benchmark {name}: {path} does not exist; give the data set's folder with --data (it holds "
                f"{entry.tree()})"
            )
    halves = {
        half: Split(_json(entry, half, [folder / place for place in labels[half]]), images[half]) for half in labels
    }
    return Paths(name, halves["train"], halves["val"])


def _root(entry: Benchmark, root: str | None) -> Path:
    if root:
        return Path(root)
    if not entry.environment:
        return Path(entry.default_root)
    parent = os.environ.get(entry.environment)
    if not parent:
        raise UserError(
            f"benchmark {entry.name}: set {entry.environment} to the folder that holds {entry.tree(entry.below)}; "
            f"or give {entry.below or 'that folder'} itself with --data"
        )
    return Path(parent) / entry.below


def _json(entry: Benchmark, half: str, labels: list[Path]) -> Path:
    """The COCO json of one half: the file itself, or the one in the cache."""
    name = f"{entry.name}-{half}"
    if entry.layout != "coco":
        layout = LAYOUTS[entry.layout]
        return derive(name, layout.sources(labels), lambda: layout.read(labels), metric=layout.metric)
    if entry.fraction < 1 and half == "train":
        return derive(name, labels, lambda: _fraction(labels[0], entry.fraction))
    return labels[0]


def _fraction(path: Path, fraction: float) -> dict:
    content = coco_json.read(path)
    try:
        return subset.split(content, fraction, salt=subset.LABELS)[0]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has entries that lack {error}; transfer/check_data.py lists them") from error
