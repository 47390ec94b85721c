"""Which jobs of a runs folder SLURM still has: they are neither submitted nor run a second time."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Submission
from slurm.watching import slurm_queue


class QueuedJob(NamedTuple):
    """A job that SLURM still has."""

    job_id: str
    waits: bool
    """Whether it has not started."""


def queued(runs: Path, jobs: Sequence[Job]) -> dict[str, QueuedJob]:
    """Name -> job of those that SLURM still has; from squeue alone, since accounting may be off.

    Raises UserError if squeue does not answer, or if a job is just being ended.
    """
    submissions = {job.name: job_records.read(job_records.home(runs, job.name), Submission) for job in jobs}
    ids = {name: sent.job_id for name, sent in submissions.items() if sent and sent.executor == "slurm"}
    states = slurm_queue.squeue(ids.values())
    for name, job_id in ids.items():
        if job_id in states and states[job_id].state == "COMPLETING":
            raise UserError(f"{name} is just ending as job {job_id}; give the same command again in a minute")
    return {
        name: QueuedJob(job_id, waits=states[job_id].state in slurm_queue.WAITING)
        for name, job_id in ids.items()
        if job_id in states
    }


def refuse_queued(runs: Path, jobs: Sequence[Job]) -> None:
    """Raise UserError if a job that is to run on this machine is in the queue of a SLURM that answers here."""
    if shutil.which("squeue") is None:
        return
    for name, (job_id, _) in queued(runs, jobs).items():
        raise UserError(f"{name} is in the queue as job {job_id}; wait for it, or take it out: scancel {job_id}")
