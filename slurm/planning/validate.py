"""Everything that can be wrong with an experiment before anything runs; all faults are found, not just the first."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pretrain import methods
from runtime.command_line import Faults, UserError, one_of
from runtime.job_graph import Job
from slurm.planning import commands
from slurm.planning.experiment import Experiment, as_texts
from slurm.planning.registry import STAGES
from slurm.planning.rows import LANGUAGE_MODEL, RANDOM, Row, folder_fault
from slurm.planning.stage import Invocation, Stage
from slurm.running import local
from slurm.submitting import batch_script
from slurm.submitting.cluster import Cluster
from slurm.submitting.partitions import PartitionLimits, larger


def faults_of(
    experiment: Experiment,
    stages: Iterable[str],
    registry: Mapping[str, Stage] = STAGES,
    *,
    variants: Iterable[str] = (),
) -> list[str]:
    """A line for each name that is unknown, and for each setting that is missing or that its command refuses.

    ``variants`` are the names of all variants of the preset, which --methods may give.
    """
    stages = list(stages)
    faults = Faults()
    faults += faults_of_names(experiment, registry, variants)
    faults += faults_of_lists(experiment)
    faults += faults_of_commands(experiment, stages, registry)
    if experiment.features and {"pretrain", "curves"} <= set(stages):
        faults += faults_of_curves(experiment, registry["pretrain"])
    return list(dict.fromkeys(faults))


def faults_of_names(experiment: Experiment, registry: Mapping[str, Stage], variants: Iterable[str]) -> list[str]:
    """Unknown methods, stages and rows, and names that no folder can have."""
    names = [*experiment.methods, *(variant.method for variant in experiment.variants.values())]
    faults = unknown("method", names, [*methods.available(), RANDOM, LANGUAGE_MODEL, *variants])
    for name in experiment.settings:
        stage, of, method = name.partition("@")
        faults += unknown("stage in settings", [stage], registry)
        if of:
            faults += unknown("row in settings", [method], names)
        if of and stage in registry and not registry[stage].per_row:
            faults.append(f"{stage} is one job for all rows, so {name} has no effect; give the setting to {stage}")
        if stage in registry and not registry[stage].module:
            names_of_all = ", ".join(registry[stage].implies)
            for key in experiment.settings[name]:
                faults.append(f"{stage} stands for {names_of_all} and takes no settings; give {key} to one of these")
    faults += faults_of_rows_own(experiment)
    faults += unknown("stage in resources", experiment.resources, registry)
    lists = {"benchmark": [*experiment.benchmarks, *experiment.knn, *experiment.labelled, *experiment.features]}
    lists["recipe"] = [Path(experiment.recipe).stem]
    faults += [fault for kind, given in lists.items() for name in given if (fault := folder_fault(kind, name))]
    if not str(experiment.runs).isprintable():
        faults.append(f"--runs {str(experiment.runs)!r} holds a character that is not printable; choose another folder")
    return faults


def faults_of_rows_own(experiment: Experiment) -> list[str]:
    """Settings that say which row it is: given to all, several rows would be one run under the names of several."""
    remedies = {"seed": "give the seeds with --seeds, or `seeds` of the preset", "variant": "name it under `variants`"}
    given = {f"variant {name!r} ": variant.settings for name, variant in experiment.variants.items()}
    given |= {
        name: of for name, of in experiment.settings.items() if name.partition("@")[0] in ("pretrain", "language")
    }
    return [
        f"{source}.{key}={text}: every row has its own {key}; {remedies[key]}"
        for source, settings in given.items()
        for key, text in as_texts(settings).items()
        if key in remedies
    ]


def faults_of_lists(experiment: Experiment) -> list[str]:
    """Rows that are missing or given twice, and probes without benchmarks."""
    faults = []
    if (experiment.linear or experiment.finetune or experiment.semi) and not experiment.labelled:
        probes = "linear, finetune and semi"
        faults.append(f"{probes} need benchmarks; name them in the preset under `classification` or `knn`")
    if not (experiment.methods or experiment.variants):
        faults.append("there are no methods; name some with --methods")
    if not experiment.seeds:
        faults.append("there are no seeds; name some with --seeds")
    for what, given in (("methods", experiment.methods), ("seeds", experiment.seeds)):
        if len(set(given)) < len(given):
            faults.append(f"{what} given twice: {', '.join(map(str, given))}")
    return faults


def faults_of_commands(experiment: Experiment, stages: Iterable[str], registry: Mapping[str, Stage]) -> list[str]:
    """What the commands refuse, each command line asked once: rows and seeds change only names of folders in it."""
    faults = []
    given = {name.partition("@")[0] for name in experiment.settings}
    named = [name for name, stage in registry.items() if stage.module and (name in stages or name in given)]
    seen = set()
    for name in named:
        for row, invocation in invocations_of(experiment, registry[name]):
            key = key_of(name, row, invocation, experiment)
            if key not in seen:
                seen.add(key)
                faults += faults_of_invocation(experiment, name, registry[name].module, row, invocation)
    return faults


def faults_of_curves(experiment: Experiment, pretrain: Stage) -> list[str]:
    """Rows that would keep no checkpoints for `curves`: after their pretraining it is too late to say so."""
    faults = []
    for row, invocation in invocations_of(experiment, pretrain):
        kept = experiment.runs / invocation.folder / "checkpoints"
        if row.seed != experiment.seeds[0] or kept.is_dir():
            continue
        with contextlib.suppress(UserError):  # said already
            argv = [*invocation.argv, *commands.arguments(pretrain.module, invocation.settings)]
            if not commands.command(pretrain.module).parse(argv).config.log.keep_every:
                faults.append(f"curves: {row.label} keeps no checkpoints to measure; set pretrain.log.keep_every=STEPS")
    return faults


def invocations_of(experiment: Experiment, stage: Stage) -> Iterator[tuple[Row, Invocation]]:
    """Every call of a stage that the experiment makes, with its row."""
    known = {*methods.available(), RANDOM, LANGUAGE_MODEL}
    rows = [row for row in experiment.rows if row.method in known]
    for row in rows if stage.per_row else rows[:1]:
        for invocation in stage.invocations(experiment, row):
            yield row, invocation


def key_of(name: str, row: Row, invocation: Invocation, experiment: Experiment) -> tuple:
    """What of a command line can be wrong: all but the row's folder, its seed and its variant's name."""
    folder = row.folder(experiment.recipe)
    argv = [word.replace(folder, "ROW") for word in invocation.argv]
    if "--seed" in argv:
        argv[argv.index("--seed") + 1] = "SEED"
    settings = {key: text for key, text in invocation.settings.items() if key not in ("seed", "variant")}
    return name, tuple(argv), tuple(settings.items())


def faults_of_invocation(experiment: Experiment, name: str, module: str, row: Row, invocation: Invocation) -> list[str]:
    """The faults of one command line, each after the setting that causes it, or else after the stage."""
    faults = faults_with(module, invocation, invocation.settings)
    if not faults:
        return []
    without = faults_with(module, invocation, {})
    alone = {key: faults_with(module, invocation, {key: text}) for key, text in invocation.settings.items()}
    # A parser stops at its first mistake, so the whole command line does not show every one.
    own = {key: [fault for fault in refused if fault not in without] for key, refused in alone.items()}
    lines = []
    for fault in without:  # some are mended by a setting, such as a folder of images that is missing
        if all(fault in refused or own[key] for key, refused in alone.items()):
            lines.append(f"{name}: {fault}")
    for key, text in invocation.settings.items():
        lines += [f"{source_of(experiment, name, row, key)}.{key}={text}: {fault}" for fault in own[key]]
    explained = {fault for refused in [without, *alone.values()] for fault in refused}
    return lines + [f"{name}: {fault}" for fault in faults if fault not in explained]


def faults_with(module: str, invocation: Invocation, settings: Mapping[str, str]) -> tuple[str, ...]:
    """What a command refuses of an invocation with these settings."""
    for key in settings:
        if f"--{key}" in invocation.argv:
            return (f"--{key} is given by the graph; leave the setting out",)
    try:
        return commands.check(module, [*invocation.argv, *commands.arguments(module, settings)])
    except UserError as error:
        return error.faults


def source_of(experiment: Experiment, stage: str, row: Row, key: str) -> str:
    """Where a setting stands: ``pretrain``, ``pretrain@simclr``, or the variant of a preset."""
    if stage == "pretrain" and key in as_texts(row.settings):
        return f"variant {row.variant!r} "
    of_method = f"{stage}@{row.method}"
    return of_method if key in as_texts(experiment.settings.get(of_method)) else stage


def faults_of_resources(
    jobs: Iterable[Job], cluster: Cluster, limits: Mapping[str | None, PartitionLimits], code: Path
) -> list[str]:
    """A line for each thing that a stage asks for and that the cluster has not got.

    Args:
        limits: of the partitions, where SLURM was asked for them; None is its default partition.
        code: folder of the packages that the jobs run.
    """
    faults = Faults()
    seen = set()
    for job in jobs:
        if (job.stage, job.resources) in seen:
            continue
        seen.add((job.stage, job.resources))
        if cluster.executor == "slurm":
            with faults.collected():
                batch_script.parameters(job, cluster, code=code)
                batch_script.python_of(cluster)
                faults += faults_of_partition(job, cluster, limits)
        elif job.resources.gpus > len(local.visible_gpus()):
            faults.append(
                f"{job.stage} asks for {job.resources.gpus} GPUs and this machine has {len(local.visible_gpus())}; "
                f"ask for fewer ({job.stage}.resources.gpus=0: none) or choose a --cluster"
            )
    return faults


def faults_of_partition(job: Job, cluster: Cluster, limits: Mapping[str | None, PartitionLimits]) -> list[str]:
    """What a job asks for beyond what its partition has, by the cluster file and by SLURM."""
    faults = []
    partition = batch_script.partition_of(job, cluster)
    bounds = [(limits_in_file(cluster, partition), f"a node of cluster {cluster.name}")]
    names = partition.split(",") if partition else [None]  # of several SLURM takes the first that is free
    of_slurm = [limits[name] for name in names if name in limits]
    if of_slurm:
        bounds.append((functools.reduce(larger, of_slurm), f"partition {partition or 'by default'}"))
    for name in names:
        if name and limits and name not in limits:
            known = ", ".join(sorted(other for other in limits if other))
            faults.append(f"{job.stage} goes to partition {name}, which SLURM does not know; known: {known}")
    hours = cluster.resolve_resources(job.resources).hours
    if hours * 3600 <= cluster.signal_delay_s:
        faults.append(
            f"{job.stage} asks for {hours:g} h, no more than the {cluster.signal_delay_s} s (signal_delay_s of cluster "
            f"{cluster.name}) before the end at which it saves; ask for more hours"
        )
    return faults + beyond(job, cluster, bounds)


def limits_in_file(cluster: Cluster, partition: str | None) -> PartitionLimits:
    """What the cluster file says of a partition."""
    if partition != cluster.partition:
        return PartitionLimits(
            cpus=cluster.cpu_partition_cpus_per_node,
            mem_gb=cluster.cpu_partition_mem_gb_per_node,
            hours=cluster.cpu_partition_max_hours,
        )
    return PartitionLimits(cpus=cluster.cpus_per_node, mem_gb=cluster.mem_gb_per_node, hours=cluster.max_hours)


def beyond(job: Job, cluster: Cluster, bounds: Sequence[tuple[PartitionLimits, str]]) -> list[str]:
    """What a job asks for beyond the narrowest of the ``bounds``, each with its name."""
    resources, tasks = cluster.resolve_resources(job.resources), batch_script.shape(job, cluster).tasks_per_node
    on_a_node = [
        ("cpus", "cores", resources.cpus * tasks),
        ("gpus", "GPUs", min(resources.gpus, tasks)),
        ("hours", "h", resources.hours),
        ("mem_gb", "GB", resources.mem_gb * tasks if cluster.mem else 0),
    ]
    faults = []
    for key, unit, value in on_a_node:
        most = [(bound, where) for limits, where in bounds if (bound := getattr(limits, key)) is not None]
        limit, where = min(most, default=(value, ""))
        if value > limit:
            remedy = f"set {job.stage}.resources.{key}" + (", or `hours` of the cluster file" if key == "hours" else "")
            faults.append(f"{job.stage} asks for {value:g} {unit}, more than the {limit:g} of {where}; {remedy}")
    return faults


def unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    """A line for each of ``names`` that is not among ``known``."""
    known = list(known)
    faults = Faults()
    for name in names:
        with faults.collected():
            one_of(kind, name, known)
    return faults
