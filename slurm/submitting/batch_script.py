"""The batch script of a job, or of an array of jobs: what it asks SLURM for, and the lines around the stage."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.provenance import ROOT
from slurm.submitting import quoting
from slurm.submitting.arrays import Group
from slurm.submitting.cluster import Cluster

REQUEUES = 10_000
"""How often submitit lets a job be queued again; its own default of 3 would end a month-long run by surprise."""

EPILOGUE = [
    "code=$?",
    'id="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"; id="${id:-$SLURM_JOB_ID}"',
    "requeue() {  # a job that runs; a controller that does not answer is asked again, for an hour",
    "    command -v scontrol > /dev/null || return",
    "    for try in $(seq 360); do",
    '        if shown=$(scontrol --oneliner show job "$id"); then',
    '            echo "$shown" | grep -Eq "JobState=(RUNNING|SIGNALING|STOPPED) .*$1" || return',
    '            scontrol requeue "$id" && return',
    "        fi",
    "        sleep 10",
    "    done",
    "}",
    "case $code in",
    '    0) rm -f "$folder/$id"_*.pkl "$folder/${id}_exit" ;;',
    "    140) requeue ;;  # SIGUSR2, not answered by Python",
    '    143) requeue "PreemptTime=[0-9]" ;;  # or SIGTERM, at a preemption',
    "    75) ;;  # saved, and in the queue again",
    '    *) echo $code > "$folder/${id}_exit" ;;  # of a task that was killed nothing else tells',
    "esac",
    "exit $code",
]
"""The end of a batch script. It removes the pickles of a job that ended well, from ``$folder``, and records any other
exit code there. It queues the job again where a signal killed Python before Python listened, or where the stage saved
in a container without SLURM's commands. A job that is preempted may be SIGNALING for a while: it still runs.
"""

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
        raise UserError(
            f"{job.stage} asks for {tasks} GPUs, cluster {cluster.name} has none (gpus_per_node: 0); set "
            f"{job.stage}.resources.gpus=0"
        )
    if tasks % per_node:
        raise UserError(
            f"{job.stage} asks for {tasks} GPUs, which fill no whole number of {cluster.name}'s nodes of {per_node}; "
            f"set {job.stage}.resources.gpus to a multiple"
        )
    return Shape(nodes=tasks // per_node, tasks_per_node=per_node)


def partition_of(job: Job, cluster: Cluster) -> str | None:
    """Where a job goes; None is SLURM's default partition."""
    return cluster.partition if job.resources.gpus else cluster.cpu_partition or cluster.partition


def parameters(
    job: Job, cluster: Cluster, *, dependency: str = "", name: str = "", code: Path = ROOT, at_once: int | None = None
) -> dict:
    """What submitit writes into the batch script of ``job``, or of an array of jobs like it.

    Args:
        name: of the job in the queue, where it is not its own.
        code: folder of the packages that it runs.
        at_once: most elements of an array that run at the same time.

    Raises UserError for a value that no batch script can hold, and for GPUs that fill no whole number of nodes.
    """
    resources = cluster.resolve_resources(job.resources)
    layout = shape(job, cluster)
    # A dependency that can no longer be met would keep its job pending for ever.
    others: dict[str, object] = {"kill-on-invalid-dep": "yes", "requeue": True, **cluster.extra}
    texts: dict[str, object] = {
        "job_name": name or job.name,
        "partition": partition_of(job, cluster),
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "wckey": cluster.wckey,
    }
    for key, value in [*texts.items(), *others.items()]:
        quoting.sbatch_option(key, value, source=job.name if key == "job_name" else f"cluster {cluster.name}")
    if dependency:
        texts["dependency"] = dependency
    return {
        **texts,
        "time": math.ceil(resources.hours * 60),
        "nodes": layout.nodes,
        "ntasks_per_node": layout.tasks_per_node,
        "gpus_per_node": layout.tasks_per_node if resources.gpus else None,
        "cpus_per_task": resources.cpus,
        "mem": f"{math.ceil(resources.mem_gb * layout.tasks_per_node)}GB" if cluster.mem else None,
        "signal_delay_s": cluster.signal_delay_s,
        "array_parallelism": at_once or cluster.max_running or REQUEUES,
        "additional_parameters": others,
        # srun does not inherit the number of cores from sbatch (since 22.05), and without the second flag the other
        # ranks of a job wait for one that died. Python looks for modules where it starts before anywhere else: there
        # must be no other copy of the packages.
        "srun_args": [f"--cpus-per-task={resources.cpus}", "--kill-on-bad-exit=1", f"--chdir={code}"],
        "setup": prologue(cluster, resources.cpus, code),
    }


def prologue(cluster: Cluster, cpus: int, code: Path) -> list[str]:
    """The lines of shell before the stage; those of the cluster's ``setup`` are the user's own code."""
    # Where sbatch is told to export nothing, srun would drop what the lines below export.
    lines = [*cluster.setup, "export SLURM_EXPORT_ENV=ALL SLURM_TIME_FORMAT=standard", f"export OMP_NUM_THREADS={cpus}"]
    lines += [f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"']
    if cluster.scratch:
        lines += [f'export TMPDIR={quoting.shell_word(cluster.scratch)}/"$SLURM_JOB_ID"', *TEMPORARY]
    return lines


def epilogue(folder: Path) -> list[str]:
    """The lines of shell after the stage; ``folder`` holds the pickles."""
    return [EPILOGUE[0], f"folder={shlex.quote(str(folder))}", *EPILOGUE[1:]]


def python_of(cluster: Cluster) -> str:
    """The words that start Python on a node."""
    python = quoting.shell_word(cluster.python or sys.executable)
    if cluster.container is None:
        return python
    command = quoting.shell_words(cluster.container_command, source=f"cluster {cluster.name}: container_command")
    return f"{command} {quoting.shell_word(cluster.container)} {python}"


def script(folder: Path, group: Group, requested: dict, command: Sequence[str], cluster: Cluster) -> str:
    """The batch script of a group, as submitit writes it.

    Args:
        folder: of the logs, absolute.
        requested: as `parameters` returns it.
        command: the arguments of Python.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    return _make_sbatch_string(
        command=f"{python_of(cluster)} -u {shlex.join(command)}",
        folder=quoting.log_folder(folder),
        map_count=len(group.jobs) if len(group.jobs) > 1 else None,
        teardown=epilogue(folder),
        **requested,
    )
