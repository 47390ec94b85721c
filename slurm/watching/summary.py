"""What run_all prints about a graph: before it runs, when a job failed, and at the end."""

from collections.abc import Sequence
from pathlib import Path

from runtime.job_graph import Job
from slurm.planning.experiment import Experiment
from slurm.running.outcome import Outcome
from slurm.submitting.cluster import Cluster


def dry_run(
    experiment: Experiment, jobs: Sequence[Job], *, cluster: Cluster, done: set[str], scripts: Sequence[str] = ()
) -> str:
    """The graph, job by job: its name, what it asks for and waits for, its command; the batch scripts; the bill."""
    rows = f"{', '.join([*experiment.methods, *experiment.variants])} x seed {', '.join(map(str, experiment.seeds))}"
    lines = [f"{len(jobs)} jobs on {cluster.name}, {len(done)} done already: {rows}"]
    for number, job in enumerate(jobs, start=1):
        state = "done already" if job.name in done else asks(job, cluster)
        others = [other for other in job.needs if other not in done]
        everything = len(job.needs) > 3 and len(job.needs) >= number - 1
        after = (
            "; when all others have ended"
            if everything and job.fan_in
            else f"; after {', '.join(others)}"
            if others
            else ""
        )
        lines += ["", f"[{number}/{len(jobs)}] {job.name} ({state}{'' if job.name in done else after})"]
        lines += [f"    {job.command}"]
    for number, script in enumerate(scripts, start=1):
        lines += ["", f"---- script {number} of {len(scripts)} " + "-" * 40, script.rstrip()]
    return "\n".join([*lines, "", bill(jobs, cluster=cluster, done=done)])


def bill(jobs: Sequence[Job], *, cluster: Cluster, done: set[str]) -> str:
    """The GPU-hours that the jobs ask for, by stage; each job can be queued again at its limit and ask once more."""
    hours: dict[str, float] = {}
    for job in jobs:
        if job.name not in done and job.resources.gpus:
            hours[job.stage] = (
                hours.get(job.stage, 0) + job.resources.gpus * cluster.resolve_resources(job.resources).hours
            )
    if not hours:
        return "asks for no GPU"
    parts = ", ".join(f"{stage} {value:g}" for stage, value in hours.items())
    return f"asks for {sum(hours.values()):g} GPU-hours ({parts}), once up to the time limit of each job"


def asks(job: Job, cluster: Cluster) -> str:
    """``2 GPUs, 2 x 4 cores, 16 GB, 24 h``; of this machine, which is all there for one job, only the GPUs."""
    resources = cluster.resolve_resources(job.resources)
    tasks = max(1, resources.gpus)
    gpus = {0: "no GPU", 1: "1 GPU"}.get(resources.gpus, f"{resources.gpus} GPUs")
    if cluster.executor != "slurm":
        return gpus
    times = f"{tasks} x " if tasks > 1 else ""
    cores = "core" if tasks * resources.cpus == 1 else "cores"
    return f"{gpus}, {times}{resources.cpus} {cores}, {resources.mem_gb * tasks:g} GB, {resources.hours:g} h"


def failures(outcome: Outcome) -> str:
    """The failed jobs with the ends of their logs, what was cancelled, and what did not run for it."""
    lines = []
    for name, log in outcome.failed.items():
        lines += ["", f"failed: {name}", *(f"    {line}" for line in log)]
    if outcome.cancelled:
        lines += ["", f"cancelled: {', '.join(outcome.cancelled)}"]
    if outcome.never_ran:
        lines += ["", f"did not run, because it needs that: {', '.join(outcome.never_ran)}"]
    return "\n".join(lines)


def results(runs: Path, jobs: Sequence[Job]) -> str:
    """The tables and where they are; what was written, if the graph made no table."""
    if not any(job.stage == "tables" for job in jobs):
        return "\n".join(["done:", *(f"    {path}" for job in jobs for path in job.outputs)])
    from analysis.results_table.build_tables import build_tables
    from analysis.results_table.measurements import collect
    from analysis.results_table.terminal import text

    lines = [text(table) for table in build_tables(collect(runs).measurements)]
    lines += [f"table: {path}" for path in sorted((runs / "results").glob("*.md"))]
    lines += [f"report: {job.folder / 'report.html'}" for job in jobs if job.stage == "report"]
    pictures = [job.folder / "predictions.png" for job in jobs]
    lines += [f"pictures: {path}" for path in pictures if path.exists()]
    return "\n".join(["", *lines])
