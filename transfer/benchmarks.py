"""The downstream data sets, one ``Benchmark`` entry each. Any COCO-format set works by four paths, with no entry."""

import os
from dataclasses import dataclass
from pathlib import Path

from pretrain.command_line import UserError, one_of


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where a COCO-format data set keeps its files, below a root folder."""

    name: str
    train_json: str
    train_images: str
    val_json: str
    val_images: str
    environment: str = ""
    """The variable that names the folder above the root; empty where ``default_root`` is used."""
    below: str = ""
    """The root's name in that folder."""
    default_root: str = ""


BENCHMARKS = [
    Benchmark(
        name="coco_2017",
        train_json="annotations/instances_train2017.json",
        train_images="train2017",
        val_json="annotations/instances_val2017.json",
        val_images="val2017",
        environment="DETECTRON2_DATASETS",
        below="coco",
    ),
    Benchmark(
        name="scenes",
        train_json="detection/train.json",
        train_images="detection/train",
        val_json="detection/val.json",
        val_images="detection/val",
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


def locate(name: str, *, root: str | None, paths: dict[str, str | None]) -> Paths:
    """Find the files of benchmark ``name``.

    Args:
        name: one of ``available()``, or any name if all four ``paths`` are given.
        root: the data set's folder, if it is not where the benchmark says.
        paths: ``train_json``, ``train_images``, ``val_json``, ``val_images``; all of them or none.

    Raises UserError for an unknown name, some but not all paths, an unset variable, and a missing file or folder.
    """
    given = [key for key, value in paths.items() if value]
    if given and len(given) < 4:
        lacking = ", ".join("--" + key.replace("_", "-") for key in paths if key not in given)
        raise UserError(f"a data set by paths needs all four of them; {lacking} not given")
    if given:
        if name in available() or root:
            raise UserError(f"the four paths need a --benchmark name of their own, not {name!r}, and no --data")
        found = Paths(
            name,
            Split(Path(paths["train_json"]), Path(paths["train_images"])),
            Split(Path(paths["val_json"]), Path(paths["val_images"])),
        )
    else:
        found = _named(one_of("benchmark", name, available()), root)
    for split in (found.train, found.val):
        for path in (split.json, split.images):
            if not path.exists():
                raise UserError(f"benchmark {name}: {path} does not exist; give the data set's folder with --data")
    return found


def _named(name: str, root: str | None) -> Paths:
    entry = next(benchmark for benchmark in BENCHMARKS if benchmark.name == name)
    if root:
        folder = Path(root)
    elif entry.environment:
        parent = os.environ.get(entry.environment)
        if not parent:
            raise UserError(
                f"benchmark {name}: set {entry.environment} to the folder that holds {entry.below}/{entry.val_json} "
                f"and {entry.below}/{entry.val_images}/, or give --data"
            )
        folder = Path(parent) / entry.below
    else:
        folder = Path(entry.default_root)
    return Paths(
        name,
        Split(folder / entry.train_json, folder / entry.train_images),
        Split(folder / entry.val_json, folder / entry.val_images),
    )
