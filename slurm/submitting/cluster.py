"""Where the jobs run: one yaml per cluster, read and checked."""

import shutil
import subprocess
import sys
import types
import typing
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path

import yaml

from runtime.command_line import UserError, one_of
from slurm.planning.stage import Resources

CLUSTERS = Path(__file__).resolve().parent.parent / "clusters"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a cluster file may say; without a default, it has to."""

    name: str
    """The name of the file."""

    executor: str
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

    gpus_per_node: int = 8
    """A job that asks for more takes several whole nodes."""

    cpus_per_node: int | None = None
    """Cores of a node of ``partition``; a job that asks for more is refused here, before it waits for ever."""

    mem_gb_per_node: float | None = None
    """Memory of such a node, likewise."""

    max_hours: float | None = None
    """The time limit of ``partition``, likewise."""

    cpu_partition_cpus_per_node: int | None = None
    """The same of ``cpu_partition``, where that is another one."""

    cpu_partition_mem_gb_per_node: float | None = None
    cpu_partition_max_hours: float | None = None

    hours: float | None = None
    """Ask for at most this much: longer work saves at the limit, queues again and goes on."""

    cpus_per_task: int | None = None
    """Cores of each task, instead of what preset and stages ask for."""

    mem_gb_per_task: float | None = None
    """Memory of each task, instead of what preset and stages ask for."""

    mem: bool = True
    """Whether to ask for memory at all."""

    max_array: int = 1000
    """Most jobs of one array (MaxArraySize of SLURM)."""

    max_running: int | None = None
    """Most elements of one array that run at the same time; --max-running goes before it."""

    signal_delay_s: int = 120
    """How many seconds before the time limit a job is told to save."""

    runs: str | None = None
    """Folder for results that all nodes see; --runs goes before it."""

    scratch: str | None = None
    """Folder on each node for temporary files; a job gets one below it as TMPDIR, removed when it ends.

    Of a job on several nodes that is cancelled, only the first node's is."""

    container: str | None = None
    """Image that the stages run in."""

    container_command: str = "apptainer exec --nv"
    """What runs a command in it; folders that it has to see belong here (--bind)."""

    python: str | None = None
    """The interpreter on the nodes; the one that submits, where not said."""

    setup: list[str] = field(default_factory=list)
    """Lines of shell before each job: modules, environment."""

    extra: dict = field(default_factory=dict)
    """Further options of sbatch, name to value."""

    def asked(self, resources: Resources) -> Resources:
        """What a job asks for here."""
        own = {"cpus": self.cpus_per_task, "mem_gb": self.mem_gb_per_task}
        hours = min(resources.hours, self.hours or resources.hours)
        return replace(resources, hours=hours, **{key: value for key, value in own.items() if value is not None})


def available() -> list[str]:
    """Names of the clusters that have a file."""
    return sorted(path.stem for path in CLUSTERS.glob("*.yaml"))


def load(name: str) -> Cluster:
    """Read a cluster file, by name or as a path that ends in .yaml; `auto` chooses between slurm and local.

    Raises UserError that lists every fault of the file.
    """
    if name == "auto":
        name = "slurm" if slurm_answers() else "local"
    path = (
        Path(name) if name.endswith(".yaml") else CLUSTERS / f"{one_of('cluster', name, [*available(), 'auto'])}.yaml"
    )
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read cluster file {path}: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict):
        raise UserError(f"cluster file {path} is not a mapping of keys to values; see {CLUSTERS / 'slurm.yaml'}")
    known = {key: field for key, field in Cluster.__dataclass_fields__.items() if key != "name"}
    faults = [f"unknown key {key!r}" for key in told if key not in known]
    faults += [f"{key} is missing" for key, field in known.items() if is_required(field) and key not in told]
    hints = typing.get_type_hints(Cluster)
    faults += [
        f"{key} is {value!r}; expected {getattr(hints[key], '__name__', hints[key])}"
        for key, value in told.items()
        if key in known and not fits(value, hints[key])
    ]
    faults += [
        f"{key} is {value}; expected {'at least 0' if key == 'gpus_per_node' else 'more than 0'}"
        for key, value in told.items()
        if key in known and type(value) in (int, float) and (value < 0 or (value == 0 and key != "gpus_per_node"))
    ]
    if told.get("executor", "slurm") not in ("slurm", "local", "debug"):
        faults.append(f"executor is {told['executor']!r}, not slurm, local or debug")
    if faults:
        raise UserError(f"cluster file {path.name}: {'; '.join(faults)}; known keys: {', '.join(known)}")
    return Cluster(name=path.stem, **told)


def fits(value, hint) -> bool:
    """Whether a yaml value is of an annotated type; an int is a float, and True no number."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in kinds:
        kind = typing.get_origin(kind) or kind
        if type(value) is kind or (kind is float and type(value) is int):
            return True
    return False


def is_required(field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def slurm_answers() -> bool:
    """Whether this machine can submit to a SLURM; says so where its commands are there but nobody answers them."""
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        return False
    try:
        answer = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, timeout=30)
        fault = answer.stderr.strip().split("\n")[0] or "no word why" if answer.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    if fault:
        print(f"SLURM is installed but does not answer ({fault}): running on this machine", file=sys.stderr)
    return not fault
