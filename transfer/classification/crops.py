"""Labelled images as crops: random ones to train on, a function of (seed, epoch, index); the central one to test on."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from pretrain.data import datasets, views
from pretrain.data.datasets import StepSampler
from pretrain.data.decode import UnreadableImage
from runtime.command_line import UserError
from transfer.classification import random_state
from transfer.classification.labelled_images import Images

IN_PART = 1024
"""Images that a loader process makes at once and keeps two of: a batch of 16384 in one piece is 2.5 GB."""


class RandomCrops(Dataset):
    """(epoch, index) -> a random resized crop, flipped half of the time: (uint8 (3, size, size), label, fault)."""

    def __init__(self, images: Images, *, size: int, min_scale: float, seed: int, interpolation: str = "bilinear"):
        plain: dict[str, Any] = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0}
        plain["interpolation"] = interpolation
        self.augment = views.Augment((views.View(size=size, scale=(min_scale, 1.0), **plain),))
        self.images, self.size, self.seed = images, size, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, str]:
        epoch, index = key
        prepare = lambda image: self.augment(image, (self.seed, epoch, index))[0]  # noqa: E731
        return _sample(self.images, index, prepare, self.size)


class AugmentedCrops(RandomCrops):
    """As `RandomCrops`, then timm's RandAugment: timm's own training transform.

    Args:
        augment: RandAugment in timm's words; empty: none.
        mean: of the red, green and blue channel, which fills what an operation leaves empty.
    """

    def __init__(
        self,
        images: Images,
        *,
        size: int,
        min_scale: float,
        seed: int,
        interpolation: str,
        augment: str,
        mean: tuple[float, ...],
    ):
        from timm.data import create_transform  # timm takes seconds to import

        self.images, self.size, self.seed = images, size, seed
        self.transform: Any = create_transform(
            size,
            is_training=True,
            scale=(min_scale, 1.0),
            color_jitter=None,  # pyright: ignore[reportArgumentType]
            auto_augment=augment or None,
            interpolation=interpolation,
            mean=mean,
            normalize=False,
        )

    def augment(self, image: Image.Image, key: tuple[int, ...]) -> tuple[Tensor]:
        """The crop (3, size, size), uint8, a function of the image and ``key``."""
        with random_state.drawn_from(*key):
            return (self.transform(image),)


class CentreCrops(Dataset):
    """index -> the centre of the image, its short side at ``resize`` pixels: (uint8 (3, size, size), label, fault)."""

    def __init__(self, images: Images, *, size: int, resize: int, interpolation: str = "bilinear"):
        shorter = v2.Resize(resize, interpolation=views.INTERPOLATIONS[interpolation], antialias=True)
        self.prepare = v2.Compose([shorter, v2.CenterCrop(size), v2.PILToTensor()])
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        return _sample(self.images, index, self.prepare, self.size)


def _sample(images: Images, index: int, prepare, size: int) -> tuple[Tensor, int, str]:
    """A worker's exception arrives as a traceback of many lines; the name of the image arrives as it is."""
    try:
        return prepare(images[index]), images.labels[index], ""
    except UnreadableImage:
        return torch.zeros(3, size, size, dtype=torch.uint8), images.labels[index], images.names[index]


def centre_batches(crops: CentreCrops, order: list[int], *, batch_size: int, workers: int) -> Iterator:
    """(uint8 (b, 3, H, W), labels (b,)) of the images in ``order``."""
    loader = DataLoader(
        crops,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        worker_init_fn=datasets.begin_worker,
        pin_memory=torch.cuda.is_available(),
    )
    return _readable(loader, crops.images)


class Parts(Sampler):
    """The batches of this rank in parts of at most ``IN_PART`` images, ``per_batch`` of them each."""

    def __init__(self, batches: StepSampler):
        self.batches, self.per_batch = batches, -(-batches.share // IN_PART)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for keys in self.batches:
            yield from (keys[first : first + IN_PART] for first in range(0, len(keys), IN_PART))


def random_batches(crops: RandomCrops, sampler: StepSampler, *, workers: int) -> Iterator:
    """(uint8 (b, 3, H, W), labels (b,)) of this rank, step after step as ``sampler`` says."""
    parts = Parts(sampler)
    loader = DataLoader(
        crops,
        batch_sampler=parts,
        num_workers=workers,
        worker_init_fn=datasets.begin_worker,
        pin_memory=torch.cuda.is_available(),
    )
    made = _readable(loader, crops.images)
    while of_batch := list(itertools.islice(made, parts.per_batch)):
        yield of_batch[0] if len(of_batch) == 1 else tuple(map(torch.cat, zip(*of_batch, strict=True)))


def _readable(loader: Iterable, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels, labels, faults in loader:
        if broken := [name for name in faults if name]:
            raise UserError(f"{images.where}: {broken[0]} cannot be read; a labelled set must be whole")
        yield pixels, labels
