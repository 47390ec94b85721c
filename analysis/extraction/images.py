"""Images to look at a representation with: class folders, any tree, a CSV of labels, or CIFAR; always in one order."""

import csv
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.data import datasets
from pretrain.data.decode import UnreadableImage
from pretrain.data.image_index import NO_LABEL
from pretrain.data.walk import check_class_folders
from runtime.command_line import UserError
from runtime.read import read_text
from transfer.classification.crops import CentreCrop

SPLITS = {"train", "val", "test"}


class Folder:
    """The images below ``root`` or of the pack there: DIR/CLASS/... gives each its class, images at the top have none.

    ``csv_file`` (lines ``name,class``, names relative to ``root``) gives the classes instead.
    """

    def __init__(self, root: Path, csv_file: Path | None = None):
        self.source = datasets.ImageFolder(root)
        self.names = [self.source.name(index) for index in range(len(self.source))]
        if csv_file:
            classes = _read_labels(csv_file, self.names, root)
        else:
            classes = [name.split("/")[0] if "/" in name else None for name in self.names]
        labelled = None not in classes
        self.classes = sorted({name for name in classes if name is not None}) if labelled else []
        if set(self.classes) and not csv_file and set(self.classes) <= SPLITS:
            raise UserError(f"{root} holds the splits {', '.join(self.classes)}; give one of them: {root}/<split>")
        if self.classes and not csv_file:
            check_class_folders(root, self.classes)
        index = {name: i for i, name in enumerate(self.classes)}
        self.labels = [NO_LABEL if name is None or not labelled else index[name] for name in classes]

    def pixels(self, index: int) -> np.ndarray:
        """An image as (H, W, 3), uint8."""
        return self.source.pixels(index)


class Cifar(datasets.Cifar):
    """CIFAR-10's or CIFAR-100's images of a split (train or test), from the published archive, unpacked."""

    def __init__(self, root: Path, format: str, split: str):
        super().__init__(root, format, train=split == "train")
        self.names = [f"{split}/{i:05d}" for i in range(len(self))]


def open_images(root: Path, format: str, *, split: str = "test", labels: Path | None = None) -> Folder | Cifar:
    """The images of ``--data`` in their fixed order, with ``names``, ``labels`` and ``classes``."""
    if format == "folder":
        return Folder(root, labels)
    return Cifar(root, format, split)


class Prepared(Dataset):
    """index -> (uint8 (3, size, size), views (V, 3, size, size), fault): the whole image cropped, and its random views.

    ``fault`` says why an image cannot be read; it is empty for one that can.
    """

    def __init__(self, images: Folder | Cifar, places: list[int], crop: CentreCrop, *, augment=None):
        self.images, self.places, self.crop, self.augment = images, places, crop, augment

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        place = self.places[index]
        try:
            pixels = self.images.pixels(place)
        except UnreadableImage as error:  # raised in a worker it would arrive with a traceback in its message
            count = self.augment.count if self.augment else 0
            blank = torch.zeros(3, self.crop.size, self.crop.size, dtype=torch.uint8)
            return blank, blank.new_zeros(count, *blank.shape) if count else blank.new_empty(0), str(error)
        crop = self.crop(pixels)
        return crop, self.augment(Image.fromarray(pixels), place) if self.augment else crop.new_empty(0), ""


class RandomViews:
    """``count`` views of an image from the recipe of a run, the same for the same (seed, image)."""

    def __init__(self, augment, count: int, seed: int):
        self.augment, self.count, self.seed = augment, count, seed

    def __call__(self, image: Image.Image, place: int) -> Tensor:
        made: list[Tensor] = []
        while len(made) < self.count:
            made += self.augment(image, (self.seed, place, len(made)))
        return torch.stack(made[: self.count])


def _read_labels(path: Path, names: list[str], root: Path) -> list[str]:
    try:
        rows = [
            row for row in csv.reader(io.StringIO(read_text(path, remedy="give a file of labels"), newline="")) if row
        ]
    except csv.Error as error:
        raise UserError(f"cannot read the labels {path}: {error}") from error
    if faulty := [i for i, row in enumerate(rows, start=1) if len(row) != 2]:
        raise UserError(f"{path}, line {faulty[0]}: expected name,class")
    table: dict[str, str] = {}
    for number, (name, value) in enumerate(((name.strip(), value.strip()) for name, value in rows), start=1):
        if not value or table.setdefault(name, value) != value:
            fault = f"{name} has two classes, {table[name]} and {value}" if value else f"{name} has no class"
            raise UserError(f"{path}, line {number}: {fault}; give one line name,class for each image")
    without = [name for name in names if name not in table]
    unknown = sorted(table.keys() - set(names) - {"name"})  # a heading may stand at the top
    if without or unknown:
        first = f"{without[0]} has no label" if without else f"{unknown[0]} is no image there"
        raise UserError(
            f"{path} does not match {root}: {len(without)} images without a label, {len(unknown)} labels without an "
            f"image ({first}); names are relative to {root}"
        )
    return [table[name] for name in names]
