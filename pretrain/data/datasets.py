"""Images in an order that is a function of (seed, step), so that a resumed run sees what it would have seen."""

import contextlib
import hashlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pretrain.config import DataConfig, TrainConfig
from pretrain.data import shards, staging, views
from pretrain.data.backends import batched
from pretrain.data.decode import UnreadableImage, read_pixels
from pretrain.data.image_index import FILE, ImageIndex
from pretrain.data.walk import image_index
from runtime import distributed, parent_watch, stopping
from runtime.command_line import UserError
from runtime.cores import loader_workers


class Batch(NamedTuple):
    """What one rank sees in one step."""

    views: list[Tensor]
    """(b, 3, H, W) uint8 each, channels_last."""
    labels: Tensor
    """(b,) class numbers, NO_LABEL where the images have no classes."""
    unreadable: list[str]
    """Images that could not be read, and for which the next one stands in."""
    operations: list[batched.Operations] | None = None
    """What is still to be done to each view on the training device; None: nothing."""
    seconds: float = 0.0
    """What it took one loader process to make this batch."""
    fault: str = ""
    """Why the run cannot go on; the rest is empty then."""
    keys: Tensor | None = None
    """(b, 3) seed, epoch and index of each image, from which its views are drawn, and its masks."""

    def to(self, device: torch.device) -> "Batch":
        """The same with its tensors on ``device``, without waiting for it."""
        views = [view.to(device, non_blocking=True) for view in self.views]
        todo = self.operations and [operations.to(device) for operations in self.operations]
        return self._replace(views=views, labels=self.labels.to(device, non_blocking=True), operations=todo)

    def tensors(self) -> list[Tensor]:
        """All that are in it."""
        return [
            *self.views,
            self.labels,
            *(tensor for operations in self.operations or () for tensor in operations[:3]),
        ]

    def finished_views(self) -> list[Tensor]:
        """The views with all operations done to them, uint8; they are overwritten."""
        if self.operations is None:
            return self.views
        return [batched.apply(view, todo) for view, todo in zip(self.views, self.operations, strict=True)]


class ImageFolder:
    """Every image below a folder, or of the pack that `pretrain/pack.py` made of one, in sorted order.

    Every process makes it: the first one lists the folder for all. Images are opened when they are asked for. The
    folders right below the root are the classes, as in ImageNet; a root that holds images itself has none.

    Args:
        root: the folder.
        stage: a folder on each node's own disk to which a pack is copied first; empty: none.
    """

    def __init__(self, root: str | Path, *, stage: str = ""):
        self.root, self.shards = Path(root), None
        found = distributed.from_main(self._looked_at)
        if not self.root.is_dir():  # on this node: the first rank may be on another
            raise UserError(f"no folder of images at {root}; give an existing one")
        if isinstance(found, str):
            copied = distributed.on_every_rank(lambda: staging.staged(self.root, stage)) if stage else self.root
            self.shards = shards.Shards(copied)
            if self.shards.checksum != found:
                raise UserError(
                    f"{root} is another pack on {socket.gethostname()} than on the first node; copy it anew"
                )
        elif stage:
            raise UserError(
                f"data.stage copies packed images, {root} holds files; pack it: pretrain/pack.py {root} OUT"
            )
        else:
            self.listed = found

    def _looked_at(self) -> ImageIndex | str:
        """The index of a folder; of a pack its checksum, because each process maps the index itself."""
        return shards.check(self.root) if shards.is_packed(self.root) else image_index(self.root)

    @property
    def index(self) -> ImageIndex:
        return self.shards.index if self.shards else self.listed

    @property
    def classes(self) -> list[str]:
        return self.index.classes

    @property
    def labels(self) -> np.ndarray:
        """(n,) class numbers, NO_LABEL where there are no classes."""
        return self.index.labels

    @property
    def identity(self) -> dict:
        return self.index.identity

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels(index))

    def pixels(self, index: int) -> np.ndarray:
        """The same as an array (H, W, 3), uint8."""
        return read_pixels(*self._file(index))

    def name(self, index: int) -> str:
        """Relative to the root; the same in a tree and in its pack."""
        return self.index.name(index)

    def map(self, folder: Path) -> None:
        """Have the index in memory once a node: all processes map a file in ``folder``, which the first one writes.

        The file is a copy of what the first process has listed, or it is not used. That of a pack is mapped already.
        """
        if self.shards:
            return
        path = folder / FILE
        distributed.from_main(lambda: self.listed.write(path))
        with contextlib.suppress(UserError):  # a node whose file system does not show it yet keeps its own
            mapped = ImageIndex.read(path)
            if mapped.identity == self.identity:
                self.listed = mapped

    def _file(self, index: int) -> tuple[str, bytes | None]:
        """What to call an image in messages, and its bytes where they are not in a file of their own."""
        if self.shards:
            return self.shards.member(index), self.shards.read(index)
        return os.path.join(self.root, self.index.name(index)), None


