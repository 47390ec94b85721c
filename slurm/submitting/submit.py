"""The graph on a SLURM cluster: everything is submitted at once, chained by dependencies, and nothing stays behind."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Call, Submission
from slurm.planning.reuse import settings_in
from slurm.running.stage_call import call_of
from slurm.submitting import arrays, batch_script, queued_jobs
from slurm.submitting.arrays import Group
from slurm.submitting.cluster import Cluster
from slurm.submitting.queued_jobs import QueuedJob
from slurm.watching import slurm_queue

OF_THE_SITE = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Variables of SLURM that are not of one job."""


def submit(
    runs: Path, jobs: Sequence[Job], *, done: Collection[str], cluster: Cluster, code: Path, at_once: int | None = None
) -> dict[str, str]:
    """Submit what is neither done nor in the queue; return the job id of each job that is not done.

    Raises UserError, before anything is submitted, if a job is in the queue with other settings, or where there is no
    SLURM.
    """
    for command in ("sbatch", "srun"):  # submitit asks for both
        if shutil.which(command) is None:
            raise UserError(f"no {command} on this machine; submit from a login node, or say --cluster local")
    queued = queued_jobs.queued(runs, [job for job in jobs if job.name not in done])
    ids = {name: job.job_id for name, job in queued.items()}
    changed = [job.name for job in jobs if job.name in ids and settings_changed(runs, job)]
    if changed:
        raise UserError.of(
            f"{name} is in the queue as job {ids[name]} with other settings; cancel it (scancel {ids[name]}) or repeat "
            "its settings"
            for name in changed
        )
    if stale := stale_jobs(jobs, done=done, queued=queued):
        slurm_queue.scancel([ids.pop(name) for name in stale])
    todo = [job for job in jobs if job.name not in done and job.name not in ids]

    ids = chain(
        todo,
        ids,
        cluster=cluster,
        code=code,
        at_once=at_once,
        largest=cluster.max_array,
        send=lambda group, requested: submit_group(runs, group, requested, cluster),
    )
    return {job.name: ids[job.name] for job in jobs if job.name in ids}


def chain(
    jobs: Sequence[Job],
    queued: Mapping[str, str],
    *,
    cluster: Cluster,
    code: Path,
    largest: int,
    send: Callable[[Group, dict], list[str]],
    at_once: int | None = None,
) -> dict[str, str]:
    """Send ``jobs`` in groups of at most ``largest``, needs first; return the id of each, and of those ``queued``.

    ``send(group, parameters)`` returns the ids of a group's jobs.
    """
    ids = dict(queued)
    groups = arrays.group(jobs, queued=ids, largest=largest)
    group_of = {job.name: group for group in groups for job in group.jobs}
    for group in groups:
        dependency = arrays.dependency(group, group_of, ids)
        requested = batch_script.parameters(
            group.jobs[0], cluster, dependency=dependency, name=group.name, code=code, at_once=at_once
        )
        ids.update(zip([job.name for job in group.jobs], send(group, requested), strict=True))
    return ids


def settings_changed(runs: Path, job: Job) -> bool:
    """Whether the job of this name that is in the queue has other arguments, or a recipe edited since."""
    home = job_records.home(runs, job.name)
    call, submission = job_records.read(home, Call), job_records.read(home, Submission)
    recipes = (call.inputs if call else None) or {}
    edited = any(recipes.get(path, now) != now for path, now in settings_in(job.argv).items())
    return edited or submission is None or submission.argv != job.argv


def stale_jobs(jobs: Sequence[Job], *, done: Collection[str], queued: Mapping[str, QueuedJob]) -> list[str]:
    """Names of the queued jobs that would not wait for what is about to be submitted.

    A job that needs it and has not started still waits for the one before it, which failed or was cancelled: SLURM
    would remove both. A job that gathers results waits only for what there was.
    """
    again = {job.name for job in jobs if job.name not in done and job.name not in queued}
    joins = any(job.name in again and not job.fan_in for job in jobs)
    stale = []
    for job in jobs:  # needs first
        if job.name not in queued:
            continue
        if joins if job.fan_in else queued[job.name].waits and not again.isdisjoint(job.needs):
            again.add(job.name)
            stale.append(job.name)
    return stale


def scripts(
    runs: Path, jobs: Sequence[Job], *, done: Collection[str], cluster: Cluster, code: Path, at_once: int | None = None
) -> list[str]:
    """The batch scripts that `submit` would send off, in this order; <3> stands for the id that the third one gets."""
    texts: list[str] = []

    def send(group: Group, requested: dict) -> list[str]:
        folder = log_folder(runs, group)
        command = ["-m", "submitit.core._submit", str(folder)]
        texts.append(batch_script.script(folder, group, requested, command, cluster))
        return ids_of(group, f"<{len(texts)}>")

    todo = [job for job in jobs if job.name not in done]
    chain(todo, {}, cluster=cluster, code=code, at_once=at_once, largest=cluster.max_array, send=send)
    return texts


def ids_of(group: Group, job_id: str) -> list[str]:
    """The id of each job of a group: an array's elements have its id and their number."""
    return [f"{job_id}_{k}" for k in range(len(group.jobs))] if len(group.jobs) > 1 else [job_id]


def log_folder(runs: Path, group: Group) -> Path:
    """Where the logs and pickles of a group's jobs lie, absolute."""
    if len(group.jobs) == 1:
        return job_records.home(runs, group.jobs[0].name).absolute()
    return (job_records.home(runs, "arrays") / group.name.replace("/", "-")).absolute()


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Hide the variables of the SLURM job that this may run in: sbatch would pass them on, and srun obey them."""
    names = [name for name in os.environ if name.startswith("SLURM_") and name not in OF_THE_SITE]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def submit_group(runs: Path, group: Group, requested: dict, cluster: Cluster) -> list[str]:
    """One call of sbatch; returns the id of each job."""
    import submitit
    from submitit.core.utils import FailedJobError

    for job in group.jobs:
        job_records.write_call(runs, job)
    folder = log_folder(runs, group)
    python = batch_script.python_of(cluster)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=batch_script.REQUEUES, python=python)
    executor.update_parameters(**requested, teardown=batch_script.epilogue(folder))
    try:
        with outside_of_jobs(), executor.batch():
            submitted = [executor.submit(call_of(runs, job)) for job in group.jobs]
        ids = [sent.job_id for sent in submitted]
    except FailedJobError as error:
        raise UserError(f"sbatch refused {group.name}: {' '.join(str(error).split())}") from error
    for job, job_id in zip(group.jobs, ids, strict=True):
        job_records.write_submission(runs, job, "slurm", job_id, log=folder / f"{job_id}_0_log.err")
    return ids
