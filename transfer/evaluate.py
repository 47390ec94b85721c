"""Evaluate the kept predictions of a detector again.

    python transfer/evaluate.py runs/mine/moco-c4-1x-coco_2017 --benchmark coco_2017 --cross-check

reads the folder's predictions.json.gz (or a COCO results json of your own) and computes every figure again, without a
GPU, weights, detectron2 or torch: AP and AR, AP by size and by category, and which kinds of error cost how much. It
writes evaluation.json and errors.png beside the predictions, and leaves result.json as it is.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, UserError, one_of, run
from transfer.datasets import benchmarks
from transfer.metrics.coco import ENGINES


def parser() -> Parser:
    """The command line."""
    command = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("results", nargs="?", type=Path, metavar="RUN", help="folder of a run, or COCO results")
    command.add_argument("--results", dest="old_results", type=Path, help=argparse.SUPPRESS)
    command.add_argument("--benchmark", required=True, metavar="B", help="the data set they were predicted on")
    command.add_argument("--data", metavar="ROOT", help="its folder, where it is not at its usual place")
    command.add_argument("--val-json", type=Path, metavar="J", help="or its COCO ground truth itself")
    command.add_argument("--engine", default="hotcoco", help=f"{' or '.join(ENGINES)} (default %(default)s)")
    command.add_argument("--cross-check", action="store_true", help="compute them with pycocotools too, and compare")
    command.add_argument("--out", type=Path, metavar="DIR", help="for evaluation.json, errors.png (beside RUN)")
    return command


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options. Raises UserError for a wrong one."""
    options = parser().parse_args(argv)
    options.results = options.results or options.old_results
    if options.results is None:
        raise UserError("which predictions? Give the folder of a run, or a COCO results json (see --help)")
    one_of("evaluation engine", options.engine, ENGINES)
    if options.val_json is None:
        one_of("benchmark", options.benchmark, benchmarks.available())
    elif options.data:
        raise UserError("--val-json names the ground truth itself; leave --data out")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    from transfer.metrics import evaluation, ground_truth, predictions

    path = predictions.find(options.results)
    truth = ground_truth.find(options.benchmark, data=options.data, val_json=options.val_json)
    evaluation.evaluate(
        path,
        truth,
        benchmark=options.benchmark,
        engine=options.engine,
        cross_check=options.cross_check,
        out=options.out or path.parent,
    )
    return 0


if __name__ == "__main__":
    run(main)
