"""The status of each job of a runs folder: by its records first, then squeue, then sacct.

Nothing is written, and nothing has to be there but the folder: without SLURM, and without accounting, less is known.
The folder may be written to, renamed or removed meanwhile.
"""

import json
import re
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime import files, job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Outcome, Submission
from runtime.progress import Snapshot, duration
from slurm.running import runs_folder
from slurm.watching import slurm_queue
from slurm.watching.console import tail
from slurm.watching.slurm_queue import Ended, Queued

STATES = ("done", "running", "queued", "stopped", "cancelled", "failed", "lost", "missing")
"""lost: it began, left the queue or its process is gone, and no record says how it ended."""

FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")

FRESH_S, CLOCK_SKEW_S = 600, 60
"""A file that was written so lately belongs to a process that still runs; by how much clocks of nodes may differ."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """The status of one job."""

    job: Job
    state: str
    """One of STATES."""

    detail: str = ""
    """running: step and time to go; queued: the reason; failed, lost: why, where that is known."""

    progress: Snapshot | None = None
    """running: how far it is, where it has recorded that."""

    log: Path | None = None
    job_id: str = ""

    seconds: float = 0
    """How long it ran, all its submissions together; without accounting those that were stopped, and the last."""


@dataclass(frozen=True, kw_only=True)
class QueueSnapshot:
    """What SLURM knows at one moment of the jobs that are not done."""

    queue: Mapping[str, Queued] = field(default_factory=dict)
    history: Mapping[str, Ended] = field(default_factory=dict)

    silent: bool = False
    """SLURM did not answer."""

    @classmethod
    def query(cls, ids: Sequence[str]) -> "QueueSnapshot":
        try:
            queue = slurm_queue.squeue(ids)
        except UserError:
            return cls(silent=True)
        return cls(queue=queue, history=slurm_queue.sacct(ids))


def job_statuses(runs: Path, jobs: Sequence[Job]) -> list[JobStatus]:
    """The status of every job, in the given order. Raises UserError for a damaged record."""
    submissions = [job_records.read(job_records.home(runs, job.name), Submission) for job in jobs]
    outcomes = [job_records.outcome(runs, job, sent) for job, sent in zip(jobs, submissions, strict=True)]
    snapshot = QueueSnapshot.query(
        [
            sent.job_id
            for sent, outcome in zip(submissions, outcomes, strict=True)
            if sent and sent.executor == "slurm" and outcome.state != "done"
        ]
    )
    return [job_status(runs, *found, snapshot) for found in zip(jobs, submissions, outcomes, strict=True)]


def job_status(
    runs: Path, job: Job, submission: Submission | None, outcome: Outcome, snapshot: QueueSnapshot
) -> JobStatus:
    """The status of one job."""
    if submission is None:
        return by_hand(job, outcome)
    log = job_records.logs(runs, job.name, submission)[0]
    if submission.executor == "slurm":
        history = snapshot.history.get(submission.job_id)
        seconds = history.seconds if history else outcome.seconds
        state, detail = state_on_slurm(runs, job, submission, outcome, snapshot)
    else:
        seconds = outcome.seconds
        state, detail = state_of_process(runs, job, submission, outcome)
    progress = read_progress(runs, job) if state == "running" else None
    if state == "running":
        detail = ", ".join(filter(None, [progress_text(job, progress), detail]))
    return JobStatus(
        job=job, state=state, detail=detail, progress=progress, log=log, job_id=submission.job_id, seconds=seconds
    )


def state_on_slurm(
    runs: Path, job: Job, submission: Submission, outcome: Outcome, snapshot: QueueSnapshot
) -> tuple[str, str]:
    """State and detail of a job that was submitted to SLURM."""
    job_id = submission.job_id
    if outcome.state == "done":
        return "done", ""
    if job_id in snapshot.queue:
        state, reason = snapshot.queue[job_id]
        return ("queued", reason) if state in (*slurm_queue.WAITING, "SUSPENDED") else ("running", "")
    begun = any(map(Path.exists, job_records.logs(runs, job.name, submission)))
    if outcome.state == "cancelled":
        return "cancelled", "by slurm/cancel.py"
    if outcome.state == "failed":
        return "failed", failure(runs, job, submission, outcome, snapshot.history.get(job_id))
    if snapshot.silent:
        return ("running", "when it last wrote; SLURM is silent") if begun else ("queued", "SLURM is silent")
    history = snapshot.history.get(job_id)
    if history and history.state == "CANCELLED":
        return "cancelled", "by its user or the site" if begun else "because what it needs failed"
    if not (history or begun):
        return "cancelled", "left the queue and never ran"
    if outcome.state == "stopped":
        return "stopped", "it saved"
    state = "failed" if history and history.state in FAILED else "lost"
    return state, failure(runs, job, submission, outcome, history)


def state_of_process(runs: Path, job: Job, submission: Submission, outcome: Outcome) -> tuple[str, str]:
    """State and detail of a job that runs, or ran, in a process of some machine."""
    if outcome.state == "done":
        return "done", ""
    if runs_folder.runs_here(submission):
        return "running", ""
    where = "" if submission.host == socket.gethostname() else f"on {submission.host}"
    if where and not outcome.state and is_fresh(job_records.home(runs, job.name) / "progress.json"):
        return "running", where
    if outcome.state == "cancelled":
        return "cancelled", "by slurm/cancel.py"
    if outcome.state == "stopped":
        return "stopped", f"it saved {where}".strip()
    detail = failure(runs, job, submission, outcome, None)
    return outcome.state or "lost", f"{detail} {where}".strip()


def by_hand(job: Job, outcome: Outcome) -> JobStatus:
    """A job that was never submitted: its command may have been given by hand."""
    if outcome.state == "done":
        return JobStatus(job=job, state="done", seconds=outcome.seconds)
    if job.outputs and job.has_outputs:
        return JobStatus(job=job, state="done", detail="by hand")
    written = next(filter(is_fresh, log_files(job)), None)
    if written:
        return JobStatus(job=job, state="running", detail=f"by hand, {step_of(written)}")
    return JobStatus(job=job, state="missing")


def is_fresh(path: Path) -> bool:
    """Whether a file was written just now; one from the future tells nothing."""
    try:
        return -CLOCK_SKEW_S < time.time() - path.stat().st_mtime < FRESH_S
    except OSError:
        return False


def read_progress(runs: Path, job: Job) -> Snapshot | None:
    """How far a job is, by its own record; None if there is none. Raises UserError for a damaged one."""
    return job_records.read(job_records.home(runs, job.name), Snapshot)


def progress_text(job: Job, progress: Snapshot | None) -> str:
    """``step 12/250, 20:00 to go``; the last step of its log where it has recorded no progress."""
    if progress is not None:
        eta = "?" if progress.eta_s is None else duration(progress.eta_s)
        return f"step {progress.done}/{progress.total}, {eta} to go"
    steps = [step_of(path) for path in log_files(job) if path.exists()]
    return steps[0] if steps else "starting"


def log_files(job: Job) -> list[Path]:
    """Where pretraining and fine-tuning log their steps."""
    return [job.folder / "log.jsonl", job.folder / "metrics.json"]


def step_of(path: Path) -> str:
    """The step in the last whole line of a file of JSON lines."""
    for line in reversed(tail([path], lines=5)):
        try:
            entry = json.loads(line)
            return f"step {entry.get('step', entry.get('iteration', '?'))}"
        except (ValueError, AttributeError, RecursionError):
            continue  # cut off by the seek or by its writer
    return "starting"


def failure(runs: Path, job: Job, submission: Submission, outcome: Outcome, history: Ended | None) -> str:
    """Why a job failed or was lost, in one line: what SLURM says of it, and the cause a task recorded or logged."""
    why = f"{history.state}: " if history and history.state not in ("FAILED", "COMPLETED") else ""
    if outcome.reason and not outcome.lost_task:
        return why + outcome.reason
    ends = job_records.read_ends(job_records.home(runs, job.name))
    consequences = {f"error: {end.reason}" for end in ends if end.lost_task}
    log = job_records.logs(runs, job.name, submission)[0]
    line = log_excerpt(log.parent, submission.job_id, consequences=consequences)
    return why + (line or outcome.reason or "it left no record of its end")


OWN_ERROR = "error: "
TASK_DIED = re.compile(
    r"srun: error: .*: tasks? [\d,-]+: (Killed|Out Of Memory|Segmentation fault|Bus error|Aborted)|oom.kill"
)
ENDED_BY_SLURM = re.compile(
    r"\*\*\* (JOB|STEP) .* (CANCELLED AT \S+ (DUE TO (?!JOB REQUEUE)[A-Z ]+)?|FAILED \(.*\) )\*\*\*"
    r"|srun: error: .*: Terminated"
)
RAISED = re.compile(r"^[A-Za-z_.]+(Error|Exception|Interrupt|Warning)\b.*")


def log_excerpt(folder: Path, job_id: str, *, consequences: Collection[str] = ()) -> str:
    """The line of a job's logs in ``folder`` that a user wants to see, for display only; empty if there is no log.

    A task's own error goes before an exception, that before what SLURM says; in the logs of all tasks, since the one
    that failed first need not be the first. ``consequences`` are lines about the death of another task: they go last.
    """
    lines, first = [], []
    for path in files.listed(folder, f"{job_id}_*_log.err"):
        own = [line.strip() for line in tail([path], lines=200)]
        lines += own
        first = first or own[-1:]
    causes = [line for line in lines if line not in consequences]
    errors = [line for line in causes if line.startswith(OWN_ERROR)]
    raised = [line for line in causes if RAISED.match(line)]
    died = [line for line in causes if TASK_DIED.search(line)]
    ended = [line for line in causes if ENDED_BY_SLURM.search(line)]
    for chosen in (errors, raised, died, ended, first):
        if chosen:
            return chosen[-1]
    return ""
