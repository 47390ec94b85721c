"""Extract a backbone's features of labelled images once, for every measure of this folder.

    python analysis/features.py --weights backbone.pth --data DIR --out features.safetensors
    torchrun --nproc-per-node 8 analysis/features.py ...          the same file, eight times as fast

DIR is a folder of class folders, any tree of images, or the folder of CIFAR's unpacked archive (--format cifar100). A
whole image is resized and cropped at its centre, as for the nearest-neighbour probe. --views N adds N random views of
each image, for the measures that compare views. --layer projector needs checkpoint.pth: backbone.pth has no projector.
"""

import argparse
from pathlib import Path

from analysis.extraction.options import add_image_options, image_options
from runtime.command_line import Parser, UserError, run
from transfer.backbones import RANDOM, add_options, check_options


def parser() -> Parser:
    result = Parser(
        prog="features.py", description="Extract a backbone's features of images, with labels and names, into one file."
    )
    result.add_argument("--weights", metavar="W", help=f"backbone.pth, checkpoint.pth, or {RANDOM}")
    result.add_argument("--backbone", dest="weights", help=argparse.SUPPRESS)
    add_options(result)
    result.add_argument("--out", type=Path, required=True, metavar="FILE", help="features.safetensors to write")
    add_image_options(result)
    result.add_argument("--labels", type=Path, metavar="CSV", help="lines name,class; instead of class folders")
    result.add_argument("--benchmark", metavar="NAME", help="name of the data set in tables (default: DIR's name)")
    result.add_argument("--limit-per-class", type=int, metavar="N", help="draw at most N images of a class")
    result.add_argument("--views", type=int, default=0, metavar="N", help="random views of each image besides")
    result.add_argument("--half", action="store_true", help="store float16 (and compute in it on a GPU)")
    result.add_argument("--seed", type=int, default=0, help="of the untrained network (default 0)")
    result.add_argument("--sample-seed", type=int, default=0, help="of --limit-per-class and --views (default 0)")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line with its ``options`` for the images; UserError for what cannot be."""
    arguments = parser().parse_args(argv)
    if not arguments.weights:
        raise UserError(f"--weights is required: backbone.pth, checkpoint.pth, or {RANDOM}")
    arguments.options = image_options(arguments)
    check_options(arguments, side=arguments.options.size)
    limit = arguments.limit_per_class
    if (limit is not None and limit < 1) or arguments.views < 0 or arguments.views == 1:
        raise UserError("--limit-per-class must be at least 1, and --views 0 or at least 2")
    if arguments.sample_seed < 0:
        raise UserError(f"--sample-seed must be 0 or more, got {arguments.sample_seed}")
    if arguments.weights == RANDOM and arguments.layer != "backbone":
        raise UserError(f"the untrained network has no {arguments.layer}; give --layer backbone")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Write the feature file."""
    arguments = parse(argv)
    from analysis.extraction.extract import write_features
    from runtime import distributed

    try:
        write_features(
            arguments.weights,
            arguments.options,
            arguments.out,
            layer=arguments.layer,
            benchmark=arguments.benchmark,
            limit_per_class=arguments.limit_per_class,
            views=arguments.views,
            half=arguments.half,
            workers=arguments.workers,
            device=arguments.device,
            seed=arguments.seed,
            sample_seed=arguments.sample_seed,
            kind=arguments.features,
            network=arguments.network,
        )
    finally:
        distributed.shutdown()
    return 0


if __name__ == "__main__":
    run(main)
