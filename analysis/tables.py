"""Records as tables in the papers' column order, mean and spread over seeds, beside what the papers print.

    python analysis/tables.py runs
    python analysis/tables.py runs --explain matrix_ssl/moco-c4-1x/bbox/AP

Written below RUNS/results as Markdown to read, CSV to compute with, LaTeX (booktabs) and HTML. Two protocols, or two
versions of one, never share a column. A published number is in italics, has its source and caveat below the table, and
is never bold; a measured one is bold only where the gap exceeds the noise
(analysis/results_table/significance.py has the rule).
"""

from collections.abc import Sequence
from pathlib import Path

from analysis.results_table.build import build as build
from analysis.results_table.explain import explain, find
from analysis.results_table.html import html
from analysis.results_table.latex import latex
from analysis.results_table.model import Table
from analysis.results_table.records import collect
from analysis.results_table.text import markdown, text, to_csv
from runtime import files
from runtime.command_line import Parser, UserError, run

WRITERS = {"md": markdown, "csv": to_csv, "tex": latex, "html": html}
"""File ending -> what makes the file of a table."""


def write(tables: Sequence[Table], out: Path) -> list[Path]:
    """Write every table in every form; the paths of the Markdown ones."""
    for table in tables:
        for ending, writer in WRITERS.items():
            files.write_text(out / f"{table.name}.{ending}", writer(table))
    return [out / f"{table.name}.md" for table in tables]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="tables.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the folder whose result.json files are collected")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the tables (RUNS/results)")
    parser.add_argument(
        "--explain", metavar="CELL", help="print what is behind a cell, METHOD/PROTOCOL/TASK/METRIC, and write nothing"
    )
    parser.add_argument("--no-published", action="store_true", help="leave the papers' numbers out")
    options = parser.parse_args(argv)
    tables = build(collect(options.runs), [] if options.no_published else None)
    if not tables:
        raise UserError(f"no result below {options.runs} has a place in a table; run the stage transfer first")
    if options.explain is not None:
        print("\n".join(line for place in find(tables, options.explain) for line in explain(*place)))
        return
    paths = write(tables, options.out or options.runs / "results")
    for table in tables:
        print(text(table))
    print("\n".join(f"written: {path} (.csv, .tex, .html)" for path in paths))


if __name__ == "__main__":
    run(main)
