"""What SLURM says of jobs: squeue for those in the queue, sacct, where there is accounting, for those that left it."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.command_line import UserError
from slurm.planning.graph import Job
from slurm.running import job_records
from slurm.running.scheduler import Outcome
from slurm.submitting.arrays import whole
from slurm.watching.console import View, tail

ANSWER_S = 60
"""Seconds that SLURM gets to answer."""


class Queued(NamedTuple):
    """A job in the queue."""

    state: str
    reason: str
    """Why it waits: Dependency, Resources, JobArrayTaskLimit..."""


class Ended(NamedTuple):
    """A job that accounting knows."""

    state: str
    seconds: int
    """How long it ran, all its submissions together."""


def queued(runs: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """Name -> job id of the jobs that SLURM still has; from squeue alone, since accounting may be off.

    Raises UserError if squeue does not answer, or if a job is just being ended.
    """
    records = {job.name: job_records.submitted(runs, job) for job in jobs}
    ids = {name: record["job_id"] for name, record in records.items() if record.get("executor") == "slurm"}
    states = squeue(ids.values())
    for name, job_id in ids.items():
        if job_id in states and states[job_id].state == "COMPLETING":
            raise UserError(f"{name} is just ending as job {job_id}; give the same command again in a minute")
    return {name: job_id for name, job_id in ids.items() if job_id in states}


def refuse_queued(runs: Path, jobs: Sequence[Job]) -> None:
    """Raise UserError if a job that is to run on this machine is in the queue of a SLURM that answers here."""
    if shutil.which("squeue") is None:
        return
    for name, job_id in queued(runs, jobs).items():
        raise UserError(f"{name} is in the queue as job {job_id}; wait for it, or take it out: scancel {job_id}")


def squeue(ids: Iterable[str]) -> dict[str, Queued]:
    """Job id -> state (PENDING, RUNNING, ...) and reason of those of ``ids`` that are in the queue."""
    asked = sorted({whole(job_id) for job_id in ids})
    if not asked:
        return {}
    answer = ask(["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={','.join(asked)}"])
    # The controller forgets a job some minutes after its end; asked for a single forgotten one, squeue fails.
    if answer.returncode and not re.search("invalid job id", answer.stderr, re.IGNORECASE):
        raise UserError(f"squeue does not answer ({answer.stderr.strip()}); try again once SLURM does")
    lines = [line.strip().split("|", 2) for line in answer.stdout.splitlines() if line.count("|") >= 2]
    return {job_id: Queued(state=state, reason=reason) for job_id, state, reason in lines}


def sacct(ids: Iterable[str]) -> dict[str, Ended]:
    """Job id -> last state and total run time, of those of ``ids`` that accounting knows; empty where there is none."""
    asked = sorted({whole(job_id) for job_id in ids})
    if not asked:
        return {}
    form = ["--noheader", "--parsable2", "--allocations", "--duplicates", "--format=JobID,State,ElapsedRaw"]
    try:
        answer = ask(["sacct", *form, f"--jobs={','.join(asked)}"])
    except UserError:  # no accounting: the records in the runs folder have to do
        return {}
    found: dict[str, Ended] = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        job_id, state, seconds = line.split("|")
        earlier = found[job_id].seconds if job_id in found else 0
        found[job_id] = Ended(state=state.split()[0], seconds=earlier + int(seconds or 0))
    return found


def scancel(ids: Sequence[str]) -> None:
    """Take jobs out of the queue. Raises UserError if SLURM refuses one."""
    answer = ask(["scancel", *ids])
    if answer.returncode:
        raise UserError(f"scancel: {' '.join(answer.stderr.split())}")


def ask(command: Sequence[str]) -> subprocess.CompletedProcess:
    """Run a command of SLURM. Raises UserError where there is none, or it does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]} does not answer ({error}); is SLURM on this machine?") from error


def follow(runs: Path, jobs: Sequence[Job], ids: Mapping[str, str], *, every_s: float = 10.0) -> Outcome:
    """Wait until none of ``ids`` is left in the queue, telling of every change and how far the oldest running job is.

    Ctrl-C only ends the watching. A SLURM that does not answer is asked again.
    """
    view = View([job.name for job in jobs])
    said: dict[str, str] = {}
    outcome = Outcome()
    left = [job for job in jobs if job.name in ids]
    began: dict[str, float] = {}
    while left:
        try:
            states = squeue(ids.values())
        except UserError as silent:
            print(silent, file=sys.stderr, flush=True)
            time.sleep(every_s)
            continue
        for job in list(left):
            job_id = ids[job.name]
            in_queue = states[job_id].state if job_id in states else "gone"
            state = "done" if job_records.ended_well(runs, job) else in_queue.lower()
            if state != said.get(job.name):
                said[job.name] = state
                # The record that it is done may reach us later than the news that it left the queue.
                if state != "gone":
                    view.say(job.name, f"{state} (job {job_id})")
            elif state == "gone":
                note_end(runs, job, job_id, outcome, view)
            if state == "done" or job.name in outcome.failed or job.name in outcome.never_ran:
                left.remove(job)
        running = [job.name for job in left if said[job.name] == "running"]
        for job in (job for job in left if job.name in running[:1]):
            seconds = time.monotonic() - began.setdefault(job.name, time.monotonic())
            view.moving(job.name, seconds, job_records.logs(runs, job), others=len(running) - 1)
        if left:
            time.sleep(every_s)
    return outcome


def note_end(runs: Path, job: Job, job_id: str, outcome: Outcome, view: View) -> None:
    """A job left the queue without being done: it failed if it ever wrote a log, else it never ran."""
    logs = job_records.logs(runs, job)
    if any(log.exists() for log in logs):
        outcome.failed[job.name] = [str(logs[0]), *tail(logs)]
        view.say(job.name, f"failed (job {job_id})")
    else:
        outcome.never_ran.append(job.name)
        view.say(job.name, f"never ran (job {job_id})")
