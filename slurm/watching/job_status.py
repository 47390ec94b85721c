"""How each job of a runs folder stands: by what the folder says first, then squeue, then sacct.

Nothing is written, and nothing has to be there but the folder: without SLURM, and without accounting, less is known.
"""

import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import UserError
from slurm.planning.graph import Job
from slurm.running import job_records
from slurm.watching import reasons, slurm_queue
from slurm.watching.console import CLOCK, tail
from slurm.watching.slurm_queue import Ended, Queued

STATES = ("done", "running", "queued", "stopped", "cancelled", "failed", "missing")

FRESH_S = 600
"""A log that was written to so lately belongs to a command that somebody runs by hand."""

ETA = re.compile(r"(\d+)/(\d+) \(\d+%\).*?([\d:?]+) to go")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one job stands."""

    job: Job
    state: str
    """One of STATES."""

    detail: str = ""
    """running: step and time to go; queued: the reason; failed: the last line of its log."""

    log: Path | None = None
    job_id: str = ""

    seconds: float = 0
    """How long it ran, all its submissions together; without accounting those that were told to save, and the last."""


def look(runs: Path, jobs: Sequence[Job]) -> list[Standing]:
    """The standing of every job, in the given order."""
    records = {job.name: job_records.submitted(runs, job) for job in jobs}
    done = {job.name: job_records.read(job_records.home(runs, job.name) / "done.json") for job in jobs}
    open_ids = [
        record["job_id"]
        for job in jobs
        if (record := records[job.name]).get("executor") == "slurm" and not is_done(job, done[job.name])
    ]
    known = Known.ask(open_ids)
    return [standing(runs, job, records[job.name], done[job.name], known) for job in jobs]


def is_done(job: Job, record: dict) -> bool:
    """Ended well with this command, and what it wrote is still there."""
    return record.get("argv") == list(job.argv) and all(path.exists() for path in job.outputs)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What SLURM knows of the jobs that the folder does not know to be done."""

    queue: Mapping[str, Queued]
    history: Mapping[str, Ended]

    silent: str = ""
    """Why SLURM could not be asked."""

    @classmethod
    def ask(cls, ids: Sequence[str]) -> "Known":
        try:
            queue = slurm_queue.squeue(ids)
        except UserError as error:
            return cls(queue={}, history={}, silent=str(error))
        return cls(queue=queue, history=slurm_queue.sacct(ids))


def standing(runs: Path, job: Job, record: dict, done: dict, known: Known) -> Standing:
    """The standing of one job."""
    job_id = record.get("job_id", "")
    logs = job_records.logs(runs, job)
    about = {"job": job, "log": logs[0] if logs else None, "job_id": job_id}
    if is_done(job, done):
        return Standing(state="done", seconds=done["seconds"], **about)
    if record.get("executor") == "slurm":
        return of_slurm(runs, job, record, known, logs, about)
    if record:
        here = record["host"] == socket.gethostname()
        if here and job_records.lives(job_id):
            return Standing(state="running", detail=progress(job, logs), **about)
        return ended(logs, record, about, where="" if here else f" on {record['host']}")
    return by_hand(job, about)


def of_slurm(runs: Path, job: Job, record: dict, known: Known, logs: Sequence[Path], about: dict) -> Standing:
    """A job that was submitted and is not known to be done."""
    job_id = record["job_id"]
    history = known.history.get(job_id)
    so_far = history.seconds if history else 0
    if job_id in known.queue:
        state, reason = known.queue[job_id]
        if state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "RESV_DEL_HOLD"):
            return Standing(state="queued", detail=reason, seconds=so_far, **about)
        return Standing(state="running", detail=progress(job, logs), seconds=so_far, **about)
    if known.silent:
        begun = any(map(Path.exists, logs))
        words = f"{progress(job, logs)} when it last wrote; SLURM is silent" if begun else "SLURM is silent"
        return Standing(state="running" if begun else "queued", detail=words, **about)
    if history and history.state == "CANCELLED" and not record.get("cancelled"):
        words = "by its user or the site" if any(map(Path.exists, logs)) else "because what it needs failed"
        return Standing(state="cancelled", detail=words, seconds=history.seconds, **about)
    if not (history or any(map(Path.exists, logs))):
        return Standing(state="cancelled", detail="left the queue and never ran", **about)
    return ended(logs, record, about, history=history)


def ended(
    logs: Sequence[Path], record: dict, about: dict, *, where: str = "", history: Ended | None = None
) -> Standing:
    """A job that no longer runs and is not done."""
    last = last_line(logs)
    seconds = history.seconds if history else 0
    if record.get("cancelled"):
        return Standing(state="cancelled", detail="by slurm/cancel.py", seconds=seconds, **about)
    if re.search(r"goes on from|the same command (goes on|resumes)|will resume", last):
        return Standing(state="stopped", detail=last + where, seconds=seconds, **about)
    why = f"{history.state}: " if history and history.state not in ("FAILED", "COMPLETED") else ""
    return Standing(state="failed", detail=f"{why}{last or 'it left no word'}{where}", seconds=seconds, **about)


def by_hand(job: Job, about: dict) -> Standing:
    """A job that was never submitted: its command may have been given by hand."""
    if job.outputs and all(path.exists() for path in job.outputs):
        return Standing(state="done", detail="by hand", **about)
    written = [path for path in (job.folder / "log.jsonl", job.folder / "metrics.json") if path.exists()]
    if written and time.time() - written[0].stat().st_mtime < FRESH_S:
        return Standing(state="running", detail=f"by hand, {step_of(written[0])}", **about)
    return Standing(state="missing", **about)


def progress(job: Job, logs: Sequence[Path]) -> str:
    """``step 12/250, 20:00 to go``, by the job's own last words; by its records if it says nothing."""
    lines = [line for line in tail(logs[:1], lines=100) if CLOCK.match(line)]
    found = next((match for line in reversed(lines) if (match := ETA.search(line))), None)
    if found:
        return f"step {found[1]}/{found[2]}, {found[3]} to go"
    written = [path for path in (job.folder / "log.jsonl", job.folder / "metrics.json") if path.exists()]
    return step_of(written[0]) if written else "starting"


def step_of(path: Path) -> str:
    """The last step in a file of JSON lines."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        steps = re.findall(rb'"(?:step|iteration)": (\d+)', file.read())
    return f"step {steps[-1].decode()}" if steps else "starting"


def last_line(logs: Sequence[Path]) -> str:
    """Why a job ended, by the logs of all its tasks; where SLURM wrote none, its last error or its last line."""
    tasks = re.fullmatch(r"(.+)_0_log\.err", logs[0].name) if logs else None
    if tasks and (why := reasons.reason(logs[0].parent, tasks[1])):
        return why
    for path in logs:
        lines = [line.strip() for line in tail([path], lines=60)]
        errors = [line for line in lines if re.match(r"(error: |[\w.]*(Error|Exception|Interrupt)\b)", line)]
        if lines:
            return (errors or lines)[-1]
    return ""
