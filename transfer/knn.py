"""Weighted k-nearest-neighbour classification on frozen features.

    python transfer/knn.py --weights backbone.pth --benchmark imagenet --data DIR --out OUT

Features are the backbone's 2048 pooled outputs of the central crop, of unit length. A validation image gets the class
with the largest sum of exp(cosine / T) over its k nearest training images (Wu et al., arXiv 1805.01978, section 3.4).
Two rules vote unless you say otherwise: k = 20 with T = 0.07 (the DINO evaluation, arXiv 2104.14294), recorded as
protocol knn-20, and k = 200 with T = 0.1 (Wu et al.), recorded as knn-200-T0.1. A T other than 0.07 is in the name.

DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE; for the benchmarks cifar10 and cifar100 the unpacked archive. Started
by torchrun or SLURM, each process extracts and classifies its share. --weights random is the untrained network of a
seed. It has no batch statistics yet, so they are measured on training images, as they are for a detector trained from
scratch (--bn-statistics initial leaves mean 0 and variance 1).
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import Parser, UserError, run
from transfer.backbones import RANDOM

if TYPE_CHECKING:  # --help and whoever submits a job need no torch
    import torch

    from transfer.backbones.frozen import Backbone

VOTING = [(20, 0.07), (200, 0.1)]
"""k and T of the published evaluations."""


def voting_of(k: list[int] | None, temperature: list[float] | None, images: int) -> list[tuple[int, float]]:
    """The rules (k, T) asked for; of the usual ones those that ``images`` training images suffice for.

    Raises UserError for a k beyond the training images and for lists that do not pair up.
    """
    if k is None and temperature is None:
        from runtime import distributed

        usual = [rule for rule in VOTING if rule[0] <= images] or [(images, VOTING[0][1])]
        if len(usual) < len(VOTING) and distributed.is_main():
            print(f"note: {images} training images; voting with k = {usual[0][0]} only", file=sys.stderr)
        return usual
    k, temperature = k or [20], temperature or [0.07]
    if wrong := [number for number in k if not 1 <= number <= images]:
        raise UserError(f"--k must lie between 1 and the {images} training images, got {wrong[0]}")
    if wrong := [number for number in temperature if not number > 0]:
        raise UserError(f"--temperature must be above 0, got {wrong[0]}")
    length = max(len(k), len(temperature))
    if {len(k), len(temperature)} - {1, length}:
        raise UserError(f"{len(k)} values of --k and {len(temperature)} of --temperature do not pair up")
    return list(zip(k * (length // len(k)), temperature * (length // len(temperature)), strict=True))


def protocol_of(k: int, temperature: float) -> str:
    return f"knn-{k}" + ("" if temperature == 0.07 else f"-T{temperature:g}")


def bn_statistics(asked: str | None, weights: str) -> str:
    """Which statistics the batch norms use. Raises UserError where what was asked for makes no sense."""
    statistics = asked or ("measured" if weights == RANDOM else "stored")
    if statistics == ("stored" if weights == RANDOM else "initial"):
        raise UserError(f"--bn-statistics {statistics} does not go with --weights {weights}")
    return statistics


def set_size(arguments: argparse.Namespace, stem: str) -> None:
    """The sizes that were not asked for: a network with a CIFAR stem saw whole images of 32 pixels."""
    if stem == "cifar":
        arguments.size = arguments.size or 32
        arguments.resize = arguments.resize or arguments.size
    arguments.size = arguments.size or 224


def classify(arguments: argparse.Namespace, trunk: "Backbone", halves, device: "torch.device") -> list[dict]:
    """Per rule of ``arguments.voting``: its protocol and its accuracies."""
    import torch
    import torch.nn.functional as F

    from runtime import distributed
    from transfer.backbones.frozen import measure_statistics
    from transfer.classification import accuracy, nearest_neighbours
    from transfer.classification.batches import features
    from transfer.classification.crops import CentreCrops

    resize = arguments.resize or round(arguments.size * 8 / 7)
    train, val = (CentreCrops(images, size=arguments.size, resize=resize) for images in halves)
    trunk = replace(trunk, network=trunk.network.to(device, memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]
    if arguments.bn_statistics == "measured":
        measure_statistics(trunk.network, train, seed=arguments.seed, device=device, prepare=trunk.inputs)
    settings = {"device": device, "workers": arguments.workers, "precision": arguments.precision}
    (bank, bank_labels), (rows, labels) = (features(trunk, crops, **settings) for crops in (train, val))
    mine, classes = distributed.shard(len(val)), len(val.images.classes)
    bank, rows = F.normalize(bank, dim=1), F.normalize(rows[mine], dim=1)
    found = nearest_neighbours.scores(rows, bank, bank_labels, classes=classes, voting=arguments.voting)
    return [
        {
            "protocol": protocol_of(*rule),
            "metrics": accuracy.percent(accuracy.places(votes, labels[mine]), count=len(val), classes=classes),
        }
        for rule, votes in zip(arguments.voting, found, strict=True)
    ]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch and the data. Raises UserError."""
    arguments = parser().parse_args(argv)
    arguments.bn_statistics = bn_statistics(arguments.bn_statistics, arguments.weights)
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments, began = parse(argv), time.monotonic()

    import torch

    from runtime import distributed, results
    from runtime.precision import check_precision
    from runtime.provenance import commit
    from runtime.results import Record
    from transfer.backbones.frozen import load
    from transfer.classification import labelled_images
    from transfer.classification.run_guard import claim

    try:
        device = distributed.init(arguments.device)
        check_precision(arguments.precision, device)
        trunk = load(arguments.weights, seed=arguments.seed)
        set_size(arguments, trunk.stem)
        halves = labelled_images.load(arguments.benchmark, arguments.data)
        arguments.voting = voting_of(arguments.k, arguments.temperature, len(halves[0]))
        identity = {key: getattr(arguments, key) for key in ("benchmark", "seed", "size", "resize", "precision")}
        identity |= {"bn_statistics": arguments.bn_statistics, "weights_sha256": trunk.about["weights_sha256"]}
        identity |= {"voting": [list(rule) for rule in arguments.voting]}
        identity |= {"train_sha256": halves[0].fingerprint(), "val_sha256": halves[1].fingerprint()}
        claim(arguments.out, identity)
        path = arguments.out / "result.json"
        if path.exists():
            if distributed.is_main():
                print(f"done already: {path}")
            return
        found = classify(arguments, trunk, halves, device)
        if distributed.is_main():
            about = {**trunk.about, "benchmark": arguments.benchmark, "seed": arguments.seed, "commit": commit()}
            records = [
                Record(
                    task="classification",
                    protocol=one["protocol"],
                    metric=metric,
                    value=value,
                    n=len(halves[1]),
                    **about,
                )
                for one in found
                for metric, value in one["metrics"].items()
            ]
            context = {"processes": distributed.world_size(), "device": device.type, "torch": torch.__version__}
            results.write(path, records, settings=identity, **context, wall_s=round(time.monotonic() - began, 1))
            for record in records:
                print(f"{record.protocol} {record.metric}: {record.value:.1f}% of {record.n} images")
            print(path)
    finally:
        distributed.shutdown()


def _list_of(kind: type):
    def parse(text: str) -> list:
        try:
            return [kind(word) for word in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers parted by commas, got {text!r}") from error

    return parse


def parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="W", help="a backbone.pth, or random")
    parser.add_argument("--benchmark", required=True, metavar="B", help="scenes, cifar10, cifar100, or any name")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the images (default for scenes: runs/data/scenes)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for result.json")
    parser.add_argument("--k", type=_list_of(int), metavar="K[,K]", help="neighbours that vote (default 20,200)")
    parser.add_argument(
        "--temperature", type=_list_of(float), metavar="T[,T]", help="T of exp(cosine / T), one for each k (0.07,0.1)"
    )
    parser.add_argument("--size", type=int, help="side of the centre crop, pixels (default 224; 32 for a CIFAR stem)")
    parser.add_argument(
        "--resize", type=int, help="short side before the crop (default size * 8 / 7; CIFAR stem: size)"
    )
    parser.add_argument(
        "--bn-statistics",
        choices=["stored", "measured", "initial"],
        help="of batch norm: stored (default for a file), measured on training images (default for random), initial",
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the features (fp32)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained network, and recorded (default 0)")
    return parser


if __name__ == "__main__":
    run(main)
