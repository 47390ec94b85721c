"""What linear, semi-supervised and fine-tuned classification share, from arguments to result.json."""

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
from transfer.classification import label_subset, labelled_images
from transfer.classification.batches import CropData, CropFeatures, Crops, FeatureData, centre_crops, features
from transfer.classification.classifier import Classifier
from transfer.classification.labelled_images import Images
from transfer.classification.run_guard import CHECKPOINT, claim, guard_of, is_complete
from transfer.classification.settings import INCIDENTAL, TrainingSettings
from transfer.classification.trainer import Training, run_together, steps_per_epoch

CLASSIFIER = "ssl-transfer-bench/classifier/1"

HELD_OUT = 10
"""Percent of the training images of every class, on which the best of several rates is chosen."""


class ClassifierRun:
    """One run: a backbone, labelled images, settings, a folder.

    Args:
        changed: the settings that differ from the protocol's.
        version: of the protocol.
        label: the protocol's name in the records.
        weights: a backbone.pth, or ``random``.
        rates: learning rates of as many classifiers; empty: one classifier, at the settings' own. The best on the
            training images held out, on which none of them is trained, is the run's.
        images: training and validation images, where they are known.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        changed: dict,
        version: int,
        label: str,
        weights: str,
        benchmark: str,
        data: str | None,
        out: Path,
        seed: int,
        rates: Sequence[float] = (),
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
        self.trunk = self.backbone()
        frozen.check_side(self.trunk, settings.size)
        self.images = images or labelled_images.load(benchmark, data)
        self.train, self.val = self.images
        self.rates = tuple(rates)
        if rates:
            self.train, self.held_out = label_subset.hold_out(self.train, percent=HELD_OUT, seed=seed)
        if self.trunk.stem == "cifar" and settings.size > 64 and distributed.is_main():
            advice = (
                f"at size={settings.size} it is slow and far from what it saw; size=32 resize=32 keep CIFAR's pixels"
            )
            print(f"note: {weights} has a CIFAR stem; {advice}", file=sys.stderr)

    def backbone(self) -> frozen.Backbone:
        """The network under the classifier."""
        settings: Any = self.settings
        untrained = {"name": settings.network, "side": settings.size}
        return frozen.load(self.weights, seed=self.seed, features=settings.features, **untrained)

    def identity(self) -> dict:
        """Everything that decides the outcome, as flat plain values."""
        unused = (*INCIDENTAL, "lr") if self.rates else INCIDENTAL
        settings = {key: value for key, value in asdict(self.settings).items() if key not in unused}
        rates = {"rates": list(self.rates)} if self.rates else {}
        return {
            "protocol": self.label,
            "benchmark": self.benchmark,
            "seed": self.seed,
            "weights_sha256": self.trunk.about["weights_sha256"],
            "train_sha256": self.train.fingerprint(),
            "val_sha256": self.val.fingerprint(),
            **settings,
            **rates,
        }

    def claim(self) -> bool:
        """Take the folder. False if this very run has been completed in it; UserError if it is another run's."""
        steps_per_epoch(len(self.train), self.settings)  # refuses before the folder is taken
        claim(self.out, self.identity())
        return not is_complete(self.out)

    def run(self, *, cached: bool = False, **context) -> None:
        """Train, or go on, to the end, on crops or on ``cached`` features; ``context`` is what else the result should
        say."""
        trainings = self.trainings(cached=cached, stop=StopRequest())
        run_together(trainings)
        self.finish(trainings, **context)

    def trainings(self, *, stop: StopRequest, cached: bool = False, crops: Crops | None = None) -> list[Training]:
        """The trainings that are to be run, one for each rate; ``crops``: of runs that go with this one."""
        settings = self.settings
        self.begin()
        of = {"seed": self.seed, "device": self.device}
        if cached:
            data = FeatureData(self.train, self.val, self.trunk, settings, stop=stop, **of)
            whole = self.classifier(nn.Identity(), settings)
        else:
            crops = crops or Crops(self.train, self.val, settings, seed=self.seed)
            whole = self.classifier(self.trunk.network, settings, prepare=self.trunk.inputs)
            shared = CropFeatures(crops, whole.features, self.device) if self.rates else crops
            data = CropData(self.train, self.val, settings, crops=shared, **of)
        if not self.rates:
            return [Training(whole, data, settings, self.out, label=self.label, stop=stop)]
        made = []
        for number, rate in enumerate(self.rates):
            own, file = replace(settings, lr=rate), f"checkpoint-{number}.pth" if number else CHECKPOINT
            label, network = f"{self.label} lr={rate:g}", self.classifier(nn.Identity(), own)
            made.append(Training(network, data, own, self.out, label=label, stop=stop, file=file))
        return made

    def begin(self) -> None:
        """Start the clock, and have the network on the device, its batch statistics measured where it has seen none."""
        self.began = time.monotonic()
        self.trunk.network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if self.weights == RANDOM:
            how = {"seed": self.seed, "device": self.device, "prepare": self.trunk.inputs}
            frozen.measure_statistics(self.trunk.network, centre_crops(self.train, self.settings), **how)

    def classifier(self, below: nn.Module, settings: TrainingSettings, **how: Any) -> Classifier:
        """The untrained classifier on ``below``, which gives the backbone's features."""
        classes = len(self.val.classes)
        return Classifier(below, self.trunk.width, classes, settings, seed=self.seed, **how).to(self.device)

    def finish(self, trainings: Sequence[Training], **context) -> None:
        """Write what the finished trainings gave (the first rank does)."""
        best = trainings[0]
        if self.rates:
            best, context["chosen"] = self._best(trainings)
            self.changed |= {"lr": best.settings.lr}
        if distributed.is_main():
            self.write(best, best.history, wall_s=round(time.monotonic() - self.began, 1), **context)
            for training in trainings:
                training.file.unlink()

    def _best(self, trainings: Sequence[Training]) -> tuple[Training, dict]:
        """The training whose classifier is right most often on the images held out, and all of them in words."""
        how = {"device": self.device, "workers": self.settings.workers, "precision": self.settings.precision}
        rows, labels = features(self.trunk, centre_crops(self.held_out, self.settings), stop=trainings[0].stop, **how)
        found = []
        for training in trainings:
            training.network.eval()
            with torch.no_grad():
                right = (training.network(rows).argmax(1) == labels).double().mean().item()
            found.append(
                {"lr": training.settings.lr, "held_out_top1": 100 * right, "top1": training.history[-1]["top1"]}
            )
        best = max(range(len(found)), key=lambda number: found[number]["held_out_top1"])
        return trainings[best], {"on": f"{len(self.held_out)} training images held out", "rates": found}

    def write(self, training: Training, history: list[dict], **context) -> None:
        """Write the classifier, the log and, last of all, result.json; then the checkpoint has served."""
        about = {**self.trunk.about, "benchmark": self.benchmark, "protocol": self.label}
        about |= {"seed": self.seed, "commit": commit()}
        weights = {name: value.detach().cpu().clone() for name, value in training.evaluated.trained().items()}
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
            settings=asdict(training.settings),
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
    trainings = [run.trainings(crops=crops, stop=stop) for run in runs]
    run_together([training for of_run in trainings for training in of_run])
    for run, of_run in zip(runs, trainings, strict=True):
        run.finish(of_run)


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
