"""The graph on a SLURM cluster: everything is submitted at once, chained by dependencies, and nothing stays behind."""

import math
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Call, Submission
from runtime.provenance import ROOT
from slurm.planning.fingerprint import settings_in
from slurm.running.stage_call import call_of
from slurm.submitting import arrays, queued_jobs
from slurm.submitting.arrays import Group
from slurm.submitting.cluster import Cluster
from slurm.watching import slurm_queue

REQUEUES = 10_000
"""How often submitit lets a job be queued again; its own default of 3 would end a month-long run by surprise."""

AT_THE_END = [
    "code=$?",
    'id="${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}"; id="${{id:-$SLURM_JOB_ID}}"',
    'runs() {{ scontrol --oneliner show job "$id" | grep -q "JobState=RUNNING .*$1"; }}',
    "case $code in",
    '    0) rm -f "{folder}/$id"_*.pkl "{folder}/${{id}}_exit" ;;',
    '    140) runs && scontrol requeue "$id" ;;  # SIGUSR2, not answered by Python',
    '    143) runs "PreemptTime=[0-9]" && scontrol requeue "$id" ;;  # or SIGTERM, at a preemption',
    "    75) ;;  # saved, and in the queue again",
    '    *) echo $code > "{folder}/${{id}}_exit" ;;  # of a task that was killed nothing else tells',
    "esac",
    "exit $code",
]
"""What a batch script does at its end: the pickles of a job that ended well are of no more use, and a signal that
killed Python before it listened is answered in its place (of several tasks, where it killed them all); so is one that
Python has heeded in a container without SLURM's commands."""


ON_EACH_NODE = 'srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1'
TEMPORARY = [
    f'{ON_EACH_NODE} sh -c \'rm -rf "$TMPDIR" && mkdir -p "$TMPDIR"\'',
    "trap : TERM  # cancelled or queued again: the shell outlives the tasks, which save",
    'other_nodes() { [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; }',
    f'trap \'rm -rf "$TMPDIR"; ! other_nodes || {ON_EACH_NODE} rm -rf "$TMPDIR" 2>/dev/null\' EXIT',
]
"""The folder for temporary files, new on each node at every start of a job, and its end. When SLURM itself ends the
job it starts no more tasks on the other nodes: there the folder stays until the same job starts there again."""


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


def partition_of(job: Job, cluster: Cluster) -> str | None:
    return cluster.partition if job.resources.gpus else cluster.cpu_partition or cluster.partition


def parameters(
    job: Job, cluster: Cluster, *, dependency: str = "", name: str = "", code: Path = ROOT, at_once: int | None = None
) -> dict:
    """What submitit writes into the batch script of ``job``, or of an array of jobs like it.

    Args:
        name: of the job in the queue, where it is not its own.
        code: folder of the packages that it runs.
        at_once: most elements of an array that run at the same time.
    """
    asked = cluster.asked(job.resources)
    place = shape(job, cluster)
    return {
        **({"dependency": dependency} if dependency else {}),
        "job_name": name or job.name,
        "partition": partition_of(job, cluster),
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "wckey": cluster.wckey,
        "time": math.ceil(asked.hours * 60),
        "nodes": place.nodes,
        "ntasks_per_node": place.tasks_per_node,
        "gpus_per_node": place.tasks_per_node if asked.gpus else None,
        "cpus_per_task": asked.cpus,
        "mem": f"{math.ceil(asked.mem_gb * place.tasks_per_node)}GB" if cluster.mem else None,
        "signal_delay_s": cluster.signal_delay_s,
        "array_parallelism": at_once or REQUEUES,
        # A dependency that can no longer be met would keep its job pending for ever.
        "additional_parameters": {"kill-on-invalid-dep": "yes", "requeue": True} | cluster.extra,
        # srun does not inherit the number of cores from sbatch (since 22.05), and without the second flag the other
        # ranks of a job wait for one that died. Python looks for modules where it starts before anywhere else: there
        # must be no other copy of the packages.
        "srun_args": [f"--cpus-per-task={asked.cpus}", "--kill-on-bad-exit=1", f"--chdir={code}"],
        "setup": setup(cluster, asked.cpus, code),
    }


