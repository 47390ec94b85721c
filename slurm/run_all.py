"""Run the benchmark: pretrain, convert, fine-tune and tabulate, on this machine or on a SLURM cluster.

    python slurm/run_all.py --stage pretrain,transfer
    python slurm/run_all.py --stage pretrain,transfer --preset imagenet-100ep pretrain.data.root=/data/imagenet

Say the same command again to go on after an interruption: what is finished is skipped, what was interrupted resumes.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pretrain.command_line import Parser, run
from slurm import check, cluster, graph, ledger, plan
from slurm.graph import Job
from slurm.plan import Plan
from slurm.report import dry_run, failures, results
from slurm.stages import STAGES, Resources, Stage


def main(argv: list[str] | None = None, *, table: dict[str, Stage] = STAGES) -> int:
    """Return 0 when all is done or submitted, 1 if a job failed, 130 if interrupted."""
    options = parse(argv, table)
    wanted, place, jobs = resolve(options, table)
    done = ledger.done(wanted.runs, jobs)
    if options.dry_run:
        print(dry_run(wanted, jobs, place=place, done=done))
        return 0
    with ledger.lock(wanted.runs):
        if place.executor == "slurm":
            from slurm import sbatch

            ids = sbatch.submit(wanted.runs, jobs, done=done, cluster=place)
        else:
            outcome = run_here(wanted, jobs, done=done, debug=place.executor == "debug", parallel=options.parallel)
    if place.executor == "slurm":
        for name, job_id in ids.items():
            print(f"{name}: job {job_id}")
        if not options.wait:
            print(f"{len(ids)} jobs are in the queue; logs and records in {wanted.runs / 'jobs'}")
            return 0
        outcome = sbatch.follow(wanted.runs, jobs, ids)
    if outcome.interrupted:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return 130
    if outcome.failed or outcome.never_ran:
        print(failures(outcome), file=sys.stderr)
        return 1
    print(results(wanted.runs, jobs))
    return 0


def parse(argv: list[str] | None, table: dict[str, Stage]) -> argparse.Namespace:
    """The command line, lists split, everything else as it was typed."""
    summaries = "\n".join(f"  {name:<16} {plan.load(name).summary}" for name in plan.available())
    parser = Parser(
        prog="run_all.py",
        description=__doc__,
        epilog=f"presets:\n{summaries}\n\nstages: {', '.join(table)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", type=words, required=True, metavar="A,B", help="stages to run, with all they imply")
    parser.add_argument("--preset", default="demo", metavar="NAME", help="what to run: a preset or a yaml file (demo)")
    parser.add_argument("--methods", type=words, metavar="A,B", help="rows of the table; random: train from scratch")
    parser.add_argument("--seeds", type=numbers, metavar="0,1", help="run each row once per seed")
    parser.add_argument("--recipe", metavar="NAME", help="how to pretrain")
    parser.add_argument("--protocols", type=words, metavar="A,B", help="how to fine-tune")
    parser.add_argument("--benchmarks", type=words, metavar="A,B", help="what to fine-tune on")
    parser.add_argument("--cluster", default="auto", metavar="NAME", help="auto, a cluster, or a yaml file (auto)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where to write (runs)")
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="jobs at a time on this machine (1)")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and their commands; run nothing")
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, help="follow the jobs to their end (on SLURM: no, else: yes)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="STAGE.KEY=VALUE",
        help="a setting of a stage's command, or what it asks for: pretrain.optim.lr=0.5 transfer.SOLVER.BASE_LR=0.04 "
        f"data.images=500 pretrain.resources.gpus=2 (of {', '.join(Resources.__dataclass_fields__)})",
    )
    return parser.parse_intermixed_args(argv)  # settings may stand before, between and after the options


def resolve(options: argparse.Namespace, table: dict[str, Stage]) -> tuple[Plan, cluster.Cluster, list[Job]]:
    """What the command line means; raises UserError that names everything that is wrong with it."""
    faults = check.unknown("stage", options.stage, table)
    settings, wrong = plan.split_overrides(options.overrides, list(table))
    faults += wrong + check.unknown("preset", [options.preset], presets_like(options.preset))
    faults += filter(None, [check.caught(cluster.load, options.cluster)])
    check.stop_at(faults)
    fields = ("methods", "seeds", "recipe", "protocols", "benchmarks", "runs")
    wanted = plan.load(options.preset, **{name: getattr(options, name) for name in fields}).changed(settings)
    place = cluster.load(options.cluster)
    stages = graph.closure(options.stage, table)
    faults = check.faults_of(wanted, stages)
    if place.executor != "slurm" and options.wait is False:
        faults.append(f"--no-wait is for SLURM; --cluster {place.name} runs the jobs itself")
    if options.parallel < 1:
        faults.append(f"--parallel is {options.parallel}; expected at least 1")
    check.stop_at(faults)
    jobs = graph.build(wanted, options.stage, table)
    check.stop_at(graph.missing_inputs(jobs) + check.impossible(jobs, place))
    return wanted, place, jobs


def run_here(wanted: Plan, jobs: Sequence[Job], *, done: set[str], debug: bool, parallel: int):
    """Run the graph on this machine and return its outcome."""
    from slurm import here
    from slurm.schedule import Schedule

    ledger.refuse_leftovers(wanted.runs, jobs)
    return Schedule(
        wanted.runs,
        jobs,
        done=done,
        start=here.DebugJob if debug else here.LocalJob,
        parallel=1 if debug else parallel,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=here.visible_gpus(),
    ).run()


def presets_like(name: str) -> list[str]:
    """The names that may be given for a preset: the known ones, and any path of a yaml file."""
    return [*plan.available(), *([name] if name.endswith(".yaml") else [])]


def words(text: str) -> list[str]:
    """``a,b`` -> ``["a", "b"]``."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """``0,1`` -> ``[0, 1]``."""
    try:
        return [int(word) for word in words(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, got {text!r}") from error


if __name__ == "__main__":
    run(main)
