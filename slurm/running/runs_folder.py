"""A runs folder as a whole: one writer at a time, no job of a killed run at work in it, finished work set aside."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Done, Submission


def set_aside(runs: Path, jobs: Sequence[Job]) -> None:
    """Move what finished jobs have written to a folder beside ``runs``, so that they start from nothing."""
    for job in jobs:
        done = job_records.read(job_records.home(runs, job.name), Done)
        if done and job.outputs and job.folder.exists():
            aside = runs.with_name(f"{runs.name}.old") / f"{job.name}~{done.key or 'unknown'}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            job.folder.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}~{time.time_ns()}"))


LEFTOVER_S = 10
"""How long jobs of a run that was killed get to end; they watch it, and take half of that."""


def await_leftovers(runs: Path, jobs: Sequence[Job]) -> None:
    """Wait until no job of a run that was killed is at work on this machine. Raises UserError if one stays."""
    end = time.monotonic() + LEFTOVER_S
    for job in jobs:
        submission = job_records.read(job_records.home(runs, job.name), Submission)
        while submission and runs_here(submission) and time.monotonic() < end:
            time.sleep(0.1)
        if submission and runs_here(submission):
            raise UserError(
                f"{job.name} is still running as process {submission.job_id}, left by a run that was killed; "
                f"wait for it, or make it save and end with: kill {submission.job_id}"
            )


def runs_here(submission: Submission) -> bool:
    """Whether a job runs in a process of this machine."""
    local = submission.executor == "local" and submission.host == socket.gethostname()
    return local and is_alive(submission.job_id)


def is_alive(process: str) -> bool:
    """Whether a process is one of submitit's; its number alone could by now belong to another program."""
    with contextlib.suppress(OSError):
        return b"submitit" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


@contextlib.contextmanager
def lock(runs: Path, *, patience_s: float = 0) -> Iterator[None]:
    """Keep every other writer out of ``runs``, on any node; the system releases it however this process ends.

    Raises UserError if another holds it for longer than ``patience_s``, or the folder cannot be written.
    """
    path = runs / "jobs" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --runs folder") from error
    with file:
        end = time.monotonic() + patience_s
        while not _take(file, path):
            if time.monotonic() > end:
                file.seek(0)
                owner = file.read().strip() or "another run"
                raise UserError(f"{runs} is in use by {owner}; wait for it to end")
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def in_use(runs: Path) -> bool:
    """Whether another process submits jobs, or runs them here, at this moment."""
    try:
        with lock(runs):
            return False
    except UserError:
        return True


def _take(file, path: Path) -> bool:
    """Try to take the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be locked ({error.strerror}); choose a --runs folder that can") from error
    return True
