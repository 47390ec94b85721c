"""Look a data set over before a GPU waits for it: the json, every image file, and a picture of the ground truth.

    python transfer/check_data.py --benchmark coco_2017 [--data ROOT] [--out DIR]

DIR (runs/checks/BENCHMARK) gets check.json and contact_sheet.png. The exit code is 1 if something would stop a training
run, 0 if there is nothing or only warnings.
"""

import argparse
from pathlib import Path

from runtime.command_line import Parser, run
from transfer.datasets import benchmarks


def parser() -> Parser:
    """The command line."""
    command = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks.add_options(command)
    command.add_argument("--decode", action="store_true", help="read every pixel, not only headers and ends of files")
    command.add_argument("--out", metavar="DIR", help="for check.json and contact_sheet.png (runs/checks/B)")
    return command


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options. Raises UserError for a wrong one and for an unknown benchmark."""
    options = parser().parse_args(argv)
    benchmarks.check_options(options)
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    from transfer.datasets import inspection

    paths = benchmarks.locate(options.benchmark, root=options.data, paths=benchmarks.given_paths(options))
    out = Path(options.out or f"runs/checks/{options.benchmark}")
    return inspection.inspect(paths, out, decode=options.decode)


if __name__ == "__main__":
    run(main)
