"""Semi-supervised classification: the whole network fine-tuned on 1 or 10 percent of the labels.

    python transfer/semi.py --protocol semi-vicreg --fraction 1 --weights backbone.pth --benchmark imagenet \\
        --data DIR --list 1percent.txt --out OUT

--list names the images that keep their label, one file name per line (the lists of the SimCLR repository,
imagenet_subsets/, are what the papers use). Without it that share of every class is drawn by --seed. Either way
OUT/list.txt holds the images and result.json the hash of their list. Rates for backbone and classifier are the
protocol's for the fraction. Batch norm sees the global batch. Everything else is as in transfer/linear.py.
"""

import argparse
import sys
from pathlib import Path

from runtime.command_line import Parser, run
from transfer.classification import classifier_protocol


def parser() -> Parser:
    """The options of this command."""
    parser = classifier_protocol.parser_of("semi", __doc__ or "")
    parser.add_argument("--fraction", type=int, required=True, metavar="PERCENT", help="of the labels: 1 or 10")
    parser.add_argument("--list", metavar="FILE", help="names of the images that keep their label")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch and the data. UserError names every fault."""
    arguments = parser().parse_intermixed_args(argv)
    classifier_protocol.check(arguments, "semi", fraction=arguments.fraction)
    return arguments


def fine_tune(arguments: argparse.Namespace) -> None:
    """Fine-tune as the command line asks."""
    from runtime import distributed
    from runtime.files import sha256
    from transfer.classification import classifier_run, label_subset

    percent = arguments.fraction
    settings, changed = classifier_protocol.load(arguments.protocol, arguments.settings, fraction=percent)
    classifier = classifier_run.ClassifierRun(
        settings,
        changed=changed,
        version=classifier_protocol.version(arguments.protocol),
        label=f"{arguments.protocol}-{percent}pct",
        weights=arguments.weights,
        benchmark=arguments.benchmark,
        data=arguments.data,
        out=Path(arguments.out),
        seed=arguments.seed,
    )
    if arguments.list:
        chosen = label_subset.listed(classifier.train, arguments.list, percent=percent)
        origin = {"file": Path(arguments.list).name, "sha256": sha256(arguments.list)}
    else:
        chosen = label_subset.draw(classifier.train, percent=percent, seed=arguments.seed)
        origin = {"drawn": "stratified", "seed": arguments.seed}
    classifier.train = classifier.train.subset(chosen)
    origin |= {"images": len(chosen), "of_sorted_names_sha256": label_subset.fingerprint(classifier.train)}
    if classifier.claim():
        if distributed.is_main():
            print(f"{len(chosen)} labelled images: {classifier.out / 'list.txt'}", file=sys.stderr)
            label_subset.write(classifier.train, classifier.out / "list.txt")
        classifier.run(labelled=origin)


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)

    from transfer.classification import classifier_run

    return classifier_run.call(lambda: fine_tune(arguments))


if __name__ == "__main__":
    run(main)
