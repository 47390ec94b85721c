"""Records as tables in the papers' column order, mean and spread over seeds, beside what the papers print.

    python analysis/tables.py RUNS
    python analysis/tables.py RUNS --explain matrix_ssl/moco-c4-1x/bbox/AP

Written below RUNS/results as Markdown to read, CSV to compute with, LaTeX (booktabs) and HTML. Two protocols, or two
versions of one, never share a column. A published number is in italics, has its source and caveat below the table, and
is never bold; a measured one is bold only where the gap exceeds the noise
(analysis/results_table/significance.py has the rule). A damaged result file is named and left out; the exit code is
then 1. Runs may be written, renamed or removed meanwhile.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.results_table.build_tables import build_tables
from analysis.results_table.csv_file import to_csv
from analysis.results_table.explain import explain, find_cells
from analysis.results_table.html import html
from analysis.results_table.latex import latex
from analysis.results_table.markdown import markdown
from analysis.results_table.measurements import collect
from analysis.results_table.model import Table
from analysis.results_table.terminal import text
from runtime import files
from runtime.command_line import Parser, UserError, printable, run, shortened

WRITERS = {"md": markdown, "csv": to_csv, "tex": latex, "html": html}
"""File ending -> what makes the file of a table."""

LEFT_OUT = 1
"""Exit code where a damaged result file was left out."""


def write(tables: Sequence[Table], out: Path) -> list[Path]:
    """Write every table in every form; the paths of the Markdown ones."""
    for table in tables:
        for ending, writer in WRITERS.items():
            files.write_text(out / f"{table.name}.{ending}", writer(table))
    return [out / f"{table.name}.md" for table in tables]


def parser() -> Parser:
    made = Parser(prog="tables.py", description=(__doc__ or "").split("\n")[0])
    made.add_argument("runs", type=Path, metavar="RUNS", help="the folder whose result.json files are collected")
    made.add_argument("--out", type=Path, metavar="DIR", help="folder of the tables (RUNS/results)")
    made.add_argument(
        "--explain", metavar="CELL", help="print where a cell comes from, METHOD/PROTOCOL/TASK/METRIC, write nothing"
    )
    made.add_argument("--no-published", action="store_true", help="leave the papers' numbers out")
    return made


def parse(argv: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    collection = collect(options.runs)
    notes = [note] if (note := collection.note()) else []
    tables = build_tables(collection.measurements, [] if options.no_published else None, notes=notes)
    if not tables:
        raise UserError(f"no result below {options.runs} has a place in a table; run the stage transfer first")
    if options.explain is not None:
        cells = find_cells(tables, options.explain)
        print("\n".join(printable(line) for cell in cells for line in explain(*cell)))
        return 0
    paths = write(tables, options.out or options.runs / "results")
    for table in tables:
        print(text(table))
    print("\n".join(f"written: {path} (.csv, .tex, .html)" for path in paths))
    for fault in collection.faults:
        print(shortened(f"warning: left out: {printable(fault)}"), file=sys.stderr)
    return LEFT_OUT if collection.faults else 0


if __name__ == "__main__":
    run(main)
