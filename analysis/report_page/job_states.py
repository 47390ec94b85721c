"""The state of the table: which cells are filled, which are not, and what would fill them."""

from collections import Counter
from collections.abc import Sequence

from analysis.report_page.jobs import DONE, JobState
from analysis.report_page.markup import MOST_ROWS, Section, details, escape, first_of, grid, paragraph

SIGNS = {"done": "✓", "running": "▸", "queued": "…", "failed": "✗", "lost": "✗"}
"""Before a state, so that the eye finds it; every other state is a cell to be filled."""


def section(states: Sequence[JobState]) -> Section:
    """A line per row and a column per kind of job, complete rows folded away; below, by row, what is not done."""
    if not states:
        body = paragraph("Nothing was run in this folder yet.", "notice")
        return Section(id="unfinished", title="State of the cells", body=body)
    counts = Counter(state.state for state in states)
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    not_done = [state for state in states if state.state != DONE]
    verdict = f"{len(states)} cells: {summary}." if not_done else f"All {len(states)} cells are filled."
    body = paragraph(verdict, "notice" if not_done else "")
    gaps = {state.job.row for state in not_done}
    in_rows = [state for state in states if state.job.row]
    body += matrix([state for state in in_rows if state.job.row in gaps], "Rows with a cell that is not filled")
    filled = matrix([state for state in in_rows if state.job.row not in gaps], "Rows that are complete")
    count = len({state.job.row for state in in_rows} - gaps)
    body += details(f"{count} complete row{'s' if count > 1 else ''}", filled) if filled else ""
    body += to_fill(not_done)
    return Section(id="unfinished", title="State of the cells", body=body)


def to_fill(not_done: Sequence[JobState]) -> str:
    """By row, what is known of the jobs that are not done, and their commands."""
    by_row: dict[str, list[JobState]] = {}
    for state in not_done:
        if state.detail or state.command:
            by_row.setdefault(state.job.row, []).append(state)
    body = ""
    for row, states in list(by_row.items())[:MOST_ROWS]:
        body += details(f"{row or 'Of all rows'}: {len(states)} to fill", "".join(map(one_job, states)))
    return body + first_of(MOST_ROWS, len(by_row), "rows")


def one_job(state: JobState) -> str:
    """The state of a job and its command, as HTML."""
    body = paragraph(f"{state.state}: {state.job.name}" + (f": {state.detail}" if state.detail else ""))
    return body + (f"<pre><code>{escape(state.command)}</code></pre>\n" if state.command else "")


def matrix(states: Sequence[JobState], caption: str) -> str:
    """A line per row, a column per kind of job."""
    rows = list(dict.fromkeys(state.job.row for state in states))
    stages = list(dict.fromkeys(state.job.stage_path for state in states))
    cells = {(state.job.row, state.job.stage_path): state.state for state in states}
    if not rows:
        return ""
    lines = [[row, *(shown(cells.get((row, stage))) for stage in stages)] for row in rows[:MOST_ROWS]]
    table = grid(["row", *stages], lines, caption=caption, words=len(stages) + 1)
    return table + first_of(MOST_ROWS, len(rows), "rows")


def shown(state: str | None) -> str:
    """A state as a cell of the table shows it."""
    return f"{SIGNS.get(state, '○')} {state}" if state else "–"
