"""The status of a runs folder as text and as plain objects."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError, printable
from runtime.job_graph import Job
from runtime.job_records import Done, Submission
from runtime.progress import duration
from runtime.text_grid import aligned
from slurm.planning.registry import STAGES
from slurm.watching.console import tail
from slurm.watching.job_status import STATES, JobStatus


def text(runs: Path, statuses: Sequence[JobStatus]) -> str:
    """The table, what is left to do, and the GPU-hours."""
    counts = Counter(status.state for status in statuses)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    head = f"{runs}: {len(statuses)} jobs: {states}"
    lines = [head, "", *table(statuses), *to_do(statuses), *gpu_hours(statuses)]
    return "\n".join(map(printable, lines))


def table(statuses: Sequence[JobStatus]) -> list[str]:
    """A line per row, a column per stage; jobs of the whole plan below, one line each."""
    in_rows = [status for status in statuses if status.job.row]
    order = {name: number for number, name in enumerate(STAGES)}
    by_stage = sorted((status.job for status in in_rows), key=lambda job: order.get(job.stage, 0))
    columns = list(dict.fromkeys(job.stage_path for job in by_stage))
    cells = {(status.job.row, status.job.stage_path): cell(status) for status in in_rows}
    grid = [["", *columns]] if in_rows else []
    for row in dict.fromkeys(status.job.row for status in in_rows):
        grid.append([row, *(cells.get((row, column), "–") for column in columns)])
    lines = [line.rstrip() for line in aligned(grid, left=len(columns) + 1)]
    return lines + [f"{status.job.name}: {cell(status)}" for status in statuses if not status.job.row]


def cell(status: JobStatus) -> str:
    """What stands in the table for a job: its state; of one that runs, the step it is at."""
    if status.progress is None:
        return status.state
    return f"{status.state} {status.progress.done}/{status.progress.total}"


def to_do(statuses: Sequence[JobStatus]) -> list[str]:
    """A line or two for every job that is not done, the most pressing first; of the queue, how many wait for what."""
    lines = []
    for state in ("failed", "lost", "cancelled", "stopped", "running", "missing"):
        in_state = [status for status in statuses if status.state == state]
        lines += [""] if in_state else []
        for status in in_state:
            number = f" (job {status.job_id})" if status.job_id and state == "running" else ""
            lines.append(f"{state}: {status.job.name}{number}" + (f": {status.detail}" if status.detail else ""))
            if state in ("failed", "lost") and status.log:
                lines.append(f"    log: {status.log}")
            if state in ("missing", "stopped", "cancelled"):
                lines.append(f"    {status.job.command}")
    reasons = Counter(status.detail for status in statuses if status.state == "queued")
    waiting = [f"{count} ({reason})" for reason, count in reasons.most_common()]
    return lines + (["", f"queued: {', '.join(waiting)}"] if waiting else [])


def gpu_hours(statuses: Sequence[JobStatus]) -> list[str]:
    """GPU-hours by stage: requested by the time limits of all jobs, and used by those that have run."""
    requested: dict[str, float] = {}
    used: dict[str, float] = {}
    for status in (status for status in statuses if status.job.resources.gpus):
        stage, gpus = status.job.stage, status.job.resources.gpus
        requested[stage] = requested.get(stage, 0) + gpus * status.job.resources.hours
        used[stage] = used.get(stage, 0) + gpus * status.seconds / 3600
    if not requested:
        return []
    parts = [f"{stage} {used[stage]:.1f} of {requested[stage]:g}" for stage in requested]
    total = f"{sum(used.values()):.1f} of {sum(requested.values()):g}"
    return ["", f"GPU-hours used of those requested: {', '.join(parts)}; together {total}"]


def as_json(statuses: Sequence[JobStatus]) -> list[dict]:
    """One plain object per job."""
    return [
        {
            "job": status.job.name,
            "row": status.job.row,
            "method": status.job.label,
            "seed": status.job.seed,
            "stage": status.job.stage,
            "state": status.state,
            "detail": status.detail,
            "job_id": status.job_id,
            "log": str(status.log or ""),
            "command": status.job.command,
            "gpu_hours_asked": status.job.resources.gpus * status.job.resources.hours,
            "gpu_hours_used": round(status.job.resources.gpus * status.seconds / 3600, 3),
        }
        for status in statuses
    ]


def log_ends(runs: Path, jobs: Sequence[Job], name: str) -> str:
    """The ends of a job's logs, as a terminal may show them.

    Raises UserError for an unknown job, naming those there are, and for one that has written no log.
    """
    job = next((job for job in jobs if job.name == name), None)
    if job is None:
        near = [job.name for job in jobs if name in job.name] or [job.name for job in jobs]
        raise UserError(f"no job {name!r} in {runs}; jobs: {', '.join(near[:20])}")
    home = job_records.home(runs, name)
    logs = [log for log in job_records.logs(runs, name, job_records.read(home, Submission)) if log.exists()]
    if not logs:
        raise UserError(f"{name} has written no log yet")
    lines = [line for log in logs for line in (f"==> {log}", *tail([log], lines=40), "")]
    if done := job_records.read(home, Done):
        lines.append(f"done in {duration(done.seconds)}, code {done.commit}")
    return "\n".join(map(printable, lines))
