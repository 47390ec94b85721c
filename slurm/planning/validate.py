"""Everything that can be wrong with a plan before anything runs; all faults are found, not just the first."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

import pretrain
import transfer
from runtime.command_line import UserError, one_of
from runtime.job_graph import Job
from slurm.planning.preset import Plan
from slurm.planning.rows import RANDOM
from slurm.planning.stages import STAGES
from slurm.running import local
from slurm.submitting import sbatch
from slurm.submitting.cluster import Cluster
from slurm.submitting.partitions import Limits, larger

PROBES = Path(transfer.__file__).parent / "classification_protocols"


def faults_of(
    plan: Plan, stages: Iterable[str], table: Iterable[str] = STAGES, *, variants: Iterable[str] = ()
) -> list[str]:
    """One sentence for each name that is not known and each setting that is missing; ``variants`` could be named."""
    stages = set(stages)
    varied = [entry["method"] for entry in plan.variants.values()]
    faults = unknown("method", [*plan.methods, *varied], [*methods(), RANDOM, *variants])
    for what in ("settings", "resources"):
        names = [name.partition("@")[0] if what == "settings" else name for name in getattr(plan, what)]
        faults += unknown(f"stage in {what}", names, table)
    spoken_to = [name.partition("@")[2] for name in plan.settings if "@" in name]
    faults += unknown("row in settings", spoken_to, [*plan.methods, *varied])
    if plan.features and set(plan.features) != {"scenes"} and "images" not in plan.told("features"):
        faults.append("say where the images of `features` are: features.images=DIR")
    if (plan.linear or plan.semi) and not plan.labelled:
        faults.append("linear and semi need benchmarks: `classification` or `knn`")
    if "pretrain" in stages and not (plan.recipe.endswith((".yaml", ".yml")) and Path(plan.recipe).is_file()):
        faults += unknown("recipe", [plan.recipe], recipes())
    for kind in ("linear", "semi"):
        faults += unknown(f"{kind} protocol", getattr(plan, kind) if kind in stages else (), probe_protocols(kind))
    for name in set(plan.semi) & set(probe_protocols("semi")) if "semi" in stages else ():
        faults += unknown(f"fraction of {name}", map(str, plan.fractions), fractions(name))
    if "transfer" in stages:
        faults += unknown("protocol", plan.protocols, protocols())
        if "train-json" not in plan.told("transfer"):
            faults += unknown("benchmark", plan.benchmarks, benchmarks())
    trained = [method for method in [*plan.methods, *varied] if method != RANDOM]
    if "pretrain" in stages and trained and not (plan.draws_its_data or "data.root" in plan.told("pretrain")):
        faults.append("say where the images for pretraining are: pretrain.data.root=DIR")
    if not (plan.methods or plan.variants):
        faults.append("no methods")
    if not plan.seeds:
        faults.append("no seeds")
    for what in ("methods", "seeds"):
        if len(set(getattr(plan, what))) < len(getattr(plan, what)):
            faults.append(f"{what} named twice: {', '.join(map(str, getattr(plan, what)))}")
    return faults


def impossible(jobs: Iterable[Job], place: Cluster, limits: Mapping[str | None, Limits]) -> list[str]:
    """One sentence for each thing that a stage asks for and the place has not got.

    ``limits`` are those of the partitions, where SLURM was asked for them; None is its default partition.
    """
    faults: dict[str, None] = {}
    for job in jobs:
        if place.executor == "slurm":
            partition = sbatch.partition_of(job, place)
            known = [(said_of(place, partition), f"a node of cluster {place.name}")]
            names = partition.split(",") if partition else [None]  # of several SLURM takes the first that is free
            told = [limits[name] for name in names if name in limits]
            if told:
                known.append((functools.reduce(larger, told), f"partition {partition or 'by default'}"))
            for name in (name for name in names if name and limits and name not in limits):
                faults[f"{job.stage} goes to partition {name}, which SLURM does not know"] = None
            faults |= dict.fromkeys([caught(sbatch.shape, job, place), *beyond(job, place, known)])
            if place.asked(job.resources).hours * 3600 <= place.signal_delay_s:
                words = f"{job.stage} asks for {place.asked(job.resources).hours:g} h and would be told to save at once"
                faults[f"{words}: signal_delay_s of cluster {place.name} is {place.signal_delay_s}"] = None
        elif job.resources.gpus > len(local.visible_gpus()):
            words = (
                f"{job.stage} asks for {job.resources.gpus} GPUs and this machine has {len(local.visible_gpus())}; "
                f"ask for fewer ({job.stage}.resources.gpus=0: none) or choose a --cluster"
            )
            faults[words] = None
    return [fault for fault in faults if fault]


def said_of(place: Cluster, partition: str | None) -> Limits:
    """What the cluster file says of a partition."""
    other = "cpu_partition_" if partition != place.partition else ""
    words = {"cpus": "cpus_per_node", "mem_gb": "mem_gb_per_node", "hours": "max_hours"}
    return Limits(**{key: getattr(place, other + word) for key, word in words.items()})


def beyond(job: Job, place: Cluster, known: Sequence[tuple[Limits, str]]) -> list[str]:
    """What a job asks for beyond the narrowest of the ``known`` limits, each with its name."""
    asked, tasks = place.asked(job.resources), caught_shape(job, place)
    on_a_node = {"cpus": asked.cpus * tasks, "gpus": min(asked.gpus, tasks), "hours": asked.hours}
    on_a_node |= {"mem_gb": asked.mem_gb * tasks} if place.mem else {}
    words = {"cpus": "cores", "gpus": "GPUs", "hours": "h", "mem_gb": "GB"}
    faults = []
    for key, value in on_a_node.items():
        most = [(getattr(limits, key), where) for limits, where in known if getattr(limits, key) is not None]
        limit, where = min(most, default=(value, ""))
        if value > limit:
            remedy = f"set {job.stage}.resources.{key}" + (", or `hours` of the cluster file" if key == "hours" else "")
            faults.append(f"{job.stage} asks for {value:g} {words[key]}, more than the {limit:g} of {where}; {remedy}")
    return faults


def caught_shape(job: Job, place: Cluster) -> int:
    """Tasks of a job on each node; 1 where it has no shape, which is a fault of its own."""
    try:
        return sbatch.shape(job, place).tasks_per_node
    except UserError:
        return 1


def stop_at(faults: list[str]) -> None:
    """Raise UserError that names every fault, in one line; nothing if there is none."""
    if faults:
        raise UserError(f"{len(faults)} faults: {'; '.join(faults)}" if len(faults) > 1 else faults[0])


def unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    return [fault for name in names if (fault := caught(one_of, kind, name, known))]


def caught(function: Callable, *args) -> str:
    """The message of the UserError that a call raises; empty if it raises none."""
    try:
        function(*args)
    except UserError as error:
        return str(error)
    return ""


def methods() -> list[str]:
    from pretrain.methods import available

    return available()


def recipes() -> list[str]:
    return [path.stem for path in (Path(pretrain.__file__).parent / "recipes").glob("*.yaml")]


def protocols() -> list[str]:
    files = (Path(transfer.__file__).parent / "protocols").glob("*.yaml")
    return [path.stem for path in files if not path.stem.startswith("_")]


def probe_protocols(kind: str) -> list[str]:
    return [path.stem for path in PROBES.glob(f"{kind}-*.yaml")]


def fractions(protocol: str) -> list[str]:
    """The percentages of labels that a protocol of `semi` has settings for."""
    return [str(percent) for percent in yaml.safe_load((PROBES / f"{protocol}.yaml").read_text("utf-8"))["fractions"]]


def benchmarks() -> list[str]:
    from transfer.datasets.benchmarks import available

    return available()
