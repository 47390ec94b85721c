"""Linear classification: a linear layer trained on a frozen backbone, under a named protocol.

    python transfer/linear.py --protocol linear-matrix-ssl --weights backbone.pth --benchmark imagenet --data DIR \\
        --out OUT

The backbone stays in eval mode, with its own batch statistics. DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE; for
the benchmarks cifar10 and cifar100 the unpacked archive (size=32 resize=32 keeps its pixels). The accuracy after the
last epoch is reported, the best one is recorded beside it. The same command again resumes an interrupted run, to the
same classifier, or returns at once after a complete one; SIGTERM and SIGUSR2 save and exit with code 75. One process,
torchrun or SLURM: the batch is the global one. --weights random is the untrained network of a seed, its batch
statistics measured on training images.

--weights A,B,C --out X,Y,Z trains a classifier on each backbone, in a folder of its own, from one pass over the images:
each crop is decoded once. Every result is that of a run alone, and resumes together with others or alone.

--rates A,B,C trains a classifier at each of these learning rates (as lr=, before it is scaled by the batch) from one
pass: the backbone sees each batch once. A tenth of the training images is held out of all of them, the rate that is
best on it is the result, and the record says so, with every rate's accuracies; its name is P-sweep.

--cached-features trains on features of the central crop that are extracted once. That answers quickly, and it is not
the protocol: no random crops. The records say so by their name, P-cached.
"""

import argparse
import math
from pathlib import Path

from runtime.command_line import Parser, UserError, run, shortened
from transfer.classification import classifier_protocol


def parser() -> Parser:
    """The options of this command."""
    parser = classifier_protocol.parser_of("linear", __doc__ or "")
    parser.add_argument("--rates", metavar="R,R,...", help="learning rates to choose from, all in one pass")
    parser.add_argument("--cached-features", action="store_true", help="extract once; quick, and not the protocol")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch and the data. UserError names every fault."""
    arguments = parser().parse_intermixed_args(argv)
    classifier_protocol.check(arguments, "linear")
    arguments.pairs = pairs_of(arguments.weights.split(","), arguments.out.split(","))
    arguments.rates = rates_in(arguments.rates) if arguments.rates is not None else []
    if arguments.cached_features and len(arguments.pairs) > 1:
        raise UserError("--cached-features keeps the features of one backbone; give one of --weights")
    return arguments


def pairs_of(weights: list[str], folders: list[str]) -> list[tuple[str, Path]]:
    """Each backbone and its folder. Raises UserError where either has no name, or two share a folder."""
    if not all([*weights, *folders]):
        raise UserError("--weights and --out take names between commas; one of them is empty")
    if len(weights) != len(folders) or len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise UserError(f"{len(weights)} --weights and {len(folders)} --out; give every backbone a folder of its own")
    return list(zip(weights, map(Path, folders), strict=True))


def rates_in(text: str) -> list[float]:
    """``0.1,0.3`` as numbers. Raises UserError unless they are two or more, above 0, and all different."""
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if len(set(rates)) < max(len(rates), 2) or not all(0 < rate < math.inf for rate in rates):
        raise UserError(f"--rates wants two or more different numbers above 0, as 0.1,0.3; got {shortened(text, 60)!r}")
    return rates


def train(arguments: argparse.Namespace) -> None:
    """Train the classifiers that the command line asks for."""
    from transfer.classification import classifier_run

    settings, changed = classifier_protocol.load(arguments.protocol, arguments.settings)
    cached = arguments.cached_features
    note = {"note": "features of central crops, extracted once: not the protocol"} if cached else {}
    runs: list[classifier_run.ClassifierRun] = []
    for weights, out in arguments.pairs:
        run = classifier_run.ClassifierRun(
            settings,
            changed=changed,
            version=classifier_protocol.version(arguments.protocol),
            label=arguments.protocol + ("-sweep" if arguments.rates else "") + ("-cached" if cached else ""),
            weights=weights,
            benchmark=arguments.benchmark,
            data=arguments.data,
            out=out,
            seed=arguments.seed,
            rates=arguments.rates,
            images=runs[0].images if runs else None,
        )
        runs.append(run)
    if not cached:
        classifier_run.run_all(runs)
    elif runs[0].claim():
        runs[0].run(cached=True, **note)


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)

    from transfer.classification import classifier_run

    return classifier_run.call(lambda: train(arguments))


if __name__ == "__main__":
    run(main)
