"""The training loop, in `train`: views -> embeddings -> terms -> step; and the state of a run around it."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pretrain import backbones, config, methods
from pretrain.checkpoints import checkpoint
from pretrain.checkpoints.retention import Checkpoints
from pretrain.config import TrainConfig
from pretrain.data import datasets, views
from pretrain.data.device_copy import on_device
from pretrain.monitoring import rank_monitor, reconstructions
from pretrain.monitoring.data_wait import DataClock
from pretrain.monitoring.health import Watch, embedding_rank
from pretrain.monitoring.information import information
from pretrain.monitoring.late_reads import LossCheck, StopVote
from pretrain.monitoring.rank_monitor import RankMonitor
from pretrain.networks import batch_norm, compiled
from pretrain.optimisation import optimizers
from runtime import distributed, folder_lock
from runtime.command_line import UserError
from runtime.cores import loader_workers
from runtime.jsonl_log import Log
from runtime.precision import AUTO, autocast, check_precision, chosen
from runtime.progress import Progress
from runtime.provenance import commit
from runtime.run_guard import RunGuard
from runtime.settings import flat
from runtime.stopping import StopRequest

SETTLED = 20
"""Steps after which the waiting for data is no longer that of the start."""

UNTRAINED_BATCHES = 44
"""Batches that an untrained network takes its batch statistics from: at momentum 0.1, 1% of their start remains."""

STATE = {"model", "optimizer", "step", "torch_rng", "unreadable"}
"""What of a run changes from step to step, in checkpoint.pth."""

# Settings that may change when a run is resumed: they do not touch its result.
FREE = (
    "settings.device",
    "settings.data.workers",
    "settings.method.recompute",
    "settings.data.stage",
    "settings.data.max_unreadable",
    *(f"settings.log.{field.name}" for field in fields(config.LogConfig)),
)


def build(name: str, settings: TrainConfig, device: torch.device) -> nn.Module:
    """The network of a method around a fresh backbone, BN over all ranks, on its device; seeded.

    Raises UserError for bf16 on a GPU without it.
    """
    check_precision(settings.precision, device)
    if settings.compile:
        compiled.check(device)
    method = methods.load(name).Method
    torch.manual_seed(settings.seed)
    trunk = backbones.build(settings.backbone, side=settings.views.size)
    network = method(trunk, settings.method)
    network = batch_norm.synchronise(network, device)
    return network.to(device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]


def embed(
    network: nn.Module, batch: datasets.Batch, settings: TrainConfig, device: torch.device, *, labelled: bool
) -> methods.Embeddings:
    """The views of this rank -> Embeddings of the global batch, float32, with gradients; and its labels if asked.

    A network that draws random numbers has a ``prepare``: of the uint8 views and the keys of their images, it makes
    what its forward takes, views and other tensors. So what is drawn stays outside of what is compiled.
    """
    batch = batch.to(device)
    mean, std = views.NORMALISATIONS[settings.views.normalisation]
    prepare = getattr(getattr(network, "module", network), "prepare", None)
    seen, *drawn = prepare(batch.finished_views(), batch.keys) if prepare else (batch.finished_views(),)
    inputs = [views.normalise(view, mean, std) for view in seen]
    with autocast(settings.precision, device):
        local = network(inputs, *drawn)
    online, target = (tuple(distributed.gather(z) for z in branch) for branch in local[:2])
    return methods.Embeddings(online, target, distributed.gather(batch.labels) if labelled else None)


@torch.no_grad()
def measure_statistics(
    network: nn.Module, source: datasets.ImageFolder | datasets.Cifar, settings: TrainConfig, device: torch.device
) -> None:
    """Give an untrained network the batch statistics of its images' views, which training would have left in it."""
    progress = Progress(UNTRAINED_BATCHES, "batch statistics", quiet=not distributed.is_main())
    loader = datasets.batches(source, settings, total_steps=UNTRAINED_BATCHES, start=0, device=device)
    for number, batch in enumerate(loader, start=1):
        if batch.fault:
            raise UserError(batch.fault)
        embed(network, batch, settings, device, labelled=False)
        progress.update(number)


def check_classes(network: nn.Module, source: datasets.ImageFolder | datasets.Cifar) -> None:
    """Raise UserError if the images are not sorted into the classes that the network learns."""
    wanted, found = network.classes, len(source.classes)
    if wanted != found:
        raise UserError(
            f"method.classes={wanted}, but data.root has {found} (folders right below it that hold all images); "
            f"{f'give method.classes={found}' if found else 'sort the images into one folder per class'}"
        )


