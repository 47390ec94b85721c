"""Weighted k-nearest-neighbour classification on frozen features.

    python transfer/knn.py --weights backbone.pth --benchmark imagenet --data DIR --out OUT

Features are the pooled outputs of the backbone (of a ViT its class token) for the central crop, of unit length. A
validation image gets the class with the largest sum of exp(cosine / T) over its k nearest training images (Wu et al.,
arXiv 1805.01978, section 3.4).
Two rules vote unless you say otherwise: k = 20 with T = 0.07 (the DINO evaluation, arXiv 2104.14294), recorded as
protocol knn-20, and k = 200 with T = 0.1 (Wu et al.), recorded as knn-200-T0.1. A T other than 0.07 is in the name.

DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE; for the benchmarks cifar10 and cifar100 the unpacked archive. Started
by torchrun or SLURM, each process extracts and classifies its share. --weights random is the untrained network of a
seed. It has no batch statistics yet, so they are measured on training images, as they are for a detector trained from
scratch (--bn-statistics initial leaves mean 0 and variance 1).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runtime.command_line import Faults, Parser, UserError, run
from runtime.cores import AUTO_WORKERS
from transfer.backbones import RANDOM, add_options, check_options
from transfer.classification.classifier_protocol import check_seed
from transfer.classification.settings import CROPS, CROPS_HELP, faults_of_crop

Number = TypeVar("Number", int, float)


def bn_statistics(choice: str | None, weights: str) -> str:
    """Which statistics the batch norms use. Raises UserError for a choice that makes no sense."""
    statistics = choice or ("measured" if weights == RANDOM else "stored")
    if statistics == ("stored" if weights == RANDOM else "initial"):
        raise UserError(f"--bn-statistics {statistics} does not go with --weights {weights}")
    return statistics


def voting(k: list[int] | None, temperature: list[float] | None) -> list[tuple[int, float]] | None:
    """The rules (k, T) of the command line; None where it has none. Raises UserError for lists that do not pair up."""
    if k is None and temperature is None:
        return None
    k, temperature = k or [20], temperature or [0.07]
    length = max(len(k), len(temperature))
    if {len(k), len(temperature)} - {1, length}:
        raise UserError(f"{len(k)} values of --k and {len(temperature)} of --temperature do not pair up")
    return list(zip(k * (length // len(k)), temperature * (length // len(temperature)), strict=True))


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch and the data. UserError names every fault."""
    arguments = parser().parse_args(argv)
    faults = Faults()
    with faults.collected():
        arguments.bn_statistics = bn_statistics(arguments.bn_statistics, arguments.weights)
    with faults.collected():
        arguments.voting = voting(arguments.k, arguments.temperature)
    with faults.collected():
        check_seed(arguments.seed)
    with faults.collected():
        check_options(arguments, side=arguments.size or 224)
    for option, least in (("size", 1), ("resize", 1), ("workers", AUTO_WORKERS)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            faults.append(f"--{option} must be at least {least}, got {value}")
    if arguments.size and arguments.resize:
        faults += faults_of_crop(arguments.size, arguments.resize)
    faults.check()
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)

    from runtime import distributed
    from transfer.classification import knn_run

    try:
        knn_run.run(
            arguments.out,
            weights=arguments.weights,
            benchmark=arguments.benchmark,
            data=arguments.data,
            voting=arguments.voting,
            features=arguments.features,
            network=arguments.network,
            size=arguments.size,
            resize=arguments.resize,
            crops=arguments.crops,
            bn_statistics=arguments.bn_statistics,
            precision=arguments.precision,
            workers=arguments.workers,
            device=arguments.device,
            seed=arguments.seed,
        )
    finally:
        distributed.shutdown()


def _positive(kind: Callable[[str], Number]) -> Callable[[str], list[Number]]:
    """An option's type: finite numbers above 0 between commas; one may come twice, for it pairs with another's."""

    def parse(text: str) -> list[Number]:
        try:
            values = [kind(word) for word in text.split(",")]
        except ValueError:
            values = []
        if not values or not all(0 < value < float("inf") for value in values):
            name = "whole numbers" if kind is int else "numbers"
            raise UserError(f"expected {name} above 0 between commas, got {text!r}")
        return values

    return parse


def parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="W", help="a backbone.pth, or random")
    parser.add_argument("--benchmark", required=True, metavar="B", help="scenes, cifar10, cifar100, or any name")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the images (default for scenes: runs/data/scenes)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for result.json")
    parser.add_argument("--k", type=_positive(int), metavar="K[,K]", help="neighbours that vote (default 20,200)")
    parser.add_argument(
        "--temperature", type=_positive(float), metavar="T[,T]", help="T of exp(cosine / T), one for each k (0.07,0.1)"
    )
    parser.add_argument("--size", type=int, help="side of the centre crop, pixels (default 224; 32 for a CIFAR stem)")
    parser.add_argument(
        "--resize", type=int, help="short side before the crop (default size * 8 / 7; CIFAR stem: size)"
    )
    parser.add_argument("--crops", choices=CROPS, default="cv2", help=CROPS_HELP)
    add_options(parser)
    parser.add_argument(
        "--bn-statistics",
        choices=["stored", "measured", "initial"],
        help="of batch norm: stored (default for a file), measured on training images (default for random), initial",
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "bf16", "fp32"],
        default="auto",
        help="of the features; auto (default): bf16 where the processor is fast in it",
    )
    parser.add_argument(
        "--workers", type=int, default=AUTO_WORKERS, help="loader processes; -1 (default): by the job's cores"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained network, and recorded (default 0)")
    return parser


if __name__ == "__main__":
    run(main)
