"""Take jobs of a runs folder out of the queue, with everything that needs them; what runs saves first.

    python slurm/cancel.py runs --methods simclr
    python slurm/cancel.py runs --stage transfer,knn --seeds 1,2

What was done stays, and slurm/run_all.py goes on from there. Without a choice everything is cancelled.
"""

import argparse
import sys
from pathlib import Path

try:
    from runtime import job_graph
    from runtime.command_line import Parser, UserError, numbers, printable, run, words
    from slurm.running import runs_folder
    from slurm.watching import cancellation, job_status
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)


def parser() -> Parser:
    parser = Parser(prog="cancel.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the --runs folder of slurm/run_all.py")
    parser.add_argument("--methods", type=words, metavar="A,B", help="rows of these methods (or METHOD+VARIANT)")
    parser.add_argument("--method", dest="methods", type=words, help=argparse.SUPPRESS)
    parser.add_argument("--stage", type=words, metavar="A,B", help="these stages")
    parser.add_argument("--seeds", type=numbers, metavar="0,1", help="rows of these seeds")
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    runs = options.runs
    jobs = job_graph.load(runs)
    if not jobs:
        raise UserError(f"{runs} has no graph of jobs (jobs/graph.json); nothing was ever submitted from there")
    names = cancellation.choose(jobs, methods=options.methods, stages=options.stage, seeds=options.seeds)
    chosen = [status for status in job_status.job_statuses(runs, jobs) if status.job.name in names]
    alive = [status for status in chosen if status.state in ("running", "queued") and status.job_id]
    elsewhere = cancellation.out_of_reach(runs, chosen)
    waiting = cancellation.leave_out(runs, chosen) - len(elsewhere) if runs_folder.in_use(runs) else 0
    processes = cancellation.cancel(runs, alive)
    for status in processes:
        print(printable(f"asked to save and end: {status.job.name} (process {status.job_id})"), flush=True)
    cancellation.end_processes([status.job_id for status in processes])
    completed = cancellation.keep_completed(runs, processes)
    for status in alive:
        outcome = "completed meanwhile" if status in completed else "cancelled"
        print(printable(f"{outcome}: {status.job.name} (job {status.job_id}, it was {status.state})"))
    rest = [f"{waiting} more will not be begun"] if waiting else []
    if elsewhere:
        hosts = ", ".join(sorted(set(elsewhere.values())))
        rest.append(f"{len(elsewhere)} more were begun on {hosts}; if they still run, give this command there")
    what_is_left = "; ".join(rest) or "the others needed nothing"
    print(printable(f"{len(alive)} of {len(chosen)} jobs were running or in the queue; {what_is_left}"))
    return 0


if __name__ == "__main__":
    run(main)