class Run:
    """The state of a run: network, optimiser, steps done; saved to and restored from its folder."""

    def __init__(
        self, network: Any, settings: TrainConfig, folder: Path, *, name: str, recipe: str, images: dict[str, Any]
    ):
        self.images = images
        self.network, self.settings, self.folder = network, settings, folder
        self.device = next(network.parameters()).device
        self.optimizer = optimizers.build(self.network, settings.optim)
        self.step, self.unreadable = 0, set()
        self.about = {"method": name, "recipe": recipe, "variant": settings.variant}
        self.about |= {"epochs": settings.epochs, "seed": settings.seed}
        self.about |= {"commit": commit(), "config": asdict(settings)}
        log = settings.log
        self.checkpoints = Checkpoints(folder, keep_last=log.keep_last, keep_every=log.keep_every)
        if saved := self.checkpoints.read():
            self._restore(saved)
        self.parallel: Any = network
        if settings.compile:
            self.parallel = compiled.Compiled(network)
        elif distributed.world_size() > 1:
            # Buffers need no broadcast: synchronised BN keeps them equal on all ranks.
            self.parallel = DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)

    def is_due(self, total: int) -> bool:
        """Whether this step ends with a checkpoint."""
        regular = self.step % self.settings.log.checkpoint_every == 0 or self.step == total
        return regular or self.checkpoints.due(self.step)

    def save(self) -> None:
        """Write checkpoint.pth (the first rank does). Raises UserError where the folder was removed meanwhile."""
        if distributed.is_main():
            folder_lock.check_held(self.folder)
            state = {"model": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
            state |= {**random_states(self.device), "unreadable": sorted(self.unreadable)}
            state |= {"images": self.images}
            self.checkpoints.save({"format": checkpoint.CHECKPOINT, **self.about, **state})

    def finish(self, source: datasets.ImageFolder | datasets.Cifar) -> None:
        """Write backbone.pth, after what a masked auto-encoder makes of its images; say what could not be read."""
        if not distributed.is_main():
            return
        if methods.masks_patches(str(self.about["method"])):
            reconstructions.write(self.folder, self.network, source, self.settings)
        path = self.folder / "backbone.pth"
        mean, std = views.NORMALISATIONS[self.settings.views.normalisation]
        checkpoint.export_backbone(path, self.network.backbone, about=self.about, mean=mean, std=std)
        self.checkpoints.finish()
        if self.unreadable:
            print(f"{len(self.unreadable)} unreadable images were skipped (named above)", file=sys.stderr)
        print(f"pretrained: {path}")

    def note_unreadable(self, names: list[str], images: int) -> None:
        """Name images met for the first time that could not be read. Raises UserError above the allowed share."""
        for name in set(names) - self.unreadable:
            self.unreadable.add(name)
            print(f"unreadable, skipped: {Path(self.settings.data.root, name)}", file=sys.stderr)
        most = self.settings.data.max_unreadable
        if len(self.unreadable) > most * images:
            raise UserError(
                f"{len(self.unreadable)} of {images} images are unreadable (first: {min(self.unreadable)}), more than "
                f"data.max_unreadable={most}; repair the data set or raise the limit"
            )

    def _restore(self, saved: dict) -> None:
        if saved.get("format") != checkpoint.CHECKPOINT or not saved.keys() >= STATE:
            raise UserError(f"the checkpoint in {self.folder} is not one of this suite; choose another --out")
        self.network.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.unreadable = saved["step"], set(saved["unreadable"])
        set_random_states(saved, self.device)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """What the random numbers of the host, and on a GPU its own (stochastic depth draws there), go on from."""
    states = {"torch_rng": torch.get_rng_state()}
    return states | ({"device_rng": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """The inverse; a GPU whose state is not among them, because the run was on none, begins with that of the seed."""
    torch.set_rng_state(states["torch_rng"])
    if device.type == "cuda" and "device_rng" in states:
        torch.cuda.set_rng_state(states["device_rng"], device)


class StepLogger:
    """What the run tells while it goes: log.jsonl, TensorBoard, a line with an ETA; and the watch over its health."""

    def __init__(self, state: Run, total: int, warmup: int, probe: RankMonitor | None, clock: DataClock):
        log, self.probe, self.clock, self.advised = state.settings.log, probe, clock, False
        self.state, self.total, self.warmup = state, total, warmup
        self.watch = Watch(collapse_rank=log.collapse_rank, patience=log.collapse_patience)
        self.log = Log(state.folder, step=state.step) if distributed.is_main() else None
        self.progress = Progress(total, f"pretrain {state.about['method']}", start=state.step, quiet=self.log is None)
        self.began, self.first = time.monotonic(), state.step

    def is_due(self) -> bool:
        """Whether the step just done is one to log."""
        return self.state.step % self.state.settings.log.every == 0 or self.state.step >= self.total

    def write(self, terms: dict[str, Tensor], embeddings: methods.Embeddings, lr: float) -> None:
        """Log the step just done. Raises UserError for a collapse."""
        step, settings = self.state.step, self.state.settings
        values = {name: term.item() for name, term in terms.items()}
        rank, loss = embedding_rank(embeddings.online[0]), sum(values.values())
        if step > self.warmup:
            self.watch.check_rank(rank, step)
        if self.probe and step % settings.log.probe_every == 0:
            values |= self.probe(self.state.network.backbone, embeddings.online[0].device, settings.precision)
        speed = (step - self.first) * settings.batch_size / (time.monotonic() - self.began)
        values |= {"effective_rank": rank, "matrix_entropy": math.log(rank), "lr": lr, "images_per_s": speed}
        note, limit = f"loss {loss:.3f}, rank {rank:.1f}, lr {lr:.2g}, {speed:.0f} img/s", ""
        if speeds := self.clock.speeds():
            values |= speeds.logged()
            note += f", waits for data {speeds.wait:.0%}"
            limit = self.clock.advice(backend=settings.views.backend, device=embeddings.online[0].device.type)
        if self.log:
            masked = methods.masks_patches(str(self.state.about["method"]))  # then the rest is errors, no second view
            values |= information(embeddings.online[:1] if masked else embeddings.online)
            self.log.write(step, values)
        self.progress.update(step, note, limit)
        if speeds and speeds.loader_limits and self.log and not self.advised and self.clock.steps >= SETTLED:
            self.advised = True
            print(f"note: {limit}", file=sys.stderr)


def train(
    name: str, recipe: str, settings: TrainConfig, folder: Path, *, claim: Callable[[TrainConfig, dict], None]
) -> int:
    """Train (or go on training) in ``folder``; returns the exit code.

    ``claim`` makes the folder that of a run with these settings and the identity of these images, once all else is
    known to be right. Raises UserError for what the user can put right.
    """
    device = distributed.init(settings.device)
    settings = replace(settings, precision=chosen(settings.precision, device))
    source = datasets.images(settings.data)
    per_epoch = steps_per_epoch(len(source), settings)
    total, warmup = per_epoch * settings.epochs, round(per_epoch * settings.optim.warmup_epochs)
    network = build(name, settings, device)
    if labelled := methods.learns_from_labels(name):
        check_classes(network, source)
    claim(settings, source.identity)
    source.map(folder)
    stop = StopRequest()
    state = Run(network, settings, folder, name=name, recipe=recipe, images=source.identity)
    if distributed.is_main():
        print(f"views by {settings.views.backend}, {settings.data.workers} loader processes a rank", file=sys.stderr)
    if not total:
        measure_statistics(network, source, settings, device)
    loader = datasets.batches(source, settings, total_steps=total, start=state.step, device=device)
    batches = DataClock(loader, images=settings.batch_size, workers=settings.data.workers)
    logger = StepLogger(state, total, warmup, rank_monitor.from_settings(settings, source), batches)
    stop_vote, loss_check = StopVote(), LossCheck()
    peak = optimizers.peak_lr(settings.optim, settings.batch_size)
    for batch in on_device(batches, device):
        if batch.fault:
            raise UserError(batch.fault)
        state.note_unreadable(batch.unreadable, len(source))
        lr = optimizers.lr_at(state.step, settings.optim, peak=peak, warmup_steps=warmup, total_steps=total)
        optimizers.set_lr(state.optimizer, lr, peak=peak)
        embeddings = embed(state.parallel, batch, settings, device, labelled=labelled)
        terms = state.network.loss_terms(embeddings)
        loss_check.note(terms, state.step + 1)
        state.optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
        state.optimizer.step()
        state.step += 1
        state.network.after_step(state.step / total)
        if logger.is_due():
            loss_check.check()
            logger.write(terms, embeddings, lr)
        interrupted = stop_vote(stop.signal is not None, state.step, device)
        if interrupted or state.is_due(total):
            loss_check.check()
            state.save()
        if interrupted and state.step < total:
            if distributed.is_main():
                print(f"stopped at step {state.step} of {total}; the same command goes on from there", file=sys.stderr)
            return stop.exit_code
    state.finish(source)
    return 0


def steps_per_epoch(count: int, settings: TrainConfig) -> int:
    """Full batches in ``count`` images. Raises UserError where batch, processes and images do not fit together."""
    world, batch = distributed.world_size(), settings.batch_size
    if batch % world or batch // world < 2:
        raise UserError(
            f"batch_size={batch} cannot be shared by {world} processes; "
            f"it must be a multiple of {world} with at least 2 images each (batch norm and regularisers need two)"
        )
    if count < batch:
        raise UserError(f"batch_size={batch} is more than the {count} images of {settings.data.root}; lower it")
    return count // batch


BACKEND = "settings.views.backend"


def resolved(settings: TrainConfig) -> TrainConfig:
    """The settings with what they leave to the machine: what makes the views, and how many processes load them."""
    device = distributed.device_type(settings.device)
    backend, workers = views.backend_of(settings.views, device), loader_workers(settings.data.workers, device)
    return replace(
        settings, views=replace(settings.views, backend=backend), data=replace(settings.data, workers=workers)
    )


def guard_of(folder: Path, name: str, images: dict[str, Any] | None = None) -> RunGuard:
    """The guard of a pretraining run's folder. Where the ``images`` are known, their place may change.

    A run that never came as far as a checkpoint has no claim: the corrected command may use its folder.
    """
    defaults = flat({"settings": asdict(config.defaults(name))})
    return RunGuard(
        folder=folder,
        file="config.yaml",
        outputs=("checkpoint.pth", "checkpoints/step-*.pth", "backbone.pth"),
        exclusive=True,
        free=FREE,
        defaults={**defaults, BACKEND: "torchvision", **flat({"images": images or {}})},  # before there was a choice
        chosen=(BACKEND,),
        instead={"settings.data.root": "images.sha256"},
        recover=lambda: Checkpoints(folder).identity(),
    )


def is_complete(folder: Path) -> bool:
    """Whether there is a backbone.pth that can be read; a damaged one is said, and made again from the checkpoint."""
    path = folder / "backbone.pth"
    try:
        if not path.exists():
            return False
        checkpoint.read_backbone(path)
    except OSError as error:  # a name that is too long
        raise UserError(f"cannot use {folder}: {error.strerror}; choose another --out") from error
    except UserError as fault:
        print(f"{fault}; it is written again", file=sys.stderr)
        return False
    return True


def clean(folder: Path, settings: TrainConfig) -> None:
    """Remove what a process that was killed at the very end left: temporary files, checkpoints that need not stay."""
    checkpoints = Checkpoints(folder, keep_every=settings.log.keep_every)
    if checkpoints.stale() or folder_lock.litter(folder):
        with suppress(UserError), folder_lock.locked(folder):  # a folder that cannot be written stays as it is
            checkpoints.finish()
            folder_lock.sweep(folder)


def run(name: str, recipe: str, settings: TrainConfig, folder: Path) -> int:
    """Train in ``folder``, or return at once where all is done; returns the exit code, and leaves the process group.

    Raises UserError if the folder is another run's, or in use by another process.
    """
    chooses, settings = settings.views.backend == "auto", resolved(settings)

    def identity(settings: TrainConfig) -> dict[str, Any]:
        return {"method": name, "recipe": recipe, "settings": asdict(settings)}

    guard = guard_of(folder, name)
    try:
        if settings.precision == AUTO:
            settings = replace(settings, precision=guard.began_with("settings.precision") or AUTO)
        if is_complete(folder):
            (replace(guard, free=(*FREE, BACKEND)) if chooses else guard).check(identity(settings))
            clean(folder, settings)
            print(f"done already: {folder / 'backbone.pth'}")
            return 0

        def claim(settings: TrainConfig, images: dict[str, Any]) -> None:
            guard_of(folder, name, images).claim(identity(settings) | {"images": images})

        return train(name, recipe, settings, folder, claim=claim)
    finally:
        distributed.shutdown()
