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
    from runtime import job_graph, job_records
    from runtime.command_line import UserError, run
    from slurm.planning import fingerprint, graph, preset, validate, validate_settings
    from slurm.running import runs_folder
    from slurm.submitting import cluster, partitions, snapshot
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from runtime.job_graph import Job
from runtime.provenance import ROOT
from slurm.planning.fingerprint import Settled
from slurm.planning.options import parse
from slurm.planning.preset import Plan
from slurm.planning.stage import Stage
from slurm.planning.stages import STAGES
from slurm.watching.summary import dry_run, failures, results

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
        print(what_would_be(options, wanted, place, fingerprint.settle(wanted.runs, jobs, redo=options.redo)))
        return 0
    on_slurm = place.executor == "slurm"
    with runs_folder.lock(wanted.runs, patience_s=PATIENCE_S if on_slurm else 0):
        settled = fingerprint.settle(wanted.runs, jobs, redo=options.redo)
        tell_of_other_code(settled)
        job_records.remove_cancelled(wanted.runs, [job.name for job in settled.jobs])
        if options.redo:
            runs_folder.set_aside(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
        asked = [dataclasses.replace(job, resources=place.asked(job.resources)) for job in settled.jobs]
        job_graph.save(wanted.runs, asked)
        code = ROOT if options.live_code else snapshot.take(wanted.runs, settled.jobs)
        if options.probe:
            print(probed(options, wanted, place, settled, code))
            return 0
        if options.export_sbatch:
            from slurm.submitting import export, queued_jobs

            queued_jobs.refuse_queued(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
            asked = {"done": settled.done, "cluster": place, "code": code, "folder": options.export_sbatch}
            print(f"written: sh {export.write(wanted.runs, settled.jobs, **asked)} submits the jobs")
            return 0
        if on_slurm:
            from slurm.submitting import sbatch

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
        from slurm.watching.follow import follow

        outcome = follow(wanted.runs, jobs, ids)
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
    from slurm.submitting import sbatch
    from slurm.watching import estimate
    from slurm.watching.follow import follow

    def execute(short: list[Job]):
        part = Settled(jobs=short, done=settled.done & {job.name for job in short})
        if place.executor != "slurm":
            return run_here(options, wanted, part, debug=place.executor == "debug", code=code)
        ids = sbatch.submit(wanted.runs, short, done=part.done, cluster=place, code=code)
        return follow(wanted.runs, short, ids)

    left = [job for job in settled.jobs if job.name not in settled.done]
    return estimate.forecast(left, estimate.measure(wanted.runs, left, execute=execute), gpus=options.probe)


def what_would_be(options: argparse.Namespace, wanted: Plan, place: cluster.Cluster, settled: Settled) -> str:
    """What --dry-run prints; nothing is written, and SLURM need not be there."""
    scripts = []
    if place.executor == "slurm":
        from slurm.submitting import sbatch

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
    faults = validate.unknown("stage", options.stage, table)
    told, wrong = preset.split_overrides(options.overrides, list(table))
    faults += wrong + validate.unknown("preset", [options.preset], presets_like(options.preset))
    try:
        place = cluster.load(options.cluster)
    except UserError as fault:
        faults.append(str(fault))
    validate.stop_at(faults)
    fields = ("methods", "seeds", "recipe", "protocols", "benchmarks")
    runs = options.runs or Path(place.runs or "runs")
    wanted = preset.load(options.preset, runs=runs, **{name: getattr(options, name) for name in fields}).changed(told)
    stages = graph.closure(options.stage, table)
    faults = validate.faults_of(wanted, stages, table, variants=preset.load(options.preset).variants)
    faults += validate_settings.faults_of(wanted, stages, table)
    if place.executor != "slurm" and options.wait is False:
        faults.append(f"--no-wait is for SLURM; --cluster {place.name} runs the jobs itself")
    for name in ("parallel", "max_running", "probe"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            faults.append(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    if options.export_sbatch and (place.executor != "slurm" or options.max_running):
        faults.append("--export-sbatch needs a --cluster whose executor is slurm, and knows no --max-running")
    if place.executor != "slurm" and options.max_running:
        faults.append(f"--max-running is for SLURM; on {place.name} say --parallel")
    validate.stop_at(faults)
    jobs = graph.build(wanted, options.stage, table)
    limits = partitions.limits() if place.executor == "slurm" else {}
    validate.stop_at(graph.missing_inputs(jobs) + validate.impossible(jobs, place, limits))
    return wanted, place, jobs


def run_here(options: argparse.Namespace, wanted: Plan, settled: Settled, *, debug: bool, code: Path):
    """Run the graph on this machine and return its outcome."""
    from slurm.running import local
    from slurm.running.scheduler import Schedule
    from slurm.submitting import queued_jobs

    runs_folder.await_leftovers(wanted.runs, settled.jobs)
    queued_jobs.refuse_queued(wanted.runs, [job for job in settled.jobs if job.name not in settled.done])
    return Schedule(
        wanted.runs,
        settled.jobs,
        done=settled.done,
        start=local.DebugJob if debug else functools.partial(local.LocalJob, code=code),
        parallel=1 if debug else options.parallel,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=local.visible_gpus(),
    ).run()


def presets_like(name: str) -> list[str]:
    """The names that may be given for a preset: the known ones, and any path of a yaml file."""
    return [*preset.available(), *([name] if name.endswith(".yaml") else [])]


if __name__ == "__main__":
    run(main)
