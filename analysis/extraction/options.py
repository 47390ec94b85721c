"""Which images, cropped how, features are made of: options that several commands share. No torch here."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.config import DATASET_FORMATS as FORMATS
from runtime.command_line import Faults, UserError, one_of
from runtime.cores import AUTO_WORKERS
from transfer.backbones import LAYERS
from transfer.classification.settings import CROPS, CROPS_HELP, faults_of_crop

SPLITS = ("train", "test")
"""Of CIFAR."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Where images are and how each becomes a square."""

    data: Path
    """Class folders, any tree, or CIFAR's unpacked archive."""
    format: str = "folder"
    split: str = "test"
    labels: Path | None = None
    """A CSV of lines name,class, in place of class folders."""
    size: int = 224
    """Side of the crop, pixels."""
    resize: int = 256
    """Short side before the crop, pixels."""
    crops: str = "cv2"
    """What makes the crop: ``cv2`` or ``torchvision``."""

    @property
    def crop(self) -> dict[str, Any]:
        """How an image becomes a square: of a `CentreCrop`."""
        return {"size": self.size, "resize": self.resize, "crops": self.crops}

    @property
    def settings(self) -> dict[str, Any]:
        """Which images became squares how, as a feature file records it."""
        return {"format": self.format, "split": self.split, **self.crop}

    @property
    def default_benchmark(self) -> str:
        """The name of the data set where the user gives none: the folder's, or CIFAR's."""
        return self.format if self.format != "folder" else self.data.resolve().name


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser ``--data``, ``--format`` and the others that `image_options` reads, and ``--device``."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="class folders, any tree of images, or CIFAR")
    parser.add_argument("--images", type=Path, dest="data", help=argparse.SUPPRESS)
    parser.add_argument("--layer", default="backbone", help=f"{', '.join(LAYERS)} (default %(default)s)")
    parser.add_argument("--format", default="folder", help=f"of DIR: {', '.join(FORMATS)} (default %(default)s)")
    parser.add_argument("--split", default="test", help="of CIFAR: train or test (default %(default)s)")
    parser.add_argument("--size", type=int, help="side of the crop, pixels (default 224; CIFAR 32)")
    parser.add_argument("--resize", type=int, help="short side before the crop (default size * 8 / 7; CIFAR 32)")
    parser.add_argument("--crops", choices=CROPS, default="cv2", help=CROPS_HELP)
    workers = "loader processes per rank; -1 (default): by the job's cores"
    parser.add_argument("--workers", type=int, default=AUTO_WORKERS, help=workers)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default %(default)s)")


def image_options(arguments: argparse.Namespace) -> ImageOptions:
    """The options of a command line, with the sizes that were left out. Raises UserError for what cannot be."""
    if arguments.data is None:
        raise UserError("--data is required: class folders, any tree of images, or CIFAR's unpacked archive")
    one_of("layer", arguments.layer, LAYERS)
    one_of("format", arguments.format, FORMATS)
    one_of("device", arguments.device, ("auto", "cpu", "cuda"))
    cifar = arguments.format != "folder"
    if cifar:
        one_of("split", arguments.split, SPLITS)
    labels = getattr(arguments, "labels", None)
    if cifar and labels:
        raise UserError(f"{arguments.format} brings its own labels; leave out --labels")
    sizes = {"size": arguments.size, "resize": arguments.resize}
    if small := [f"--{name} must be at least 1, got {value}" for name, value in sizes.items() if (value or 1) < 1]:
        raise UserError.of(small)
    if arguments.workers < AUTO_WORKERS:
        raise UserError(f"--workers must be -1 (by the cores), 0 or more, got {arguments.workers}")
    size = arguments.size or (32 if cifar else 224)
    resize = arguments.resize or (size if cifar else round(size * 8 / 7))
    Faults(faults_of_crop(size, resize)).check()
    return ImageOptions(
        data=arguments.data,
        format=arguments.format,
        split=arguments.split,
        labels=labels,
        size=size,
        resize=resize,
        crops=arguments.crops,
    )
