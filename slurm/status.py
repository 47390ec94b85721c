"""The table of a runs folder as a to-do list: a row per method, variant and seed, a column per stage.

    python slurm/status.py runs
    python slurm/status.py runs --watch
    python slurm/status.py runs --logs matrix_ssl-demo-seed0/pretrain

Below the table stands, for each job that is not done, how far it is, why it waits, why it failed, or the command that
would fill its cell; last, the GPU-hours requested and used. It needs the folder alone; with SLURM it knows more.
"""

import argparse
import json
import sys
import time
from pathlib import Path

try:
    from runtime import job_graph
    from runtime.command_line import Parser, UserError, run
    from slurm.watching import job_status, status_text
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)

EVERY_S = 10


def parser() -> Parser:
    parser = Parser(prog="status.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the --runs folder of slurm/run_all.py")
    parser.add_argument("--watch", action="store_true", help=f"show it again every {EVERY_S} s until all has ended")
    parser.add_argument("--json", action="store_true", help="one object per job instead of the table")
    parser.add_argument("--logs", metavar="JOB", help="print the end of a job's logs, and where they are")
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 0, or 1 if a job has failed or was lost."""
    options = parse(argv)
    while True:
        jobs = job_graph.load(options.runs)
        if not jobs:
            raise UserError(
                f"{options.runs} has no graph of jobs (jobs/graph.json); it is written by slurm/run_all.py --runs "
                f"{options.runs}"
            )
        if options.logs:
            print(status_text.log_ends(options.runs, jobs, options.logs))
            return 0
        statuses = job_status.job_statuses(options.runs, jobs)
        if options.watch and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        if options.json:
            print(json.dumps(status_text.as_json(statuses), indent=1), flush=True)
        else:
            print(status_text.text(options.runs, statuses), flush=True)
        if not options.watch or not any(status.state in ("running", "queued") for status in statuses):
            return int(any(status.state in ("failed", "lost") for status in statuses))
        time.sleep(EVERY_S)


if __name__ == "__main__":
    run(main)
