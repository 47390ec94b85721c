"""Linear classification: a linear layer trained on a frozen backbone, under a named protocol.

    python transfer/linear.py --protocol linear-matrix-ssl --weights backbone.pth --benchmark imagenet --data DIR \\
        --out OUT

The backbone stays in eval mode, with its own batch statistics. DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE; for
the benchmarks cifar10 and cifar100 the unpacked archive (size=32 resize=32 keeps its pixels). The accuracy after the
last epoch is reported, the best one is recorded beside it. The same command again resumes an interrupted run, to the
same classifier, or returns at once after a complete one; SIGTERM and SIGUSR2 save and exit with code 75. One process,
torchrun or SLURM: the batch is the global one. --weights random is the untrained network of a seed, its batch
statistics measured on training images.

--cached-features trains on features of the central crop that are extracted once. That answers quickly, and it is not
the protocol: no random crops. The records say so by their name, P-cached.
"""

import argparse

from runtime.command_line import UserError, one_of, run
from transfer.classification import classifier_protocol, classifier_run
from transfer.classification.batches import CropData, FeatureData
from transfer.classification.classifier_run import Probe


def probe(arguments: argparse.Namespace) -> None:
    """Train the classifier that the command line asks for."""
    one_of("protocol", arguments.protocol, classifier_protocol.available("linear"))
    settings, changed = classifier_protocol.load(arguments.protocol, arguments.settings)
    if settings.lr_backbone:
        raise UserError("linear classification keeps the backbone frozen; for lr_backbone see transfer/semi.py")
    cached = arguments.cached_features
    protocol = arguments.protocol + ("-cached" if cached else "")
    note = {"note": "features of central crops, extracted once: not the protocol"} if cached else {}
    run_of = Probe(arguments, settings, changed, protocol=protocol)
    if run_of.claim():
        run_of.run(FeatureData if cached else CropData, **note)


def main(argv: list[str] | None = None) -> int:
    parser = classifier_run.parser_of("linear", __doc__ or "")
    parser.add_argument("--cached-features", action="store_true", help="extract once; quick, and not the protocol")
    return classifier_run.call(probe, argv, parser)


if __name__ == "__main__":
    run(main)
