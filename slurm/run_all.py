"""Run the benchmark: pretrain, convert, fine-tune and tabulate, on this machine or on a SLURM cluster.

    python slurm/run_all.py --stage pretrain,transfer
    python slurm/run_all.py --stage pretrain,transfer --preset imagenet-100ep pretrain.data.root=/data/imagenet

Give the same command again after an interruption: what is finished is skipped, what was interrupted resumes.
"""

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

try:
    from runtime import job_graph, job_records
    from runtime.command_line import Faults, Parser, numbers, run, words
    from slurm.planning import presets
    from slurm.running import runs_folder
    from slurm.submitting import cluster, partitions, snapshot
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from runtime.job_graph import Job, Resources
from runtime.provenance import ROOT
from slurm.planning.registry import STAGES
from slurm.planning.request import Request, resolve
from slurm.planning.reuse import ResolvedGraph, resolve_reuse
from slurm.planning.stage import Stage
from slurm.running.outcome import Outcome
from slurm.watching.summary import dry_run, failures, results

PATIENCE_S = 60
"""How long to wait for another process that submits jobs into the same folder."""

OVERRIDE = (
    "a setting of a stage's command, or what it asks for: pretrain.optim.lr=0.5 transfer.SOLVER.BASE_LR=0.04 "
    "data.images=500 pretrain@simclr.optim.lr=0.3 (of one method) pretrain.resources.gpus=2 (of "
    f"{', '.join(field.name for field in fields(Resources))})"
)


def main(argv: list[str] | None = None, *, registry: Mapping[str, Stage] = STAGES) -> int:
    """Return 0 when all is done or submitted, 1 if a job failed, 130 if interrupted."""
    options = parse(argv, registry)
    if options.init_cluster:
        print(f"written: {partitions.init_cluster(options.init_cluster, cluster.CLUSTERS)}; review it before use")
        return 0
    request = resolve(
        options.stage,
        preset=options.preset,
        overrides=options.overrides,
        cluster_name=options.cluster,
        runs=options.runs,
        registry=registry,
        methods=options.methods,
        seeds=options.seeds,
        recipe=options.recipe,
        protocols=options.protocols,
        benchmarks=options.benchmarks,
    )
    check_options(options, request)
    if options.dry_run:
        print(dry_run_text(options, request))
        return 0
    with runs_folder.lock(request.runs, patience_s=PATIENCE_S if request.on_slurm else 0):
        resolved, code = prepare(options, request)
        if options.estimate:
            print(estimated(options, request, resolved, code))
            return 0
        if options.export_sbatch:
            print(f"written: sh {exported(options, request, resolved, code)} submits the jobs")
            return 0
        if not request.on_slurm:
            return conclude(request, run_here(options, request, resolved, code))
        ids = submitted(options, request, resolved, code)
    for name, job_id in ids.items():
        print(f"{name}: job {job_id}")
    if not options.wait:
        print(f"{len(ids)} jobs are in the queue; see them with: python slurm/status.py {request.runs}")
        return 0
    from slurm.watching.follow import follow

    return conclude(request, follow(request.runs, request.jobs, ids))


