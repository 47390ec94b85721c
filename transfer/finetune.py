"""Fine-tuning on all labels: the whole network trained as a classifier, under a named protocol.

    python transfer/finetune.py --protocol finetune-mae-b --weights backbone.pth --benchmark imagenet --data DIR \\
        --out OUT

AdamW with rates that fall from layer to layer, RandAugment, mixup, cutmix, random erasing, stochastic depth: timm's,
set up as the protocol says. For ViTs, ResNets and timm's networks; the protocols of ViTs name class token or mean of
patches (pooling=). The rest is as in transfer/linear.py: the batch is the global one, for one process, torchrun or
SLURM (accumulate=N goes through a process's share in N parts); top-1 and top-5 of the last epoch are reported; the same
command goes on after an interruption to the same weights, or returns at once. Random numbers are a function of (seed,
epoch, image) for crops, of (seed, step, process) for the rest.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, run
from transfer.classification import classifier_protocol


def parser() -> Parser:
    """The options of this command."""
    return classifier_protocol.parser_of("finetune", __doc__ or "")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options, checked as far as that is possible without torch and the data. UserError names every fault."""
    arguments = parser().parse_intermixed_args(argv)
    classifier_protocol.check(arguments, "finetune")
    return arguments


def fine_tune(arguments: argparse.Namespace) -> None:
    """Fine-tune as the command line asks."""
    from transfer.classification.fine_tuning_run import FineTuneRun

    settings, changed = classifier_protocol.load(arguments.protocol, arguments.settings)
    run = FineTuneRun(
        settings,
        changed=changed,
        version=classifier_protocol.version(arguments.protocol),
        label=arguments.protocol,
        weights=arguments.weights,
        benchmark=arguments.benchmark,
        data=arguments.data,
        out=Path(arguments.out),
        seed=arguments.seed,
    )
    if run.claim():
        run.run()


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)

    from transfer.classification import classifier_run

    return classifier_run.call(lambda: fine_tune(arguments))


if __name__ == "__main__":
    run(main)
