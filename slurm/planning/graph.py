"""The graph of jobs: a plan times its rows times the stages asked for; pure data, nothing is run or read."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from runtime.command_line import UserError, one_of
from runtime.job_graph import Job, Resources
from slurm.planning.preset import Plan
from slurm.planning.rows import Row
from slurm.planning.stage import Stage
from slurm.planning.stages import STAGES


def build(plan: Plan, stages: Iterable[str], table: dict[str, Stage] = STAGES) -> list[Job]:
    """The jobs of ``stages`` and of all they imply, each after the jobs it needs.

    Row by row rather than stage by stage, so that where jobs run one after another a row is soon complete. Raises
    UserError if two jobs would have one name.
    """
    stages = list(stages)
    wanted = closure(stages, table)
    per_row = [name for name in wanted if table[name].per_row]
    whole = [name for name in wanted if not table[name].per_row and not table[name].last]
    order = list(table)
    start = min((order.index(name) for name in order if table[name].per_row), default=len(order))
    before = [name for name in whole if order.index(name) < start]
    rows = plan.rows
    jobs = [job for name in before for job in jobs_of(plan, name, rows[0], table)]
    jobs += [job for row in rows for name in per_row for job in jobs_of(plan, name, row, table)]
    jobs += [job for name in whole if name not in before for job in jobs_of(plan, name, rows[0], table)]
    read = {path for job in jobs for path in job.inputs}
    jobs = [job for job in jobs if job.stage in stages or job.stage not in before or read & set(job.outputs)]
    writer = {path: job.name for job in jobs for path in job.outputs}
    jobs = [replace(job, needs=unique(writer[path] for path in job.inputs if path in writer)) for job in jobs]
    for name in (name for name in wanted if table[name].last):
        others = tuple(job.name for job in jobs)
        jobs += [replace(job, needs=others, fan_in=True) for job in jobs_of(plan, name, rows[0], table)]
    refuse_twins([job.name for job in jobs])
    return jobs


def refuse_twins(names: list[str]) -> None:
    twins = unique(name for name in names if names.count(name) > 1) if len(set(names)) < len(names) else ()
    if twins:
        raise UserError(f"{', '.join(twins)} is planned twice; name each seed, protocol, benchmark and fraction once")


def closure(stages: Iterable[str], table: dict[str, Stage] = STAGES) -> list[str]:
    """The stages and what they imply, in the order of the pipeline."""
    wanted = set()
    todo = list(stages)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += table[name].implies
    return [name for name in table if name in wanted]


def jobs_of(plan: Plan, name: str, row: Row, table: dict[str, Stage]) -> Iterator[Job]:
    stage = table[name]
    for work in stage.work(plan, row):
        folder = plan.runs / work.folder
        own = {"row": work.folder.partition("/")[0], "label": row.label, "seed": row.seed} if stage.per_row else {}
        yield Job(
            name=work.name or work.folder,
            stage=name,
            module=stage.module,
            argv=tuple(work.argv),
            folder=folder,
            inputs=work.inputs,
            outputs=tuple(folder / name for name in (stage.outputs if work.outputs is None else work.outputs)),
            resources=resources_of(plan, name, stage),
            **own,
        )


def resources_of(plan: Plan, name: str, stage: Stage) -> Resources:
    """What the preset and the command line ask for, over the stage's own default."""
    asked = plan.resources.get(name, {})
    known = Resources.__dataclass_fields__
    for key, value in asked.items():
        one_of(f"resource of {name}", key, known)
        least = 0 if key == "gpus" else 0.01
        if not isinstance(value, int if key in ("gpus", "cpus") else (int, float)) or value < least:
            raise UserError(f"{name}.resources.{key} is {value!r}; expected a number such as {known[key].default}")
    return replace(stage.resources, **asked)


def missing_inputs(jobs: list[Job]) -> list[str]:
    """What the jobs read that neither exists nor is written by one of them: one sentence per fault."""
    written = {path for job in jobs for path in job.outputs}
    return [
        f"{job.name} reads {path}, which does not exist and no stage asked for writes"
        for job in jobs
        for path in job.inputs
        if path not in written and not path.exists()
    ]


def descendants(jobs: list[Job], name: str) -> list[str]:
    """Names of the jobs that cannot run without ``name``; ``jobs`` are in the order of the graph."""
    lost = {name}
    for job in jobs:
        if not job.fan_in and lost & set(job.needs):
            lost.add(job.name)
    return [job.name for job in jobs if job.name in lost and job.name != name]


def unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
