"""Is one detector better than another on these images, or were the images kind to it? A paired bootstrap answers.

    python analysis/compare.py runs/mine/moco-c4-1x-coco_2017 runs/random/moco-c4-1x-coco_2017

A and B are the folders of two fine-tuning runs on one data set, or their predictions. The validation images are drawn
with replacement, as many as there are; both detectors are evaluated on the same draw, and the middle 95% of the
differences A - B is the interval. It says how far the difference depends on which images were taken for validation,
not how far another seed of training would move it: for that, compare the mean and spread over seeds in the tables.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    result = Parser(prog="compare.py", description="Compare two detectors on the same images by a paired bootstrap.")
    result.add_argument("a", metavar="A", type=Path, help="folder of a fine-tuning run, or COCO results")
    result.add_argument("b", metavar="B", type=Path, help="the other one")
    result.add_argument("--benchmark", metavar="NAME", help="the data set (default: what the runs say)")
    result.add_argument("--data", metavar="ROOT", help="its folder, where it is not at its usual place")
    result.add_argument("--val-json", type=Path, metavar="J", help="or its COCO ground truth itself")
    result.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the images (default %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="of the resamples (default %(default)s)")
    result.add_argument("--confidence", type=float, default=0.95, help="of the interval (default %(default)s)")
    result.add_argument("--out", type=Path, metavar="FILE", help="also write the numbers as json")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; UserError for what no predictions could make right."""
    arguments = parser().parse_args(argv)
    if arguments.resamples < 1:
        raise UserError(f"--resamples must be at least 1, got {arguments.resamples}")
    if arguments.seed < 0:
        raise UserError(f"--seed must be at least 0, got {arguments.seed}")
    if not 0 < arguments.confidence < 1:
        raise UserError(f"--confidence must lie between 0 and 1, got {arguments.confidence}")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Compare, print, and write the numbers where --out says."""
    arguments = parse(argv)
    from analysis.comparison import bootstrap, run_pair
    from runtime.files import write_json
    from transfer.metrics import ground_truth, predictions

    paths = [predictions.find(path) for path in (arguments.a, arguments.b)]
    truth = run_pair.ground_truth(
        paths, benchmark=arguments.benchmark, data=arguments.data, val_json=arguments.val_json
    )
    pairs = run_pair.pairs_of(truth, *(run_pair.matched(path, truth) for path in paths))
    differences = bootstrap.bootstrap(
        pairs, resamples=arguments.resamples, seed=arguments.seed, confidence=arguments.confidence, quiet=False
    )
    images = next(iter(pairs.values()))[0].images
    print(f"A: {arguments.a}\nB: {arguments.b}")
    print(f"{images} images of {truth}, {arguments.resamples} draws, seed {arguments.seed}\n")
    if (metric := ground_truth.read(truth).metric) != "coco":
        print(f"note: AP as COCO defines it; the metric of this data set, {metric}, gives other values")
    print(bootstrap.text(differences, arguments.confidence))
    if arguments.out:
        settings = {name: getattr(arguments, name) for name in ("resamples", "seed", "confidence")}
        listed = [{**vars(d), "difference": d.value} for d in differences]
        write_json(arguments.out, {"a": str(arguments.a), "b": str(arguments.b), **settings, "differences": listed})
    return 0


if __name__ == "__main__":
    run(main)
