"""The graph on a SLURM cluster: everything is submitted at once, chained by dependencies, and nothing stays behind."""

import math
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.command_line import UserError
from pretrain.provenance import ROOT
from slurm import ledger
from slurm.cluster import Cluster
from slurm.console import View, tail
from slurm.graph import Job
from slurm.here import call_of
from slurm.schedule import Outcome

REQUEUES = 10_000
"""How often submitit lets a job be queued again; its own default of 3 would end a month-long run by surprise."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a job lies on the nodes of a cluster."""

    nodes: int
    tasks_per_node: int


def shape(job: Job, cluster: Cluster) -> Shape:
    """One task per GPU, on as few nodes as hold them; raises UserError if the last node would be partly used."""
    tasks = max(1, job.resources.gpus)
    per_node = min(tasks, max(1, cluster.gpus_per_node))
    if job.resources.gpus and cluster.gpus_per_node < 1:
        raise UserError(f"{job.name} asks for {tasks} GPUs, cluster {cluster.name} has none (gpus_per_node: 0)")
    if tasks % per_node:
        raise UserError(
            f"{job.name} asks for {tasks} GPUs, which fill no whole number of {cluster.name}'s nodes of {per_node}; "
            f"set {job.stage}.resources.gpus to a multiple"
        )
    return Shape(nodes=tasks // per_node, tasks_per_node=per_node)


def parameters(job: Job, cluster: Cluster, after: Sequence[str]) -> dict:
    """What submitit writes into the batch script of ``job``, which starts once the job ids ``after`` ended well."""
    asked = job.resources
    place = shape(job, cluster)
    hours = min(asked.hours, cluster.max_hours or asked.hours)
    dependent = {"dependency": "afterok:" + ":".join(after)} if after else {}
    return dependent | {
        "job_name": job.name,
        "partition": cluster.partition if asked.gpus else cluster.cpu_partition or cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "wckey": cluster.wckey,
        "time": math.ceil(hours * 60),
        "nodes": place.nodes,
        "ntasks_per_node": place.tasks_per_node,
        "gpus_per_node": place.tasks_per_node if asked.gpus else None,
        "cpus_per_task": asked.cpus,
        "mem": f"{math.ceil(asked.mem_gb * place.tasks_per_node)}GB" if cluster.mem else None,
        "signal_delay_s": cluster.signal_delay_s,
        # A dependency that can no longer be met would keep its job pending for ever.
        "additional_parameters": {"kill-on-invalid-dep": "yes", "requeue": True} | cluster.extra,
        # srun does not inherit the number of cores from sbatch (since 22.05), and without the second flag the other
        # ranks of a job wait for one that died.
        "srun_args": [f"--cpus-per-task={asked.cpus}", "--kill-on-bad-exit=1"],
        "setup": [
            *cluster.setup,
            f"export OMP_NUM_THREADS={asked.cpus}",
            f'export PYTHONPATH="{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"',
        ],
    }


def submit(runs: Path, jobs: Sequence[Job], *, done: set[str], cluster: Cluster) -> dict[str, str]:
    """Submit what is neither done nor in the queue; return the job id of each job that is not done.

    Raises UserError, before anything is submitted, if a job is in the queue with other settings.
    """
    import submitit

    ids = queued(runs, [job for job in jobs if job.name not in done])
    for job in jobs:
        if job.name in ids and ledger.submitted(runs, job)["argv"] != list(job.argv):
            raise UserError(
                f"{job.name} is in the queue as job {ids[job.name]} with other settings; "
                f"cancel it (scancel {ids[job.name]}) or repeat its settings"
            )
    for job in jobs:
        if job.name in done or job.name in ids:
            continue
        ledger.forget(runs, job)
        executor = submitit.SlurmExecutor(folder=ledger.home(runs, job.name), max_num_timeout=REQUEUES)
        executor.update_parameters(**parameters(job, cluster, [ids[need] for need in job.needs if need in ids]))
        try:
            submitted = executor.submit(call_of(runs, job))
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"sbatch refused {job.name}: {' '.join(str(error).split())}") from error
        ids[job.name] = submitted.job_id
        ledger.mark_submitted(runs, job, "slurm", submitted.job_id)
    return ids


def queued(runs: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """Name -> job id of the jobs that SLURM still has; from squeue alone, since accounting may be off.

    Raises UserError if squeue does not answer, or if a job is just being ended.
    """
    records = {job.name: ledger.submitted(runs, job) for job in jobs}
    ids = {name: record["job_id"] for name, record in records.items() if record.get("executor") == "slurm"}
    states = squeue(ids.values())
    for name, job_id in ids.items():
        if states.get(job_id) == "COMPLETING":
            raise UserError(f"{name} is just ending as job {job_id}; give the same command again in a minute")
    return {name: job_id for name, job_id in ids.items() if job_id in states}


def squeue(ids) -> dict[str, str]:
    """Job id -> state (PENDING, RUNNING, ...) of those of ``ids`` that are in the queue."""
    ids = sorted(ids)
    if not ids:
        return {}
    answer = subprocess.run(
        ["squeue", "--noheader", "--format=%A %T", f"--jobs={','.join(ids)}"], capture_output=True, text=True
    )
    # The controller forgets a job some minutes after its end; asked for a single forgotten one, squeue fails.
    if answer.returncode and not re.search("invalid job id", answer.stderr, re.IGNORECASE):
        raise UserError(f"squeue does not answer ({answer.stderr.strip()}); try again once SLURM does")
    return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if line.strip())


def follow(runs: Path, jobs: Sequence[Job], ids: dict[str, str], *, every_s: float = 10.0) -> Outcome:
    """Wait until none of ``ids`` is left in the queue, telling of every change; Ctrl-C only ends the watching."""
    view = View([job.name for job in jobs])
    said: dict[str, str] = {}
    outcome = Outcome()
    left = [job for job in jobs if job.name in ids]
    while left:
        states = squeue(ids.values())
        for job in list(left):
            job_id = ids[job.name]
            state = "done" if ledger.ended_well(runs, job) else states.get(job_id, "gone").lower()
            if state != said.get(job.name):
                said[job.name] = state
                # The record that it is done may reach us later than the news that it left the queue.
                if state != "gone":
                    view.say(job.name, f"{state} (job {job_id})")
            elif state == "gone":
                note_end(runs, job.name, job_id, outcome, view)
            if state == "done" or job.name in outcome.failed or job.name in outcome.never_ran:
                left.remove(job)
        if left:
            time.sleep(every_s)
    return outcome


def note_end(runs: Path, name: str, job_id: str, outcome: Outcome, view: View) -> None:
    """A job left the queue without being done: it failed if it ever wrote a log, else it never ran."""
    logs = [ledger.home(runs, name) / f"{job_id}_0_log.{kind}" for kind in ("err", "out")]
    if any(log.exists() for log in logs):
        outcome.failed[name] = [str(logs[0]), *tail(logs)]
        view.say(name, f"failed (job {job_id})")
    else:
        outcome.never_ran.append(name)
        view.say(name, f"never ran (job {job_id})")
