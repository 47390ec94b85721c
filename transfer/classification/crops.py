"""Labelled images as crops: random ones to train on, a function of (seed, epoch, index); the central one to test on."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from pretrain.data import datasets, views
from pretrain.data.backends import opencv
from pretrain.data.datasets import StepSampler
from pretrain.data.decode import UnreadableImage
from runtime.command_line import UserError
from transfer.classification import random_state
from transfer.classification.labelled_images import Images

IN_PART = 1024
"""Images that a loader process makes at once and keeps two of: a batch of 16384 in one piece is 2.5 GB."""


class RandomCrop:
    """Pixels (H, W, 3), uint8, and (seed, epoch, index) -> a random resized crop (3, size, size), half of them flipped.

    Args:
        crops: ``cv2`` or ``torchvision``, see `TrainingSettings`. They draw differently.
    """

    def __init__(self, *, size: int, min_scale: float, interpolation: str = "bilinear", crops: str = "cv2"):
        plain: dict[str, Any] = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0}
        view = (views.View(size=size, scale=(min_scale, 1.0), interpolation=interpolation, **plain),)
        self.views = views.Augment(view) if crops == "torchvision" else views.ParameterViews(view, crops)

    def __call__(self, pixels: np.ndarray, key: tuple[int, int, int]) -> Tensor:
        if isinstance(self.views, views.Augment):
            return self.views(Image.fromarray(pixels), key)[0]
        return self.views(pixels, key)[0][0]


class AugmentedCrop:
    """As `RandomCrop`, then RandAugment: timm's own training transform.

    Args:
        augment: RandAugment in timm's words; empty: none.
        mean: of the red, green and blue channel, which fills what an operation leaves empty.
    """

    def __init__(self, *, size: int, min_scale: float, interpolation: str, augment: str, mean: tuple[float, ...]):
        from timm.data import create_transform  # timm takes seconds to import

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

    def __call__(self, pixels: np.ndarray, key: tuple[int, int, int]) -> Tensor:
        with random_state.drawn_from(*key):
            return self.transform(Image.fromarray(pixels))


class CentreCrop:
    """Pixels (H, W, 3), uint8 -> the centre of the image, its short side at ``resize`` pixels: (3, size, size).

    Args:
        crops: ``cv2`` or ``torchvision``, see `TrainingSettings`. A pixel of one differs from the other's by rounding.
    """

    def __init__(self, *, size: int, resize: int, interpolation: str = "bilinear", crops: str = "cv2"):
        self.size, self.resize, self.interpolation, self.crops = size, resize, interpolation, crops
        shorter = v2.Resize(resize, interpolation=views.INTERPOLATIONS[interpolation], antialias=True)
        self.transform = v2.Compose([shorter, v2.CenterCrop(size), v2.PILToTensor()])

    def __call__(self, pixels: np.ndarray) -> Tensor:
        if self.crops == "torchvision":
            return self.transform(Image.fromarray(pixels))
        crop = opencv.centre(pixels, size=self.size, resize=self.resize, interpolation=self.interpolation)
        return torch.from_numpy(crop).permute(2, 0, 1)


class RandomCrops(Dataset):
    """(epoch, index) -> a crop of the image to train on: (uint8 (3, size, size), label, fault).

    Args:
        crop: of pixels (H, W, 3) and (seed, epoch, index).
    """

    def __init__(self, images: Images, crop: RandomCrop | AugmentedCrop, *, size: int, seed: int):
        self.images, self.crop, self.size, self.seed = images, crop, size, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, str]:
        epoch, index = key
        return _sample(self.images, index, lambda pixels: self.crop(pixels, (self.seed, epoch, index)), self.size)


class CentreCrops(Dataset):
    """index -> the central crop of the image: (uint8 (3, size, size), label, fault)."""

    def __init__(self, images: Images, *, size: int, **how: Any):
        self.images, self.size, self.crop = images, size, CentreCrop(size=size, **how)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        return _sample(self.images, index, self.crop, self.size)


def _sample(images: Images, index: int, crop: Callable[[np.ndarray], Tensor], size: int) -> tuple[Tensor, int, str]:
    """A worker's exception arrives as a traceback of many lines; the name of the image arrives as it is."""
    try:
        return crop(images.pixels(index)), images.labels[index], ""
    except UnreadableImage:
        return torch.zeros(3, size, size, dtype=torch.uint8), images.labels[index], images.names[index]


def _collate(samples: list[tuple[Tensor, int, str]]) -> tuple[Tensor, Tensor, list[str]]:
    pixels, labels, faults = zip(*samples, strict=True)
    return datasets.stacked(pixels), torch.tensor(labels), list(faults)


def centre_batches(crops: CentreCrops, order: list[int], *, batch_size: int, workers: int) -> Iterator:
    """(uint8 (b, 3, H, W), labels (b,)) of the images in ``order``."""
    loader = DataLoader(
        crops,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=_collate,
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
        collate_fn=_collate,
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