def setup(cluster: Cluster, cpus: int, code: Path) -> list[str]:
    """The lines of shell before the stage."""
    lines = [*cluster.setup, f"export OMP_NUM_THREADS={cpus}"]
    lines += [f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"']
    if cluster.scratch:
        lines += [f'export TMPDIR="{cluster.scratch}/$SLURM_JOB_ID"', *TEMPORARY]
    return lines


def python_of(cluster: Cluster) -> str:
    """The words that start Python on a node."""
    python = shlex.quote(cluster.python or sys.executable)
    return f"{cluster.container_command} {shlex.quote(cluster.container)} {python}" if cluster.container else python


def folder_of(runs: Path, one: Group) -> Path:
    """Where the logs of a group's jobs lie."""
    if len(one.jobs) == 1:
        return job_records.home(runs, one.jobs[0].name)
    return job_records.home(runs, "arrays") / one.name.replace("/", "-")


def submit(
    runs: Path, jobs: Sequence[Job], *, done: set[str], cluster: Cluster, code: Path, at_once: int | None = None
) -> dict[str, str]:
    """Submit what is neither done nor in the queue; return the job id of each job that is not done.

    Raises UserError, before anything is submitted, if a job is in the queue with other settings, or where there is no
    SLURM.
    """
    for command in ("sbatch", "srun"):  # submitit asks for both
        if shutil.which(command) is None:
            raise UserError(f"no {command} on this machine; submit from a login node, or say --cluster local")
    ids = queued_jobs.queued(runs, [job for job in jobs if job.name not in done])
    for job in jobs:
        if job.name in ids and differs(runs, job):
            raise UserError(
                f"{job.name} is in the queue as job {ids[job.name]} with other settings; "
                f"cancel it (scancel {ids[job.name]}) or repeat its settings"
            )
    if late := overtaken(jobs, done=done, ids=ids):
        slurm_queue.scancel([ids.pop(name) for name in late])
    todo = [job for job in jobs if job.name not in done and job.name not in ids]
    groups = arrays.group(todo, queued=ids, largest=cluster.max_array)
    member = {job.name: one for one in groups for job in one.jobs}
    for one in groups:
        dependency = arrays.dependency(one, member, ids)
        at_most = at_once or cluster.max_running
        asked = parameters(one.jobs[0], cluster, dependency=dependency, name=one.name, code=code, at_once=at_most)
        ids |= submit_group(runs, one, asked, cluster)
    return {job.name: ids[job.name] for job in jobs if job.name in ids}


def differs(runs: Path, job: Job) -> bool:
    """Whether the job of this name that is in the queue has other words, or a recipe that has been edited since."""
    home = job_records.home(runs, job.name)
    call, submission = job_records.read(home, Call), job_records.read(home, Submission)
    recipes = (call.inputs if call else None) or {}
    edited = any(recipes.get(path, now) != now for path, now in settings_in(job.argv).items())
    return edited or submission is None or submission.argv != job.argv


def overtaken(jobs: Sequence[Job], *, done: set[str], ids: Mapping[str, str]) -> list[str]:
    """Names of the queued jobs that gather results and would not wait for what is about to be submitted."""
    joins = any(not job.fan_in and job.name not in done and job.name not in ids for job in jobs)
    return [job.name for job in jobs if joins and job.fan_in and job.name in ids]


def scripts(
    runs: Path, jobs: Sequence[Job], *, done: set[str], cluster: Cluster, code: Path, at_once: int | None = None
) -> list[str]:
    """The batch scripts that `submit` would send off, in this order; <3> stands for the id that the third one gets."""
    todo = [job for job in jobs if job.name not in done]
    groups = arrays.group(todo, largest=cluster.max_array)
    member = {job.name: one for one in groups for job in one.jobs}
    ids = {}
    texts = []
    for number, one in enumerate(groups, start=1):
        dependency = arrays.dependency(one, member, ids)
        at_most = at_once or cluster.max_running
        asked = parameters(one.jobs[0], cluster, dependency=dependency, name=one.name, code=code, at_once=at_most)
        command = f"{python_of(cluster)} -u -m submitit.core._submit {folder_of(runs, one).absolute()}"
        texts.append(script(runs, one, asked, command))
        several = len(one.jobs) > 1
        ids |= {job.name: f"<{number}>_{k}" if several else f"<{number}>" for k, job in enumerate(one.jobs)}
    return texts


def submit_group(runs: Path, one: Group, asked: dict, cluster: Cluster) -> dict[str, str]:
    """One call of sbatch; returns the id of each job."""
    import submitit

    for job in one.jobs:
        job_records.write_call(runs, job)
    folder = folder_of(runs, one)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=REQUEUES, python=python_of(cluster))
    executor.update_parameters(**asked, teardown=[line.format(folder=folder.absolute()) for line in AT_THE_END])
    try:
        with executor.batch():
            submitted = [executor.submit(call_of(runs, job)) for job in one.jobs]
        ids = {job.name: sent.job_id for job, sent in zip(one.jobs, submitted, strict=True)}
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"sbatch refused {one.name}: {' '.join(str(error).split())}") from error
    for job in one.jobs:
        log = folder / f"{ids[job.name]}_0_log.err"
        job_records.write_submission(runs, job, "slurm", ids[job.name], log=log)
    return ids


def script(runs: Path, one: Group, asked: dict, command: str) -> str:
    """The text of the batch script of a group, as submitit writes it."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = folder_of(runs, one).absolute()
    lines = [line.format(folder=folder) for line in AT_THE_END]
    count = len(one.jobs) if len(one.jobs) > 1 else None
    return _make_sbatch_string(command=command, folder=folder, map_count=count, teardown=lines, **asked)
