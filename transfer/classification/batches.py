"""What a classifier is trained on: random crops of labelled images, or features that were extracted once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pretrain.data.datasets import StepSampler
from runtime import distributed
from runtime.command_line import UserError
from runtime.cores import loader_workers
from runtime.precision import autocast
from runtime.progress import Progress
from runtime.stopping import RESUME_ME, Stopped, StopRequest
from transfer.backbones.frozen import Backbone
from transfer.classification.crops import (
    AugmentedCrop,
    CentreCrops,
    RandomCrop,
    RandomCrops,
    centre_batches,
    random_batches,
)
from transfer.classification.labelled_images import Images
from transfer.classification.settings import TrainingSettings

VALIDATED = 100
"""Validation images in a batch."""


def centre_crops(images: Images, settings: TrainingSettings) -> CentreCrops:
    """The central crops of images, as the validation images are seen."""
    return CentreCrops(
        images,
        size=settings.size,
        resize=settings.resize,
        interpolation=settings.interpolation,
        crops=settings.crops,
    )


def check_stop(stop: StopRequest, device: torch.device) -> None:
    """Raise Stopped, on every rank, if any was asked to stop: a vote in which all must meet."""
    if distributed.any_rank(stop.signal is not None, device):
        raise Stopped(stop.exit_code if stop.signal is not None else RESUME_ME)


@torch.no_grad()
def features(
    trunk: Backbone,
    crops: CentreCrops,
    *,
    device: torch.device,
    workers: int,
    precision: str = "fp32",
    stop: StopRequest | None = None,
) -> tuple[Tensor, Tensor]:
    """Features (n, d), float32, and labels (n,) of every image, in order; each rank computes its share of them.

    Raises UserError for features that are not finite, and Stopped after a batch where ``stop`` asks for it.
    """
    order = distributed.shard(len(crops))
    progress = Progress(len(order), "features", quiet=not distributed.is_main())
    rows, labels = [], []
    workers = loader_workers(workers, device.type)
    for pixels, targets in centre_batches(crops, order, batch_size=100, workers=workers):
        with autocast(precision, device):
            rows.append(trunk.network(trunk.inputs(pixels.to(device, non_blocking=True))).float())
        labels.append(targets.to(device))
        progress.update(sum(map(len, rows)))
        if stop:
            check_stop(stop, device)
    found, targets = (distributed.gather_shards(torch.cat(parts), len(crops)) for parts in (rows, labels))
    if bad := (~torch.isfinite(found).all(1)).nonzero().flatten().tolist():
        first = crops.images.names[bad[0]]
        raise UserError(
            f"{trunk.weights} gives {len(bad)} of {len(crops)} images features that are not finite, first {first}; "
            f"look at its weights, or use fp32"
        )
    return found, targets


class SharedBatches:
    """The batches of one loader for several readers, which keep pace with each other: each batch is made once.

    Args:
        make: the batches from a number on.
        count: how many there are; the loader's processes end with the last.
    """

    def __init__(self, make: Callable[[int], Iterator], count: int):
        self.make, self.count = make, count
        self.number, self.latest, self.rest = -1, None, iter(())

    def __getitem__(self, number: int) -> Any:
        if number != self.number:
            if number != self.number + 1 or number == 0:
                self.rest = self.make(number)
            self.number, self.latest = number, next(self.rest)
            if number == self.count - 1:
                next(self.rest, None)
        return self.latest


class Crops:
    """(uint8 pixels (b, 3, H, W), labels (b,)): this rank's share of every training step, and of the validation images.

    Pixels and order depend on (seed, step) alone.

    Args:
        crop: of the training images; None: a plain one.
    """

    def __init__(
        self,
        train: Images,
        val: Images,
        settings: TrainingSettings,
        *,
        seed: int,
        crop: RandomCrop | AugmentedCrop | None = None,
    ):
        crop = crop or RandomCrop(
            size=settings.size,
            min_scale=settings.min_scale,
            interpolation=settings.interpolation,
            crops=settings.crops,
        )
        crops = RandomCrops(train, crop, size=settings.size, seed=seed)
        centres = centre_crops(val, settings)
        order, workers, batch = distributed.shard(len(val)), settings.workers, settings.batch_size
        total = len(train) // batch * settings.epochs

        def training(start: int) -> Iterator:
            sampler = StepSampler(len(train), batch_size=batch, total_steps=total, seed=seed, start=start)
            return random_batches(crops, sampler, workers=workers)

        def validation(start: int) -> Iterator:
            return centre_batches(centres, order[start * VALIDATED :], batch_size=VALIDATED, workers=workers)

        self.training = SharedBatches(training, total)
        self.validation = SharedBatches(validation, -(-len(order) // VALIDATED))


class CropFeatures:
    """The features of `Crops`, on the device, for classifiers that keep pace: the backbone sees each batch once.

    Args:
        extract: uint8 pixels (b, 3, H, W) to features (b, d), without gradients.
    """

    def __init__(self, crops: Crops, extract: Callable[[Tensor], Tensor], device: torch.device):
        def seen(batches: SharedBatches) -> SharedBatches:
            def make(start: int) -> Iterator:
                for number in range(start, batches.count):
                    pixels, labels = batches[number]
                    yield extract(pixels.to(device, non_blocking=True)), labels.to(device, non_blocking=True)

            return SharedBatches(make, batches.count)

        self.training, self.validation = seen(crops.training), seen(crops.validation)


class CropData:
    """Batches (uint8 images (b, 3, H, W), labels (b,)) on the device; a new crop of every image in every epoch.

    Args:
        crops: those of other backbones that keep pace with this one, or their features for classifiers that do.
    """

    def __init__(
        self,
        train: Images,
        val: Images,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        crops: Crops | CropFeatures | None = None,
    ):
        self.crops = crops or Crops(train, val, settings, seed=seed)
        self.device = device
        self.count, self.val_count = len(train), len(val)

    def training(self, *, start: int, total_steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of every batch from step ``start`` on."""
        return (self._moved(self.crops.training[step]) for step in range(start, total_steps))

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of the validation images."""
        return (self._moved(self.crops.validation[number]) for number in range(self.crops.validation.count))

    def _moved(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        pixels, labels = (part.to(self.device, non_blocking=True) for part in batch)
        return pixels, labels


class FeatureData:
    """Batches (features (b, d), labels (b,)): the central crop of every image, seen once by the frozen backbone."""

    def __init__(
        self,
        train: Images,
        val: Images,
        trunk: Backbone,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        stop: StopRequest | None = None,
    ):
        how: dict[str, Any] = {
            "stop": stop,
            "device": device,
            "workers": settings.workers,
            "precision": settings.precision,
        }
        self.rows, self.val_rows = (features(trunk, centre_crops(images, settings), **how) for images in (train, val))
        self.settings, self.seed = settings, seed
        self.count, self.val_count = len(train), len(val)

    def training(self, *, start: int, total_steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        sampler = StepSampler(
            self.count, batch_size=self.settings.batch_size, total_steps=total_steps, seed=self.seed, start=start
        )
        for keys in sampler:
            indices = [index for _, index in keys]
            yield self.rows[0][indices], self.rows[1][indices]

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.tensor(distributed.shard(self.val_count)).split(1000):
            yield self.val_rows[0][part], self.val_rows[1][part]
