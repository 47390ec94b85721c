"""One nearest-neighbour evaluation: weights, labelled images and rules in, result.json out."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pretrain import backbones
from runtime import distributed, results
from runtime.command_line import Faults, UserError
from runtime.precision import chosen
from runtime.provenance import commit
from runtime.results import Record
from transfer.backbones import USUAL, frozen, with_features
from transfer.backbones.frozen import Backbone
from transfer.classification import accuracy, batches, labelled_images, nearest_neighbours
from transfer.classification.crops import CentreCrops
from transfer.classification.labelled_images import Images
from transfer.classification.run_guard import claim, guard_of, is_complete
from transfer.classification.settings import faults_of_crop

VOTING = [(20, 0.07), (200, 0.1)]
"""k and T of the published evaluations."""


def run(
    out: Path,
    *,
    weights: str,
    benchmark: str,
    data: Path | None,
    voting: Sequence[tuple[int, float]] | None,
    size: int | None,
    resize: int | None,
    crops: str,
    bn_statistics: str,
    precision: str,
    workers: int,
    device: str,
    seed: int,
    features: str = USUAL,
    network: str = backbones.USUAL,
) -> None:
    """Classify the validation images and write ``out``/result.json, unless it is there already.

    Args:
        weights, network: a backbone.pth, or ``random``, the untrained ``network``.
        voting: the rules (k, T); None: the published ones that there are enough training images for.
        size, resize: side of the crops and short side before the crop, pixels; None: what suits the network.
        crops: ``cv2`` or ``torchvision``, see `TrainingSettings`.
        bn_statistics: ``stored``, ``measured`` on training images, or ``initial``.
        features: which of its family's; others than the ``usual`` ones are in the names of the protocols.
    """
    began, where = time.monotonic(), distributed.init(device)
    precision = chosen(precision, where, begun=guard_of(out).began_with("precision"))
    trunk = frozen.load(weights, seed=seed, features=features, name=network, side=size or 224)
    size, resize = crop_sizes(size, resize, stem=trunk.stem)
    frozen.check_side(trunk, size)
    train, val = labelled_images.load(benchmark, data)
    rules = voting_rules(voting, len(train))
    how: dict[str, Any] = {"size": size, "resize": resize, "crops": crops, "bn_statistics": bn_statistics}
    how |= {"precision": precision, "seed": seed}
    identity = {
        **how,
        "benchmark": benchmark,
        "features": features,
        "network": network,
        "weights_sha256": trunk.about["weights_sha256"],
        "voting": [list(rule) for rule in rules],
        "train_sha256": train.fingerprint(),
        "val_sha256": val.fingerprint(),
    }
    usual = crop_sizes(size, None, stem="imagenet")[1]
    if resize == usual and (out / "result.json").exists() and guard_of(out).began_with("resize") is None:
        identity["resize"] = None  # how the usual one was recorded before
    claim(out, identity)
    if is_complete(out):
        return
    figures = classify(trunk, (train, val), where, voting=rules, workers=workers, **how)
    if distributed.is_main():
        about = {**trunk.about, "benchmark": benchmark, "seed": seed, "commit": commit(), "n": len(val)}
        figures = {with_features(name, features): values for name, values in figures.items()}
        write_result(out, figures, about, settings=identity, device=where.type, wall_s=time.monotonic() - began)


def write_result(out: Path, figures: dict[str, dict[str, float]], about: dict, *, wall_s: float, **context) -> None:
    """Write and print the ``figures`` of `classify`; ``about`` is what all records share."""
    records = [
        Record(task="classification", protocol=protocol, metric=metric, value=value, **about)
        for protocol, metrics in figures.items()
        for metric, value in metrics.items()
    ]
    context |= {"processes": distributed.world_size(), "torch": torch.__version__, "wall_s": round(wall_s, 1)}
    results.write(out / "result.json", records, **context)
    for record in records:
        print(f"{record.protocol} {record.metric}: {record.value:.1f}% of {record.n} images")
    print(out / "result.json")


def classify(
    trunk: Backbone,
    halves: tuple[Images, Images],
    device: torch.device,
    *,
    voting: Sequence[tuple[int, float]],
    size: int,
    resize: int,
    crops: str,
    bn_statistics: str,
    precision: str,
    workers: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """The accuracies of every rule, percent, by the name of its protocol; ``halves`` are training and validation."""
    how = {"size": size, "resize": resize, "crops": crops}
    train, val = (CentreCrops(images, **how) for images in halves)
    trunk = replace(trunk, network=trunk.network.to(device, memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]
    if bn_statistics == "measured":
        frozen.measure_statistics(trunk.network, train, seed=seed, device=device, prepare=trunk.inputs)
    (bank, bank_labels), (rows, labels) = (
        batches.features(trunk, images, device=device, workers=workers, precision=precision) for images in (train, val)
    )
    share, classes = distributed.shard(len(val)), len(val.images.classes)
    bank, rows = F.normalize(bank, dim=1), F.normalize(rows[share], dim=1)
    scores = nearest_neighbours.scores(rows, bank, bank_labels, classes=classes, voting=list(voting))
    return {
        protocol_name(*rule): accuracy.percent(accuracy.places(votes, labels[share]), count=len(val), classes=classes)
        for rule, votes in zip(voting, scores, strict=True)
    }


def voting_rules(voting: Sequence[tuple[int, float]] | None, images: int) -> list[tuple[int, float]]:
    """The rules (k, T), checked; of the published ones (None) those that ``images`` training images suffice for.

    Raises UserError for a k beyond the training images.
    """
    if voting is None:
        usual = [rule for rule in VOTING if rule[0] <= images] or [(images, VOTING[0][1])]
        if len(usual) < len(VOTING) and distributed.is_main():
            print(f"note: {images} training images; voting with k = {usual[0][0]} only", file=sys.stderr)
        return usual
    if beyond := [k for k, _ in voting if k > images]:
        raise UserError(f"--k must lie between 1 and the {images} training images, got {beyond[0]}")
    return list(voting)


def protocol_name(k: int, temperature: float) -> str:
    """``knn-20``; a temperature other than 0.07 is named, ``knn-200-T0.1``."""
    return f"knn-{k}" + ("" if temperature == 0.07 else f"-T{temperature:g}")


def crop_sizes(size: int | None, resize: int | None, *, stem: str) -> tuple[int, int]:
    """The sizes, with those that are not given: a network with a CIFAR stem saw whole images of 32 pixels.

    Raises UserError if the crop does not lie inside the resized image.
    """
    cifar = stem == "cifar"
    size = size or (32 if cifar else 224)
    resize = resize or (size if cifar else round(size * 8 / 7))
    Faults(faults_of_crop(size, resize)).check()
    return size, resize
