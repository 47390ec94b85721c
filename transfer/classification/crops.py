"""Labelled images as crops: random ones to train on, a function of (seed, epoch, index); the central one to test on."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pretrain.data import datasets, views
from pretrain.data.datasets import StepSampler
from pretrain.data.decode import UnreadableImage
from runtime.command_line import UserError
from transfer.classification.labelled_images import Images


class RandomCrops(Dataset):
    """(epoch, index) -> a random resized crop, flipped half of the time: (uint8 (3, size, size), label, fault)."""

    def __init__(self, images: Images, *, size: int, min_scale: float, seed: int):
        plain: dict[str, Any] = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0}
        self.augment = views.Augment((views.View(size=size, scale=(min_scale, 1.0), **plain),))
        self.images, self.size, self.seed = images, size, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int, str]:
        epoch, index = key
        prepare = lambda image: self.augment(image, (self.seed, epoch, index))[0]  # noqa: E731
        return _sample(self.images, index, prepare, self.size)


class CentreCrops(Dataset):
    """index -> the centre of the image, its short side at ``resize`` pixels: (uint8 (3, size, size), label, fault)."""

    def __init__(self, images: Images, *, size: int, resize: int):
        self.prepare = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size), v2.PILToTensor()])
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


def random_batches(crops: RandomCrops, sampler: StepSampler, *, workers: int) -> Iterator:
    """(uint8 (b, 3, H, W), labels (b,)) of this rank, step after step as ``sampler`` says."""
    loader = DataLoader(
        crops,
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=datasets.begin_worker,
        pin_memory=torch.cuda.is_available(),
    )
    return _readable(loader, crops.images)


def _readable(loader: Iterable, images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels, labels, faults in loader:
        if broken := [name for name in faults if name]:
            raise UserError(f"{images.where}: {broken[0]} cannot be read; a labelled set must be whole")
        yield pixels, labels
