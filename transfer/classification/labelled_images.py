"""Labelled images to classify: ImageNet's layout (train/CLASS/, val/CLASS/), CIFAR-10, CIFAR-100, the drawn scenes."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pretrain.data.datasets import Cifar, ImageFolder
from pretrain.data.walk import check_class_folders
from runtime.command_line import UserError

CIFAR = ("cifar10", "cifar100")
SCENES = Path("runs/data/scenes")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled images in a fixed order."""

    source: ImageFolder | Cifar
    """What opens the image of a number."""
    numbers: list[int]
    """The number of each image in ``source``."""
    names: list[str]
    """CLASS/FILE, or the number for CIFAR; unlike for every image."""
    labels: list[int]
    """Index of each image's class in ``classes``."""
    classes: list[str]
    where: str
    """The folder, for messages."""

    def __len__(self) -> int:
        return len(self.numbers)

    def pixels(self, index: int) -> np.ndarray:
        """An image as (H, W, 3), uint8."""
        return self.source.pixels(self.numbers[index])

    def subset(self, indices: list[int]) -> "Images":
        """Some of the images, in the order of ``indices``; the classes stay."""
        parts = {key: [getattr(self, key)[i] for i in indices] for key in ("numbers", "names", "labels")}
        return replace(self, **parts)

    def fingerprint(self) -> str:
        """SHA-256 of the names and classes, not of the pixels: it tells another set, or an image that went missing."""
        lines = (f"{name} {self.classes[label]}\n" for name, label in zip(self.names, self.labels, strict=True))
        return hashlib.sha256(encoded("".join(lines))).hexdigest()


def encoded(names: str) -> bytes:
    """File names as the file system has them, which need not be UTF-8."""
    return names.encode(errors="surrogateescape")


def load(benchmark: str, root: str | Path | None) -> tuple[Images, Images]:
    """The training and the validation images of a benchmark.

    Args:
        benchmark: ``cifar10``, ``cifar100``, ``scenes``, or the name of a set in ImageNet's layout.
        root: the folder that holds train/ and val/; for CIFAR the one that holds cifar-10-batches-py or
            cifar-100-python; may be left out for ``scenes``.

    Raises UserError where a folder is missing, where images lie outside class folders, and where the two halves do
    not have the same classes, at least two.
    """
    if root is None and benchmark != "scenes":
        raise UserError(f"benchmark {benchmark}: give the folder of its images with --data")
    if benchmark in CIFAR:
        train, val = (_cifar(benchmark, root, train=wanted) for wanted in (True, False))  # pyright: ignore[reportArgumentType]
    else:
        folder = Path(root or SCENES)
        if benchmark == "scenes" and (folder / "classification").is_dir():
            folder = folder / "classification"
        train, val = (_folder(folder / part) for part in ("train", "val"))
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise UserError(f"{train.where} and {val.where} must hold the same classes; {odd[0]!r} is only in one")
    if len(train.classes) < 2:
        raise UserError(f"{train.where} holds one class, {train.classes[0]!r}; classification needs two or more")
    return train, val


def _folder(root: Path) -> Images:
    source = ImageFolder(root)
    names = [source.name(index) for index in range(len(source))]
    if stray := [name for name in names if "/" not in name]:
        raise UserError(f"{root} holds images outside class folders, the first {stray[0]}; expected {root}/CLASS/IMAGE")
    classes = sorted({name.partition("/")[0] for name in names})
    check_class_folders(root, classes)
    number = {name: index for index, name in enumerate(classes)}
    labels = [number[name.partition("/")[0]] for name in names]
    return Images(
        source=source, numbers=list(range(len(names))), names=names, labels=labels, classes=classes, where=str(root)
    )


def _cifar(benchmark: str, root: str | Path, *, train: bool) -> Images:
    source = Cifar(root, benchmark, train=train)
    count = len(source.labels)
    where = f"{root} ({benchmark}, {'train' if train else 'test'})"
    return Images(
        source=source,
        numbers=list(range(count)),
        names=[f"{number:05d}" for number in range(count)],
        labels=list(source.labels),
        classes=list(source.classes),
        where=where,
    )
