"""The graph of jobs: an experiment times its rows times the stages; pure data, nothing is run or read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runtime.command_line import UserError
from runtime.job_graph import Job, Resources
from runtime.settings import updated
from slurm.planning import commands
from slurm.planning.experiment import Experiment
from slurm.planning.registry import STAGES
from slurm.planning.rows import Row
from slurm.planning.stage import Stage


def build(experiment: Experiment, stages: Iterable[str], registry: Mapping[str, Stage] = STAGES) -> list[Job]:
    """The jobs of ``stages`` and of all they imply, each after the jobs it needs.

    Row by row rather than stage by stage, so that where jobs run one after another a row is soon complete. Raises
    UserError if two jobs would have one name.
    """
    stages = set(stages)
    wanted = closure(stages, registry)
    rows = experiment.rows
    resources = {name: resources_of(experiment, name, registry[name]) for name in wanted}

    def jobs_of(names: Iterable[str], row: Row) -> Iterator[Job]:
        for name in names:
            yield from _jobs(experiment, name, row, registry[name], resources[name])

    before, per_row, after, gathering = in_order(wanted, registry)
    jobs = list(jobs_of(before, rows[0]))
    for row in rows:
        jobs += jobs_of(per_row, row)
    jobs += jobs_of(after, rows[0])
    jobs = connected(without_unread(jobs, before=set(before) - stages))
    for name in gathering:
        others = tuple(job.name for job in jobs)
        jobs += [replace(job, needs=others, fan_in=True) for job in jobs_of([name], rows[0])]
    refuse_twins([job.name for job in jobs])
    return jobs


def in_order(wanted: Sequence[str], registry: Mapping[str, Stage]) -> tuple[list[str], list[str], list[str], list[str]]:
    """The stages before the rows, those of each row, those after the rows, and those that gather results."""
    before: list[str] = []
    per_row: list[str] = []
    after: list[str] = []
    gathering: list[str] = []
    rows_began = False
    for name, stage in registry.items():
        rows_began = rows_began or stage.per_row
        if name not in wanted:
            continue
        if stage.gathers:
            gathering.append(name)
        elif stage.per_row:
            per_row.append(name)
        else:
            (after if rows_began else before).append(name)
    return before, per_row, after, gathering


def without_unread(jobs: Sequence[Job], *, before: set[str]) -> list[Job]:
    """The jobs without those of the stages ``before`` whose files no job reads: they were implied, not named."""
    read = {path for job in jobs for path in job.inputs}
    return [job for job in jobs if job.stage not in before or not read.isdisjoint(job.outputs)]


def connected(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each with the names of those that write what it reads."""
    writer = {path: job.name for job in jobs for path in job.outputs}
    return [replace(job, needs=unique(writer[path] for path in job.inputs if path in writer)) for job in jobs]


def refuse_twins(names: Sequence[str]) -> None:
    """Raise UserError if a name is there twice."""
    seen: set[str] = set()
    twins = [name for name in names if name in seen or seen.add(name)]
    if twins:
        raise UserError.of(
            f"two jobs would be called {name}; give each seed, protocol, benchmark and fraction once" for name in twins
        )


def closure(stages: Iterable[str], registry: Mapping[str, Stage] = STAGES) -> list[str]:
    """The stages and what they imply, in the order of the pipeline."""
    wanted: set[str] = set()
    todo = list(stages)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += registry[name].implies
    return [name for name in registry if name in wanted]


def _jobs(experiment: Experiment, name: str, row: Row, stage: Stage, resources: Resources) -> Iterator[Job]:
    for invocation in stage.invocations(experiment, row):
        folder = experiment.runs / invocation.folder
        outputs = stage.outputs if invocation.outputs is None else invocation.outputs
        yield Job(
            name=invocation.name or invocation.folder,
            stage=name,
            module=stage.module,
            argv=(*invocation.argv, *commands.arguments(stage.module, invocation.settings)),
            folder=folder,
            inputs=invocation.inputs,
            outputs=tuple(folder / output for output in outputs),
            resources=resources,
            row=invocation.folder.partition("/")[0] if stage.per_row else "",
            label=row.label if stage.per_row else "",
            seed=row.seed if stage.per_row else None,
        )


def resources_of(experiment: Experiment, name: str, stage: Stage) -> Resources:
    """What preset and command line ask for, over the stage's own default. Raises UserError for what does not fit."""
    return updated(stage.resources, experiment.resources.get(name, {}), f"{name}.resources")


def missing_inputs(jobs: Sequence[Job]) -> list[str]:
    """What the jobs read that neither exists nor is written by one of them: a line per file."""
    written = {path for job in jobs for path in job.outputs}
    exists: dict[Path, bool] = {}
    faults = []
    for job in jobs:
        for path in job.inputs:
            if path in written:
                continue
            if path not in exists:
                exists[path] = path.exists()
            if not exists[path]:
                faults.append(f"{job.name} reads {path}, which does not exist; add the stage that writes it to --stage")
    return faults


def descendants(jobs: Iterable[Job], name: str) -> list[str]:
    """Names of the jobs that cannot run without ``name``; ``jobs`` are in the order of the graph."""
    lost = {name}
    names = []
    for job in jobs:
        if not job.fan_in and not lost.isdisjoint(job.needs):
            lost.add(job.name)
        if job.name in lost and job.name != name:
            names.append(job.name)
    return names


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order of their first."""
    return tuple(dict.fromkeys(names))