class Cifar:
    """CIFAR-10's or CIFAR-100's training or test images from a local folder, checked against their published MD5."""

    def __init__(self, root: str | Path, format: str, *, train: bool = True):
        from torchvision import datasets

        part = "train" if train else "test"
        kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[format]
        try:
            published = kind(str(root), train=train, download=False)
            self.images, self.labels, self.classes = published.data, published.targets, published.classes
        except RuntimeError as error:
            folder = Path(root) / kind.base_folder
            raise UserError(
                f"no complete {format} at {folder} (missing or altered files); unpack the archive"
            ) from error
        self.identity = {
            "count": len(self.images),
            "classes": len(self.classes),
            "sha256": hashlib.sha256(f"{format} {part}".encode()).hexdigest(),
        }

    def map(self, folder: Path) -> None:
        """Nothing: the archive is checked against its published MD5 at every start."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def pixels(self, index: int) -> np.ndarray:
        return self.images[index]

    def name(self, index: int) -> str:
        return f"image {index}"


def images(config: DataConfig) -> ImageFolder | Cifar:
    """The training images a config names. Every process calls this."""
    if config.format == "folder":
        return ImageFolder(config.root, stage=config.stage)
    return Cifar(config.root, config.format)


class StepSampler(Sampler):
    """Yields, step after step, this rank's share [(epoch, index), ...] of the global batch, beginning at any step.

    Each epoch is a permutation drawn from (seed, epoch); the incomplete last batch is left out. Concatenating the
    ranks' shares in rank order gives the same global batch for any number of ranks.
    """

    def __init__(self, count: int, *, batch_size: int, total_steps: int, seed: int, start: int = 0):
        self.count, self.batch_size, self.total_steps = count, batch_size, total_steps
        self.seed, self.start = seed, start
        self.steps_per_epoch = count // batch_size
        self.share = batch_size // distributed.world_size()

    def __len__(self) -> int:
        return self.total_steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, drawn = np.empty(0, int), -1
        for step in range(self.start, self.total_steps):
            epoch, within = divmod(step, self.steps_per_epoch)
            if epoch != drawn:
                order, drawn = np.random.default_rng([self.seed, epoch]).permutation(self.count), epoch
            first = within * self.batch_size + distributed.rank() * self.share
            yield [(epoch, int(index)) for index in order[first : first + self.share]]


class ViewsDataset(Dataset):
    """(epoch, index) -> the image's views, its label, and the images that could not be read on the way to one."""

    def __init__(self, source: ImageFolder | Cifar, augment: "views.Augment | views.ParameterViews", seed: int):
        self.source, self.augment, self.seed = source, augment, seed
        on_arrays = isinstance(augment, views.ParameterViews) and augment.backend != "pil"
        self.read = source.pixels if on_arrays else source.__getitem__

    def __getitem__(self, key: tuple[int, int]) -> tuple[Sequence, int, list[str]]:
        epoch, index = key
        unreadable = []
        for offset in range(len(self.source)):
            here = (index + offset) % len(self.source)  # the next readable image stands in, the same on every run
            try:
                image = self.read(here)
            except shards.DamagedShard:  # what was packed could be read, or was named then
                raise
            except UnreadableImage:
                unreadable.append(self.source.name(here))
                continue
            return self.augment(image, (self.seed, epoch, index)), int(self.source.labels[here]), unreadable  # pyright: ignore[reportArgumentType]
        raise UserError(f"not one of the {len(self.source)} images can be read (first: {unreadable[0]})")


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Images (3, H, W) -> (b, 3, H, W) in channels_last, as the backends make them and networks want them."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _collate(samples: list) -> Batch:
    views, labels, unreadable = zip(*samples, strict=True)
    batch = [stacked(view) for view in zip(*views, strict=True)]
    return Batch(batch, torch.tensor(labels), [name for names in unreadable for name in names])


class _CollateParameters:
    """Collates views with their parameters; those of crops become the operations that are still to be done."""

    def __init__(self, crops_only: bool):
        self.crops_only = crops_only

    def __call__(self, samples: list) -> Batch:
        made, labels, unreadable = zip(*samples, strict=True)
        batch = _collate(
            [([x for x, _ in views], *rest) for views, *rest in zip(made, labels, unreadable, strict=True)]
        )
        if not self.crops_only:
            return batch
        columns = zip(*made, strict=True)
        return batch._replace(operations=[batched.operations([p for _, p in column]) for column in columns])


class _Batches(Dataset):
    """Keys of a batch -> the `Batch`, with the time that it took; the sampler's lists are asked for as a whole."""

    def __init__(self, views: ViewsDataset, collate: Callable[[list], Batch]):
        self.views, self.collate = views, collate

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch:
        began = time.monotonic()
        try:
            batch = self.collate([self.views[key] for key in keys])
        except UserError as error:  # raised here, it would arrive with a traceback in its message
            return Batch([], torch.empty(0, dtype=torch.long), [], fault=str(error))
        drawn_from = torch.tensor([(self.views.seed, *key) for key in keys])
        return batch._replace(seconds=time.monotonic() - began, keys=drawn_from)


def _as_it_is(batch: Any) -> Any:
    return batch


def begin_worker(worker: int) -> None:
    """What each loader process does first: one thread, no answer to signals, no life without its parent."""
    parent_watch.end_with_parent()
    torch.set_num_threads(1)
    # A scheduler signals every process of a job. The training process answers: it saves, then ends its loaders.
    for number in stopping.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def batches(
    source: ImageFolder | Cifar, settings: TrainConfig, *, total_steps: int, start: int, device: torch.device
) -> DataLoader:
    """A loader of this rank's `Batch`es from step ``start`` on. ``settings`` is a run's TrainConfig."""
    sampler = StepSampler(
        len(source), batch_size=settings.batch_size, total_steps=total_steps, seed=settings.seed, start=start
    )
    recipe, backend = views.random_views(settings.views), views.backend_of(settings.views, device.type)
    augment = views.Augment(recipe) if backend == "torchvision" else views.ParameterViews(recipe, backend)
    collate = _collate if isinstance(augment, views.Augment) else _CollateParameters(augment.crops_only)
    return DataLoader(
        _Batches(ViewsDataset(source, augment, settings.seed), collate),
        batch_sampler=sampler,
        num_workers=loader_workers(settings.data.workers, device.type),
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=begin_worker,
        # Its seed of the processes, which none uses, would otherwise come from the run's own random numbers: one draw
        # more at each start.
        generator=torch.Generator(),
    )
