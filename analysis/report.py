"""One page of a runs folder: tables, curves, representations, pictures, cost, what is missing, how to make it again.

    python analysis/report.py RUNS --out report.html
    python slurm/status.py RUNS --json > status.json
    python analysis/report.py RUNS --out report.html --status status.json

The page is one file that loads nothing from anywhere. What is not there yet is said where it would stand, so the page
can be made at any time; files that could not be read are named at its end.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from analysis.figures import rank_against_ap
from analysis.report_page import commands, cost, job_states, jobs, pictures, representations, result_tables, training
from analysis.report_page.document import document
from analysis.report_page.markup import Section, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder
from analysis.results_table.build_tables import build_tables
from analysis.results_table.measurements import Collection, Measurement, collect
from runtime.command_line import Parser, UserError, run
from runtime.files import write_text
from runtime.provenance import commit


def page(runs: Path, *, title: str, status: Path | None = None) -> str:
    """The HTML of a runs folder. Raises UserError if it is no folder, or if ``status`` is not the status of a graph."""
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the RUNS folder of slurm/run_all.py")
    folder = RunsFolder(runs)
    collection = measured(runs)
    tables = build_tables(collection.measurements, below=runs)
    faults = collection.faults[:MOST_FAULTS]
    if collection.measurements and not tables:
        faults = [*faults, "None of the results has a place in a table."]
    states = jobs.read(folder, status)
    sections = [
        result_tables.section(tables, faults),
        job_states.section(states),
        training.section(folder),
        representations.against(rank_against_ap.panels(collection.measurements)),
        representations.section(folder),
        pictures.section(folder),
        cost.section(folder, states),
        commands.section(folder, states),
    ]
    return document(title, facts(folder, collection.measurements), [*sections, *unread(folder)])


MOST_FAULTS = 20
"""Damaged files that are named one by one, in the tables' part and at the end."""


def measured(runs: Path) -> Collection:
    """The records with their paths below ``runs``; or none, and why."""
    try:
        collection = collect(runs)
    except UserError as error:
        return Collection([], [f"No table: {fault}" for fault in error.faults])
    short = [entry._replace(path=entry.path.relative_to(runs)) for entry in collection.measurements]
    return Collection(short, [f"Left out: {fault}" for fault in collection.faults])


def facts(folder: RunsFolder, measurements: Sequence[Measurement]) -> str:
    """The facts below the title."""
    commits = sorted({entry.record.commit for entry in measurements})
    known = {
        "rows": len(folder.rows),
        "numbers": len(measurements),
        "measured by": ", ".join(commits) if 0 < len(commits) <= 3 else f"{len(commits)} versions of the code",
        "page by": f"{commit()}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
    }
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in known.items())
    return f'<dl class="facts">{lines}</dl>\n'


def unread(folder: RunsFolder) -> list[Section]:
    """The files that are damaged, if there are any."""
    if not folder.faults:
        return []
    faults = list(dict.fromkeys(folder.faults))
    body = "".join(paragraph(fault, "notice") for fault in faults[:MOST_FAULTS])
    if len(faults) > MOST_FAULTS:
        body += paragraph(f"And {len(faults) - MOST_FAULTS} more.", "notice")
    return [Section(id="unread", title="Files that could not be read", body=body)]


def parser() -> Parser:
    made = Parser(prog="report.py", description=(__doc__ or "").split("\n")[0])
    made.add_argument("runs", type=Path, metavar="RUNS", help="the folder of slurm/run_all.py, however full")
    made.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, report.html")
    made.add_argument("--title", default="Transfer of self-supervised backbones", help="its heading (%(default)s)")
    made.add_argument("--status", type=Path, metavar="JSON", help="what slurm/status.py RUNS --json printed")
    return made


def parse(argv: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder; give the name of a file, {options.out / 'report.html'}")
    content = page(options.runs, title=options.title, status=options.status)
    write_text(options.out, content)
    print(f"written: {options.out} ({len(content.encode()) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    run(main)
