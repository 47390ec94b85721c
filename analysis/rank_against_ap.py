"""Does a representation of higher rank transfer better? Effective rank against AP, a point per pretrained backbone.

    python analysis/rank_against_ap.py RUNS --out DIR

A backbone is a method, recipe, variant and length; its point is the mean over those of its seeds that have both
numbers, for seeds of one backbone are no independent rows. Other lengths of a run are points of their own. Writes
DIR/rank-against-ap.svg, .png and .json; below three rows the figure says that they are too few.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from runtime.command_line import Parser, UserError, run


def parser() -> Parser:
    result = Parser(prog="rank_against_ap.py", description="Does a representation of higher rank transfer better?")
    result.add_argument("runs", type=Path, metavar="RUNS", help="the folder whose result.json files are collected")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the figure")
    return result


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Collect, correlate, draw."""
    arguments = parse(argv)
    from analysis.figures.rank_against_ap import draw, panels
    from analysis.results_table.measurements import collect
    from runtime.files import write_json

    made = panels(collect(arguments.runs).measurements)
    if not made:
        raise UserError(
            f"no backbone below {arguments.runs} has both a rank and a score; "
            "run the stages effective_rank and transfer (or knn) first"
        )
    stem = arguments.out / "rank-against-ap"
    write_json(stem.with_suffix(".json"), [asdict(panel) for panel in made])
    for panel in made:
        print(f"{panel.score} against {panel.rank}: {panel.verdict}")
    print("written: " + ", ".join(map(str, draw(made, stem))))
    return 0


if __name__ == "__main__":
    run(main)
