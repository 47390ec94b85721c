"""Run the benchmark: pretrain, convert, fine-tune and tabulate, on this machine or on a SLURM cluster.

    python slurm/run_all.py --stage pretrain,transfer
    python slurm/run_all.py --stage pretrain,transfer --preset imagenet-100ep pretrain.data.root=/data/imagenet

Say the same command again to go on after an interruption: what is finished is skipped, what was interrupted resumes.
"""

import argparse
import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from pretrain.command_line import UserError, run
    from slurm import check, cluster, graph, keys, ledger, partitions, plan, remembered, settings, snapshot
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from pretrain.provenance import ROOT
from slurm.graph import Job
from slurm.keys import Settled
from slurm.options import parse
from slurm.plan import Plan
from slurm.report import dry_run, failures, results
from slurm.stage import Stage
from slurm.stages import STAGES

PATIENCE_S = 60
"""How long we wait for somebody else who is just submitting jobs into the same folder."""


def main(argv: list[str] | None = None, *, table: dict[str, Stage] = STAGES) -> int:
    """Return 0 when all is done or submitted, 1 if a job failed, 130 if interrupted."""
    options = parse(argv, table, about=__doc__)
    if options.init_cluster:
        print(f"written: {partitions.init_cluster(options.init_cluster, cluster.CLUSTERS)}; look it over")
        return 0
    wanted, place, jobs = resolve(options, table)
    if options.dry_run:
        print(what_would_be(options, wanted, place, keys.settle(wanted.runs, jobs, redo=options.redo)))
        return 0
    on_slurm = place.executor == "slurm"
    with ledger.lock(wanted.runs, patience_s=PATIENCE_S if on_slurm else 0):
        settled = keys.settle(wanted.runs, jobs, redo=options.redo)
        tell_of_other_code(settled)
        ledger.forget_cancelled(wanted.runs, settled.jobs)
        if options.redo:
            ledger.set_aside(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
        asked = [dataclasses.replace(job, resources=place.asked(job.resources)) for job in settled.jobs]
        remembered.remember(wanted.runs, asked)
        code = ROOT if options.live_code else snapshot.take(wanted.runs, settled.jobs)
        if options.probe:
            print(probed(options, wanted, place, settled, code))
            return 0
        if options.export_sbatch:
            from slurm import export, squeue

            squeue.refuse_queued(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
            asked = {"done": settled.done, "cluster": place, "code": code, "folder": options.export_sbatch}
            print(f"written: sh {export.write(wanted.runs, settled.jobs, **asked)} submits the jobs")
            return 0
        if on_slurm:
            from slurm import sbatch

            at_once = {"cluster": place, "code": code, "at_once": options.max_running}
            ids = sbatch.submit(wanted.runs, settled.jobs, done=settled.done, **at_once)
        else:
            outcome = run_here(options, wanted, settled, debug=place.executor == "debug", code=code)
    if on_slurm:
        for name, job_id in ids.items():
            print(f"{name}: job {job_id}")
        if not options.wait:
            print(f"{len(ids)} jobs are in the queue; see them with: python slurm/status.py {wanted.runs}")
            return 0
        from slurm import squeue

        outcome = squeue.follow(wanted.runs, jobs, ids)
    return conclude(wanted, jobs, outcome)


def conclude(wanted: Plan, jobs: Sequence[Job], outcome) -> int:
    """Say how it ended; return the exit code."""
    if outcome.interrupted:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return 130
    if outcome.failed or outcome.never_ran or outcome.cancelled:
        print(failures(outcome), file=sys.stderr)
        return 1
    print(results(wanted.runs, jobs))
    return 0


def probed(options: argparse.Namespace, wanted: Plan, place: cluster.Cluster, settled: Settled, code: Path) -> str:
    """Measure how fast the long stages of what is left run here, and say when it would be done."""
    from slurm import probe, sbatch, squeue

    def execute(short: list[Job]):
        part = Settled(jobs=short, done=settled.done & {job.name for job in short})
        if place.executor != "slurm":
            return run_here(options, wanted, part, debug=place.executor == "debug", code=code)
        ids = sbatch.submit(wanted.runs, short, done=part.done, cluster=place, code=code)
        return squeue.follow(wanted.runs, short, ids)

    left = [job for job in settled.jobs if job.name not in settled.done]
    return probe.forecast(left, probe.measure(wanted.runs, left, execute=execute), gpus=options.probe)


def what_would_be(options: argparse.Namespace, wanted: Plan, place: cluster.Cluster, settled: Settled) -> str:
    """What --dry-run prints; nothing is written, and SLURM need not be there."""
    scripts = []
    if place.executor == "slurm":
        from slurm import sbatch

        code = ROOT if options.live_code else snapshot.folder_of(wanted.runs, snapshot.read(settled.jobs))
        asked = {"cluster": place, "code": code, "at_once": options.max_running}
        scripts = sbatch.scripts(wanted.runs, settled.jobs, done=settled.done, **asked)
    tell_of_other_code(settled)
    return dry_run(wanted, settled.jobs, place=place, done=settled.done, scripts=scripts)


def tell_of_other_code(settled: Settled) -> None:
    """Finished work is kept when the code changes, since it may be a month's; but nobody shall not know it."""
    if settled.other_code:
        commits = ", ".join(dict.fromkeys(settled.other_code.values()))
        jobs = "1 finished job was" if len(settled.other_code) == 1 else f"{len(settled.other_code)} finished jobs were"
        print(f"{jobs} made by other code ({commits}) and kept; --redo starts anew", file=sys.stderr)


def resolve(options: argparse.Namespace, table: dict[str, Stage]) -> tuple[Plan, cluster.Cluster, list[Job]]:
    """What the command line means; raises UserError that names everything that is wrong with it."""
    faults = check.unknown("stage", options.stage, table)
    told, wrong = plan.split_overrides(options.overrides, list(table))
    faults += wrong + check.unknown("preset", [options.preset], presets_like(options.preset))
    try:
        place = cluster.load(options.cluster)
    except UserError as fault:
        faults.append(str(fault))
    check.stop_at(faults)
    fields = ("methods", "seeds", "recipe", "protocols", "benchmarks")
    runs = options.runs or Path(place.runs or "runs")
    wanted = plan.load(options.preset, runs=runs, **{name: getattr(options, name) for name in fields}).changed(told)
    stages = graph.closure(options.stage, table)
    faults = check.faults_of(wanted, stages, table, variants=plan.load(options.preset).variants)
    faults += settings.faults_of(wanted, stages, table)
    if place.executor != "slurm" and options.wait is False:
        faults.append(f"--no-wait is for SLURM; --cluster {place.name} runs the jobs itself")
    for name in ("parallel", "max_running", "probe"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            faults.append(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    if options.export_sbatch and (place.executor != "slurm" or options.max_running):
        faults.append("--export-sbatch needs a --cluster whose executor is slurm, and knows no --max-running")
    if place.executor != "slurm" and options.max_running:
        faults.append(f"--max-running is for SLURM; on {place.name} say --parallel")
    check.stop_at(faults)
    jobs = graph.build(wanted, options.stage, table)
    limits = partitions.limits() if place.executor == "slurm" else {}
    check.stop_at(graph.missing_inputs(jobs) + check.impossible(jobs, place, limits))
    return wanted, place, jobs


def run_here(options: argparse.Namespace, wanted: Plan, settled: Settled, *, debug: bool, code: Path):
    """Run the graph on this machine and return its outcome."""
    from slurm import here, squeue
    from slurm.schedule import Schedule

    ledger.refuse_leftovers(wanted.runs, settled.jobs)
    squeue.refuse_queued(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
    return Schedule(
        wanted.runs,
        settled.jobs,
        done=settled.done,
        start=here.DebugJob if debug else functools.partial(here.LocalJob, code=code),
        parallel=1 if debug else options.parallel,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=here.visible_gpus(),
    ).run()


def presets_like(name: str) -> list[str]:
    """The names that may be given for a preset: the known ones, and any path of a yaml file."""
    return [*plan.available(), *([name] if name.endswith(".yaml") else [])]


if __name__ == "__main__":
    run(main)