def parser(registry: Mapping[str, Stage] = STAGES) -> Parser:
    names = presets.available()
    summaries = "\n".join(f"  {name:<{max(map(len, names))}} {presets.load(name).summary}" for name in names)
    parser = Parser(
        prog="run_all.py",
        description=__doc__,
        epilog=f"stages: {', '.join(registry)}\n\npresets:\n{summaries}\n\n{presets.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hidden = argparse.SUPPRESS
    parser.add_argument("--stage", type=words, metavar="A,B", help="stages to run, with all they imply")
    parser.add_argument("--preset", default="demo", metavar="NAME", help="what to run: a preset or a yaml file (demo)")
    parser.add_argument("--methods", type=words, metavar="A,B", help="rows: methods, variants of the preset, random")
    parser.add_argument("--method", type=words, dest="methods", help=hidden)
    parser.add_argument("--seeds", type=numbers, metavar="0,1", help="run each row once per seed")
    parser.add_argument("--recipe", metavar="NAME", help="how to pretrain: a recipe or a yaml file")
    parser.add_argument("--protocols", type=words, metavar="A,B", help="how to fine-tune")
    parser.add_argument("--benchmarks", type=words, metavar="A,B", help="what to fine-tune on")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where to write (the cluster's `runs`, or runs)")
    parser.add_argument("--redo", action="store_true", help="repeat what other code or settings made")
    parser.add_argument("--live-code", action="store_true", help="jobs run this checkout, not a copy of it")
    parser.add_argument("--cluster", default="auto", metavar="NAME", help="auto, a cluster, or a yaml file (auto)")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="jobs at a time on this machine (1)")
    parser.add_argument("--max-running", type=int, metavar="N", help="elements of an array at a time on SLURM")
    parser.add_argument("--dry-run", action="store_true", help="print jobs, batch scripts, GPU-hours; run nothing")
    parser.add_argument("--estimate", action="store_true", help="run each long stage for 90 s; say when all is done")
    parser.add_argument("--gpus", type=int, metavar="N", help="of --estimate: how many GPUs there are")
    parser.add_argument("--probe", type=int, help=hidden)
    parser.add_argument("--export-sbatch", type=Path, metavar="DIR", help="write batch scripts and a submit.sh only")
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, help="follow the jobs to their end (on SLURM: no, else: yes)"
    )
    parser.add_argument("--init-cluster", metavar="NAME", help="ask SLURM and write slurm/clusters/NAME.yaml")
    parser.add_argument("overrides", nargs="*", metavar="STAGE.KEY=VALUE", help=OVERRIDE)
    return parser


