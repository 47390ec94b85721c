"""The state of the table: which cells are filled, which are not, and what would fill them."""

from collections import Counter
from collections.abc import Sequence

from analysis.report_page.jobs import DONE, Job
from analysis.report_page.markup import Section, details, escape, grid, paragraph

SIGNS = {"done": "✓", "running": "▸", "queued": "…", "failed": "✗"}
"""Before a state, so that the eye finds it; every other state is a cell to be filled."""


def unfinished(jobs: Sequence[Job]) -> Section:
    """A line per row and a column per kind of job, complete rows folded away; below, by row, what is not done."""
    if not jobs:
        body = paragraph("Nothing was run in this folder yet.", "notice")
        return Section(id="unfinished", title="State of the cells", body=body)
    counts = Counter(job.state for job in jobs)
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    open_jobs = [job for job in jobs if job.state != DONE]
    verdict = f"{len(jobs)} cells: {summary}." if open_jobs else f"All {len(jobs)} cells are filled."
    body = paragraph(verdict, "notice" if open_jobs else "")
    gaps = {job.row for job in open_jobs}
    body += matrix([job for job in jobs if job.row and job.row in gaps], "Rows with a cell that is not filled")
    filled = matrix([job for job in jobs if job.row and job.row not in gaps], "Rows that are complete")
    count = len({job.row for job in jobs if job.row} - gaps)
    body += details(f"{count} complete row{'s' if count > 1 else ''}", filled) if filled else ""
    for row in dict.fromkeys(job.row for job in open_jobs if job.detail or job.command):
        mine = [job for job in open_jobs if job.row == row]
        body += details(f"{row or 'Of all rows'}: {len(mine)} to fill", "".join(map(to_fill, mine)))
    return Section(id="unfinished", title="State of the cells", body=body)


def to_fill(job: Job) -> str:
    """What is known of a job that is not done, and its command."""
    body = paragraph(f"{job.state}: {job.name}" + (f": {job.detail}" if job.detail else ""))
    return body + (f"<pre><code>{escape(job.command)}</code></pre>\n" if job.command else "")


def matrix(jobs: Sequence[Job], caption: str) -> str:
    rows, leaves = dict.fromkeys(job.row for job in jobs), dict.fromkeys(job.leaf for job in jobs)
    states = {(job.row, job.leaf): job.state for job in jobs}
    if not rows:
        return ""
    lines = [[row, *(shown(states.get((row, leaf))) for leaf in leaves)] for row in rows]
    return grid(["row", *leaves], lines, caption=caption, words=len(leaves) + 1)


def shown(state: str | None) -> str:
    return f"{SIGNS.get(state, '○')} {state}" if state else "–"
