"""Take jobs out of the queue, or let their processes save and end, and record that they were cancelled."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Submission
from slurm.planning.graph import descendants
from slurm.planning.validate import unknown
from slurm.running import runs_folder
from slurm.running.local import REMINDER_S
from slurm.watching.follow import is_done
from slurm.watching.job_status import JobStatus
from slurm.watching.slurm_queue import scancel, squeue


def choose(
    jobs: Sequence[Job],
    *,
    methods: Sequence[str] | None = None,
    stages: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> set[str]:
    """Names of the jobs of these methods, stages and seeds (None: of all), and of all that cannot run without them.

    Raises UserError that names every method, stage and seed that is unknown.
    """
    labels = {job.label for job in jobs if job.label}
    faults = unknown("method", methods or [], labels | {label.partition("+")[0] for label in labels})
    faults += unknown("stage", stages or [], {job.stage for job in jobs})
    faults += unknown("seed", map(str, seeds or []), {str(job.seed) for job in jobs if job.row})
    if faults:
        raise UserError.of(faults)
    chosen = [
        job.name
        for job in jobs
        if (methods is None or job.label in methods or job.label.partition("+")[0] in methods)
        and (stages is None or job.stage in stages)
        and (seeds is None or job.seed in seeds)
    ]
    return {name for job in chosen for name in (job, *descendants(list(jobs), job))}


def leave_out(runs: Path, statuses: Sequence[JobStatus]) -> int:
    """Keep the run on this machine from beginning or continuing these jobs; return how many had not begun."""
    left = [status for status in statuses if status.state != "done"]
    for status in left:
        job_records.write_cancelled(runs, status.job.name)
    return sum(status.state not in ("running", "queued") for status in left)


def out_of_reach(runs: Path, statuses: Sequence[JobStatus]) -> dict[str, str]:
    """Job -> host of those that another machine may still run in processes of its own, where no signal gets."""
    hosts = {}
    for status in statuses:
        if status.state in ("failed", "stopped", "lost"):
            submission = job_records.read(job_records.home(runs, status.job.name), Submission)
            if submission and submission.executor == "local" and submission.host != socket.gethostname():
                hosts[status.job.name] = submission.host
    return hosts


def cancel(runs: Path, alive: Sequence[JobStatus]) -> list[JobStatus]:
    """Record it, so that they do not count as failed, then tell SLURM; return those in processes, for `end_processes`.

    Raises UserError if SLURM refuses; the record of every job that stays is taken back.
    """
    record(runs, alive, cancelled=True)
    on_slurm = [status for status in alive if is_on_slurm(runs, status.job)]
    try:
        if on_slurm:
            scancel([status.job_id for status in reversed(on_slurm)])
    except UserError:
        gone = {status.job_id for status in on_slurm} - still_queued([status.job_id for status in on_slurm])
        record(runs, [status for status in alive if status.job_id not in gone], cancelled=False)
        raise
    return [status for status in alive if status not in on_slurm]


def is_on_slurm(runs: Path, job: Job) -> bool:
    """Whether a job was submitted to SLURM."""
    submission = job_records.read(job_records.home(runs, job.name), Submission)
    return submission is not None and submission.executor == "slurm"


def record(runs: Path, statuses: Sequence[JobStatus], *, cancelled: bool) -> None:
    """Record of jobs that they were cancelled, or that they were not."""
    for status in statuses:
        job_records.set_cancelled(runs, status.job.name, cancelled)


def still_queued(ids: Sequence[str]) -> set[str]:
    """Those that SLURM has not cancelled; all, where it does not answer."""
    try:
        return {job_id for job_id, queued in squeue(ids).items() if queued.state != "COMPLETING"}
    except UserError:
        return set(ids)


def keep_completed(runs: Path, statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """Those that completed before the signal reached them; they were not cancelled."""
    completed = [status for status in statuses if is_done(runs, status.job)]
    record(runs, completed, cancelled=False)
    return completed


def end_processes(processes: Sequence[str]) -> None:
    """Let processes on this machine save and end; a signal may be lost, so it is repeated until they have ended."""
    while alive := [process for process in processes if runs_folder.is_alive(process)]:
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGTERM)
        again = time.monotonic() + REMINDER_S
        while time.monotonic() < again and any(map(runs_folder.is_alive, alive)):
            time.sleep(0.1)
