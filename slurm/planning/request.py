"""From the words of a command line to a graph of jobs on a cluster, with everything that is wrong named at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime import job_graph
from runtime.command_line import Faults
from runtime.job_graph import Job
from slurm.planning import graph, presets, validate
from slurm.planning.experiment import Experiment, Settings, parse_overrides
from slurm.planning.stage import Stage
from slurm.submitting import partitions
from slurm.submitting.cluster import Cluster
from slurm.submitting.cluster import load as load_cluster


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run, and where."""

    experiment: Experiment
    cluster: Cluster
    jobs: list[Job]

    @property
    def runs(self) -> Path:
        return self.experiment.runs

    @property
    def on_slurm(self) -> bool:
        return self.cluster.executor == "slurm"


def resolve(
    stages: Sequence[str],
    *,
    preset: str,
    overrides: Iterable[str],
    cluster_name: str,
    runs: Path | None,
    registry: Mapping[str, Stage],
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    recipe: str | None = None,
    protocols: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
) -> Request:
    """The graph of ``stages`` of a preset on a cluster; what is given replaces the preset's.

    Raises UserError that names everything that is wrong: with the names first, else with the settings, else with the
    files and resources that are missing.
    """
    faults = Faults(validate.unknown("stage", stages, registry))
    loaded = cluster = None
    settings: Settings = {}
    with faults.collected():
        settings = parse_overrides(overrides, registry)
    with faults.collected():
        loaded = presets.load(preset)
    with faults.collected():
        cluster = load_cluster(cluster_name)
    faults.check()
    assert loaded is not None and cluster is not None
    experiment = presets.experiment(
        loaded,
        runs=job_graph.known_as(runs_folder(runs or Path(cluster.runs or "runs"))),
        methods=methods,
        seeds=seeds,
        recipe=recipe,
        protocols=protocols,
        benchmarks=benchmarks,
    ).with_overrides(settings)
    faults += validate.faults_of(experiment, graph.closure(stages, registry), registry, variants=loaded.variants)
    faults.check()
    jobs = graph.build(experiment, stages, registry)
    faults += graph.missing_inputs(jobs)
    limits = partitions.limits() if cluster.executor == "slurm" else {}
    faults += validate.faults_of_resources(jobs, cluster, limits, experiment.runs)
    faults.check()
    return Request(experiment=experiment, cluster=cluster, jobs=jobs)


def runs_folder(path: Path) -> Path:
    """The runs folder as commands take it: none takes a name that begins with - for a folder."""
    return path.absolute() if str(path).startswith("-") else path
