"""Where the jobs run: one yaml per cluster, read and checked."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.command_line import one_of
from runtime.job_graph import Resources
from runtime.settings import ABOVE_0, AT_LEAST_1, NOT_NEGATIVE, choice, load_dataclass

CLUSTERS = Path(__file__).resolve().parent.parent / "clusters"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A file of slurm/clusters; its keys are these fields. One without a default has to be there."""

    name: str = ""
    """What messages call it; empty: the name of the file."""

    executor: str = field(metadata=choice("slurm", "local", "debug"))
    """`slurm`: submit and return. `local`: run on this machine. `debug`: run in this process."""

    partition: str | None = None
    """Of jobs with GPUs; None is SLURM's default."""

    cpu_partition: str | None = None
    """Of jobs without a GPU; None is ``partition``."""

    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    wckey: str | None = None
    """Sent only where set: some clusters refuse a job that has one."""

    gpus_per_node: int = field(default=8, metadata=NOT_NEGATIVE)
    """A job that asks for more takes several whole nodes."""

    cpus_per_node: int | None = field(default=None, metadata=AT_LEAST_1)
    """Cores of a node of ``partition``; a job that asks for more is refused here, before it waits for ever."""

    mem_gb_per_node: float | None = field(default=None, metadata=ABOVE_0)
    """Memory of such a node, likewise."""

    max_hours: float | None = field(default=None, metadata=ABOVE_0)
    """The time limit of ``partition``, likewise."""

    cpu_partition_cpus_per_node: int | None = field(default=None, metadata=AT_LEAST_1)
    """The same of ``cpu_partition``, where that is another one."""

    cpu_partition_mem_gb_per_node: float | None = field(default=None, metadata=ABOVE_0)
    cpu_partition_max_hours: float | None = field(default=None, metadata=ABOVE_0)

    hours: float | None = field(default=None, metadata=ABOVE_0)
    """Ask for at most this much: longer work saves at the limit, queues again and goes on."""

    cpus_per_task: int | None = field(default=None, metadata=AT_LEAST_1)
    """Cores of each task, instead of what preset and stages ask for."""

    mem_gb_per_task: float | None = field(default=None, metadata=ABOVE_0)
    """Memory of each task, instead of what preset and stages ask for."""

    mem: bool = True
    """Whether to ask for memory at all."""

    max_array: int = field(default=1000, metadata=AT_LEAST_1)
    """Most jobs of one array (MaxArraySize of SLURM)."""

    max_running: int | None = field(default=None, metadata=AT_LEAST_1)
    """Most elements of one array that run at the same time; --max-running goes before it."""

    signal_delay_s: int = field(default=120, metadata=AT_LEAST_1)
    """Seconds before its time limit at which a job gets the signal to save."""

    runs: str | None = None
    """Folder for results that all nodes see; --runs goes before it."""

    scratch: str | None = None
    """Folder on each node for temporary files, where ``$NAME`` is a variable of the node; a job gets one below it as
    TMPDIR, removed when it ends.

    Of a job on several nodes that is cancelled, only the first node's is."""

    container: str | None = None
    """Image that the stages run in."""

    container_command: str = "apptainer exec --nv"
    """What runs a command in it; folders that it has to see belong here (--bind)."""

    python: str | None = None
    """The interpreter on the nodes; empty: the one that submits."""

    setup: list[str] = field(default_factory=list)
    """Lines of shell before each job: modules, environment."""

    extra: dict[str, Any] = field(default_factory=dict)
    """Further options of sbatch, name to value."""

    def resolve_resources(self, resources: Resources) -> Resources:
        """What a job asks for here."""
        return replace(
            resources,
            hours=min(resources.hours, self.hours or resources.hours),
            cpus=self.cpus_per_task or resources.cpus,
            mem_gb=self.mem_gb_per_task or resources.mem_gb,
        )


def available() -> list[str]:
    """Names of the clusters that have a file."""
    return sorted(path.stem for path in CLUSTERS.glob("*.yaml"))


def path_of(name: str) -> Path:
    """The file of a cluster, which is given by its name or as a path that ends in .yaml."""
    known = [*available(), "auto"]
    return Path(name) if name.endswith(".yaml") else CLUSTERS / f"{one_of('cluster', name, known)}.yaml"


def load(name: str) -> Cluster:
    """Read a cluster file; the name `auto` chooses between slurm and local.

    Raises UserError that names every fault of the file.
    """
    if name == "auto":
        name = "slurm" if slurm_answers() else "local"
    path = path_of(name)
    cluster = load_dataclass(path, Cluster)
    return cluster if cluster.name else replace(cluster, name=path.stem)


def slurm_answers() -> bool:
    """Whether this machine can submit to a SLURM; says so where its commands are there but nobody answers them."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    try:
        answer = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, timeout=30)
        fault = answer.stderr.strip().split("\n")[0] or "no reason given" if answer.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault:
        print(f"SLURM is installed but does not answer ({fault}): running on this machine", file=sys.stderr)
    return not fault