def parse(argv: list[str] | None, registry: Mapping[str, Stage] = STAGES) -> argparse.Namespace:
    """The command line, checked by itself. Settings may stand before, between and after the options."""
    options = parser(registry).parse_intermixed_args(argv)
    if options.probe is not None:
        options.estimate, options.gpus = True, options.probe
    faults = Faults()
    if not (options.stage or options.init_cluster):
        faults.append(f"--stage is missing: what to run, of {', '.join(registry)} (see --help)")
    if options.estimate != (options.gpus is not None):
        given, other = ("--estimate", "--gpus N") if options.estimate else ("--gpus", "--estimate")
        faults.append(f"{given} is there without {other}; give both: --estimate --gpus 8 says when 8 GPUs are done")
    for name in ("parallel", "max_running", "gpus"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            faults.append(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected at least 1")
    faults.check()
    return options


def check_options(options: argparse.Namespace, request: Request) -> None:
    """Raise UserError that names the options that do not go with where the jobs run."""
    faults = Faults()
    if not request.on_slurm:
        if options.wait is False:
            faults.append(f"--no-wait is for SLURM; --cluster {request.cluster.name} runs the jobs itself")
        if options.max_running:
            faults.append(f"--max-running is for SLURM; on {request.cluster.name} give --parallel")
        if options.export_sbatch:
            faults.append("--export-sbatch needs a --cluster whose executor is slurm")
    elif options.export_sbatch and options.max_running:
        faults.append("--export-sbatch writes no arrays; leave --max-running out")
    faults.check()


def dry_run_text(options: argparse.Namespace, request: Request) -> str:
    """What --dry-run prints; nothing is written, and SLURM need not be there."""
    resolved = resolve_reuse(request.runs, request.jobs, redo=options.redo)
    scripts: list[str] = []
    if request.on_slurm:
        from slurm.submitting import submit

        code = ROOT
        if not options.live_code:
            code = snapshot.folder_of(request.runs, snapshot.read(resolved.jobs))
        scripts = submit.scripts(
            request.runs,
            resolved.jobs,
            done=resolved.done,
            cluster=request.cluster,
            code=code,
            at_once=options.max_running,
        )
    warn_of_other_code(resolved)
    return dry_run(request.experiment, resolved.jobs, cluster=request.cluster, done=resolved.done, scripts=scripts)


def prepare(options: argparse.Namespace, request: Request) -> tuple[ResolvedGraph, Path]:
    """Record the graph in the runs folder; return it, and the folder of the code that its jobs run."""
    resolved = resolve_reuse(request.runs, request.jobs, redo=options.redo)
    warn_of_other_code(resolved)
    job_records.remove_cancelled(request.runs, [job.name for job in resolved.jobs])
    if options.redo:
        runs_folder.set_aside(Path(os.path.abspath(request.runs)), resolved.todo)  # `.` has no name to go beside
    resolve_resources = request.cluster.resolve_resources
    job_graph.save(request.runs, [replace(job, resources=resolve_resources(job.resources)) for job in resolved.jobs])
    return resolved, ROOT if options.live_code else snapshot.take(request.runs, resolved.jobs)


def warn_of_other_code(resolved: ResolvedGraph) -> None:
    """Name finished work that other code made: it is kept, since it may have taken a month."""
    if resolved.other_code:
        commits = ", ".join(dict.fromkeys(resolved.other_code.values()))
        count = len(resolved.other_code)
        jobs = "1 finished job was" if count == 1 else f"{count} finished jobs were"
        print(f"{jobs} made by other code ({commits}) and kept; --redo repeats them", file=sys.stderr)


def submitted(options: argparse.Namespace, request: Request, resolved: ResolvedGraph, code: Path) -> dict[str, str]:
    """Submit what is not done; the job id of each job in the queue."""
    from slurm.submitting import submit

    return submit.submit(
        request.runs,
        resolved.jobs,
        done=resolved.done,
        cluster=request.cluster,
        code=code,
        at_once=options.max_running,
    )


def exported(options: argparse.Namespace, request: Request, resolved: ResolvedGraph, code: Path) -> Path:
    """Write what is not done as batch scripts; the script that submits them."""
    from slurm.submitting import export

    return export.write(
        request.runs,
        resolved.jobs,
        done=resolved.done,
        cluster=request.cluster,
        code=code,
        folder=options.export_sbatch,
    )


def run_here(options: argparse.Namespace, request: Request, resolved: ResolvedGraph, code: Path) -> Outcome:
    """Run the graph on this machine."""
    from slurm.running import local
    from slurm.running.scheduler import Schedule
    from slurm.submitting import queued_jobs

    runs_folder.await_leftovers(request.runs, resolved.jobs)
    queued_jobs.refuse_queued(request.runs, resolved.todo)
    debug = request.cluster.executor == "debug"
    return Schedule(
        request.runs,
        resolved.jobs,
        done=resolved.done,
        start=local.DebugJob if debug else functools.partial(local.LocalJob, code=code),
        parallel=1 if debug else options.parallel,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=local.visible_gpus(),
    ).run()


def estimated(options: argparse.Namespace, request: Request, resolved: ResolvedGraph, code: Path) -> str:
    """Measure how fast the long stages of what is left run here, and say when all would be done."""
    from slurm.watching import estimate
    from slurm.watching.follow import follow

    def execute(jobs: Sequence[Job]) -> Outcome:
        part = ResolvedGraph(jobs=list(jobs), done=resolved.done & {job.name for job in jobs})
        if request.on_slurm:
            return follow(request.runs, jobs, submitted(options, request, part, code))
        return run_here(options, request, part, code)

    speeds = estimate.measure(request.runs, resolved.todo, execute=execute)
    return estimate.forecast(resolved.todo, speeds, gpus=options.gpus)


def conclude(request: Request, outcome: Outcome) -> int:
    """Say how it ended; return the exit code."""
    if outcome.interrupted:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return 130
    if outcome.failed or outcome.never_ran or outcome.cancelled:
        print(failures(outcome), file=sys.stderr)
        return 1
    print(results(request.runs, request.jobs))
    return 0


if __name__ == "__main__":
    run(main)
