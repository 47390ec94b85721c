"""One page of a runs folder: tables, curves, representations, pictures, cost, what is missing, how to make it again.

    python analysis/report.py RUNS --out report.html
    python slurm/status.py RUNS --json > status.json
    python analysis/report.py RUNS --out report.html --status status.json

The page is one file that loads nothing from anywhere. What is not there yet is said where it would stand, so the page
can be made at any time; files that could not be read are named at its end.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from analysis.figures import rank_against_ap
from analysis.report_page import commands, cost, job_states, jobs, pictures, representations, result_tables, training
from analysis.report_page.document import document
from analysis.report_page.markup import Section, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder
from analysis.results_table.build_tables import build_tables
from analysis.results_table.measurements import Measurement, collect
from runtime.command_line import Parser, UserError, run
from runtime.files import write_text
from runtime.provenance import commit


def page(runs: Path, *, title: str, status: Path | None = None) -> str:
    """The HTML of a runs folder. Raises UserError if it is no folder, or if ``status`` is not the status of a graph."""
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder of runs; give the --runs folder of slurm/run_all.py")
    folder = RunsFolder(runs)
    found, fault = measured(runs)
    tables = build_tables(found) if found else []
    if found and not tables:
        fault = "None of the results has a place in a table."
    todo = jobs.read(folder, status)
    sections = [
        result_tables.results(tables, fault),
        job_states.unfinished(todo),
        training.training(folder),
        representations.against(rank_against_ap.panels(found)),
        representations.representations(folder),
        pictures.pictures(folder),
        cost.cost(folder, todo),
        commands.commands(folder, todo),
    ]
    return document(title, facts(folder, found), [*sections, *unread(folder)])


def measured(runs: Path) -> tuple[list[Measurement], str]:
    """The records with their paths below ``runs``; or none, and why."""
    try:
        return [entry._replace(path=entry.path.relative_to(runs)) for entry in collect(runs).measurements], ""
    except UserError as error:
        return [], f"No table: {error}"


def facts(folder: RunsFolder, found: Sequence[Measurement]) -> str:
    """What stands below the title."""
    commits = sorted({entry.record.commit for entry in found})
    known = {
        "rows": len(folder.rows),
        "numbers": len(found),
        "measured by": ", ".join(commits) if 0 < len(commits) <= 3 else f"{len(commits)} versions of the code",
        "page by": f"{commit()}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
    }
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in known.items())
    return f'<dl class="facts">{lines}</dl>\n'


def unread(folder: RunsFolder) -> list[Section]:
    """The files that are damaged, if there are any."""
    if not folder.faults:
        return []
    body = "".join(paragraph(fault, "notice") for fault in dict.fromkeys(folder.faults))
    return [Section(id="unread", title="Files that could not be read", body=body)]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="report.py", description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the --runs folder of slurm/run_all.py, however full")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, report.html")
    parser.add_argument("--title", default="Transfer of self-supervised backbones", help="its heading (%(default)s)")
    parser.add_argument("--status", type=Path, metavar="JSON", help="what slurm/status.py RUNS --json printed")
    arguments = parser.parse_args(argv)
    if arguments.out.is_dir():
        raise UserError(f"--out {arguments.out} is a folder; give the name of a file, {arguments.out / 'report.html'}")
    content = page(arguments.runs, title=arguments.title, status=arguments.status)
    write_text(arguments.out, content)
    print(f"written: {arguments.out} ({len(content.encode()) / 1e6:.1f} MB)")


if __name__ == "__main__":
    run(main)
