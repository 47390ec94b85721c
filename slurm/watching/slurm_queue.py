"""The commands of SLURM that tell of jobs and end them: squeue, sacct where there is accounting, scancel."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from runtime.command_line import UserError

HELD = ("REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "EXPEDITING", *HELD)
"""States of a job that has not started, or is to start again."""

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


def squeue(ids: Iterable[str]) -> dict[str, Queued]:
    """Job id -> state (PENDING, RUNNING, ...) and reason of those of ``ids`` that are in the queue."""
    arrays = sorted({array_id(job_id) for job_id in ids})
    if not arrays:
        return {}
    answer = ask(["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={','.join(arrays)}"])
    # The controller forgets a job some minutes after its end; asked for a single forgotten one, squeue fails.
    if answer.returncode and not re.search("invalid job id", answer.stderr, re.IGNORECASE):
        raise UserError(f"squeue does not answer ({answer.stderr.strip()}); try again once SLURM does")
    lines = [line.strip().split("|", 2) for line in answer.stdout.splitlines() if line.count("|") >= 2]
    return {job_id: Queued(state=state, reason=reason) for job_id, state, reason in lines}


def sacct(ids: Iterable[str]) -> dict[str, Ended]:
    """Job id -> last state and total run time, of those of ``ids`` that accounting knows; empty where there is none."""
    arrays = sorted({array_id(job_id) for job_id in ids})
    if not arrays:
        return {}
    form = ["--noheader", "--parsable2", "--allocations", "--duplicates", "--format=JobID,State,ElapsedRaw"]
    try:
        answer = ask(["sacct", *form, f"--jobs={','.join(arrays)}"])
    except UserError:  # no accounting: the records in the runs folder have to do
        return {}
    found: dict[str, Ended] = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        job_id, state, seconds = (line.split("|") + ["", ""])[:3]
        earlier = found[job_id].seconds if job_id in found else 0
        if state:
            found[job_id] = Ended(state=state.split()[0], seconds=earlier + (int(seconds) if seconds.isdigit() else 0))
    return found


def array_id(job_id: str) -> str:
    """``100_3`` -> ``100``: the array of an element."""
    return job_id.partition("_")[0]


def scancel(ids: Sequence[str]) -> None:
    """Take jobs out of the queue. Raises UserError if SLURM refuses one."""
    answer = ask(["scancel", *ids])
    if answer.returncode:
        raise UserError(f"scancel: {' '.join(answer.stderr.split())}")


def ask(command: Sequence[str]) -> subprocess.CompletedProcess:
    """Run a command of SLURM. Raises UserError where there is none, or it does not answer."""
    try:
        # The user's SQUEUE_STATES and the like would have squeue list other jobs.
        named = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SACCT_"))}
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, env=named)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]} does not answer ({error}); is SLURM on this machine?") from error
