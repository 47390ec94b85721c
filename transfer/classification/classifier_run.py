"""What the command lines of linear and semi-supervised classification share, from arguments to result.json."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pretrain.checkpoints import checkpoint
from runtime import distributed, results
from runtime.cores import loader_workers
from runtime.files import write_text
from runtime.precision import chosen
from runtime.provenance import commit
from runtime.results import Record
from runtime.stopping import Stopped, StopRequest
from transfer.backbones import RANDOM, frozen
from transfer.classification import labelled_images
from transfer.classification.batches import CropData, Crops, FeatureData
from transfer.classification.classifier import Classifier
from transfer.classification.classifier_protocol import INCIDENTAL, Settings
from transfer.classification.crops import CentreCrops
from transfer.classification.labelled_images import Images
from transfer.classification.run_guard import claim, guard_of, is_complete
from transfer.classification.trainer import Training, run_together, steps_per_epoch

CLASSIFIER = "ssl-transfer-bench/classifier/1"


class ClassifierRun:
    """One run: a backbone, labelled images, settings, a folder.

    Args:
        changed: the settings that differ from the protocol's.
        version: of the protocol.
        label: the protocol's name in the records.
        weights: a backbone.pth, or ``random``.
        images: training and validation images, where they are known.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        changed: dict,
        version: int,
        label: str,
        weights: str,
        benchmark: str,
        data: str | None,
        out: Path,
        seed: int,
        images: tuple[Images, Images] | None = None,
    ):
        self.version, self.label = version, label
        self.weights, self.benchmark, self.out, self.seed = weights, benchmark, out, seed
        self.device = distributed.init(settings.device)
        begun = guard_of(out).began_with("precision")
        workers = loader_workers(settings.workers, self.device.type)
        precision = chosen(settings.precision, self.device, begun=begun)
        self.settings = replace(settings, precision=precision, workers=workers)
        self.changed = {key: getattr(self.settings, key) for key in changed}
        untrained = {"name": settings.network, "side": settings.size}
        self.trunk = frozen.load(weights, seed=seed, features=settings.features, **untrained)
        self.train, self.val = images or labelled_images.load(benchmark, data)
        if self.trunk.stem == "cifar" and settings.size > 64 and distributed.is_main():
            advice = (
                f"at size={settings.size} it is slow and far from what it saw; size=32 resize=32 keep CIFAR's pixels"
            )
            print(f"note: {weights} has a CIFAR stem; {advice}", file=sys.stderr)

    def identity(self) -> dict:
        """Everything that decides the outcome, as flat plain values."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in INCIDENTAL}
        return {
            "protocol": self.label,
            "benchmark": self.benchmark,
            "seed": self.seed,
            "weights_sha256": self.trunk.about["weights_sha256"],
            "train_sha256": self.train.fingerprint(),
            "val_sha256": self.val.fingerprint(),
            **settings,
        }

    def claim(self) -> bool:
        """Take the folder. False if this very run has been completed in it; UserError if it is another run's."""
        steps_per_epoch(len(self.train), self.settings)  # refuses before the folder is taken
        claim(self.out, self.identity())
        return not is_complete(self.out)

    def run(self, *, cached: bool = False, **context) -> None:
        """Train, or go on, to the end, on crops or on ``cached`` features; ``context`` is what else the result should
        say."""
        training = self.training(cached=cached)
        training.run()
        self.finish(training, **context)

    def training(self, *, cached: bool = False, **shared) -> Training:
        """The training that is to be run; ``shared``: the crops and the request to stop of runs that go with it."""
        settings, self.began = self.settings, time.monotonic()
        trunk = replace(self.trunk, network=self.trunk.network.to(self.device, memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]
        if self.weights == RANDOM:
            crops = CentreCrops(
                self.train, size=settings.size, resize=settings.resize, interpolation=settings.interpolation
            )
            how = {"seed": self.seed, "device": self.device, "prepare": trunk.inputs}
            frozen.measure_statistics(trunk.network, crops, **how)
        stop, of = shared.pop("stop", None), {"seed": self.seed, "device": self.device}
        if cached:
            data, network = FeatureData(self.train, self.val, trunk, settings, **of), self.classifier(nn.Identity())
        else:
            data = CropData(self.train, self.val, settings, **of, **shared)
            network = self.classifier(trunk.network, prepare=trunk.inputs)
        return Training(network, data, settings, self.out, label=self.label, stop=stop)

    def classifier(self, below: nn.Module, **how: Any) -> Classifier:
        """The untrained classifier on ``below``, which gives the backbone's features."""
        classes = len(self.val.classes)
        return Classifier(below, self.trunk.width, classes, self.settings, seed=self.seed, **how).to(self.device)

    def finish(self, training: Training, **context) -> None:
        """Write what the finished training gave (the first rank does)."""
        if distributed.is_main():
            self.write(training, training.history, wall_s=round(time.monotonic() - self.began, 1), **context)

    def write(self, training: Training, history: list[dict], **context) -> None:
        """Write the classifier, the log and, last of all, result.json; then the checkpoint has served."""
        about = {**self.trunk.about, "benchmark": self.benchmark, "protocol": self.label}
        about |= {"seed": self.seed, "commit": commit()}
        weights = {name: value.detach().cpu().clone() for name, value in training.network.trained().items()}
        content = {"format": CLASSIFIER, **about, "classes": self.val.classes, "state_dict": weights}
        checkpoint.save(self.out / "classifier.pth", content)
        write_text(self.out / "log.jsonl", "".join(json.dumps(epoch) + "\n" for epoch in history))
        last, best = history[-1], max((e for e in history if "top1" in e), key=lambda epoch: epoch["top1"])
        metrics = {key: last[key] for key in ("top1", "top5") if key in last} | {"top1-best": best["top1"]}
        records = [
            Record(task="classification", metric=metric, value=value, n=len(self.val), **about)
            for metric, value in metrics.items()
        ]
        results.write(
            self.out / "result.json",
            records,
            **context,
            reported=f"top1 and top5 of the last epoch; top1-best is of epoch {best['epoch']}",
            settings=asdict(self.settings),
            protocol_version=self.version,
            changed_from_protocol=self.changed,
            train_images=len(self.train),
            train_sha256=self.train.fingerprint(),
            val_sha256=self.val.fingerprint(),
            features_of=self.trunk.features,
            bn_statistics="measured" if self.weights == RANDOM else "stored",
            precision=self.settings.precision,
            processes=distributed.world_size(),
            device=self.device.type,
            torch=torch.__version__,
            history=history,
        )
        training.file.unlink()
        print("  ".join(f"{name} {value:.1f}%" for name, value in metrics.items()) + f" of {len(self.val)} images")
        print(self.out / "result.json")


def run_all(runs: Sequence[ClassifierRun]) -> None:
    """Train every run that is not complete, all on the same crops: one loader feeds their backbones.

    They differ in backbone and folder only. Each gives what it gives alone, in its own folder.
    """
    runs = [run for run in runs if run.claim()]
    if not runs:
        return
    first, stop = runs[0], StopRequest()
    crops = Crops(first.train, first.val, first.settings, seed=first.seed)
    trainings = [run.training(crops=crops, stop=stop) for run in runs]
    run_together(trainings)
    for run, training in zip(runs, trainings, strict=True):
        run.finish(training)


def call(train: Callable[[], None]) -> int:
    """Run ``train``, leave the process group; the exit code."""
    try:
        train()
    except Stopped as stop:
        if distributed.is_main():
            print(f"{stop}; the same command resumes", file=sys.stderr)
        return stop.code
    finally:
        distributed.shutdown()
    return 0
