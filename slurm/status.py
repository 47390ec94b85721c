"""The table of a runs folder as a to-do list: a row per method, variant and seed, a column per stage.

    python slurm/status.py runs
    python slurm/status.py runs --watch
    python slurm/status.py runs --logs matrix_ssl-demo-seed0/pretrain

Below the table stands, for each job that is not done, how far it is, why it waits, the last line of its log, or the
command that would fill its place; last, the GPU-hours asked for and used. Needs the folder alone; SLURM says more.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

try:
    from runtime.command_line import Parser, UserError, run
    from slurm.running import graph_store, job_records
    from slurm.watching import job_status
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from runtime.progress import duration
from slurm.planning.graph import Job
from slurm.planning.stages import STAGES
from slurm.submitting.arrays import leaf
from slurm.watching.console import tail
from slurm.watching.job_status import Standing

EVERY_S = 10


def main(argv: list[str] | None = None) -> int:
    """Return 0, or 1 if a job has failed."""
    options = parse(argv)
    while True:
        jobs = graph_store.recall(options.runs)
        if not jobs:
            raise UserError(
                f"{options.runs} has no graph of jobs (jobs/graph.json); it is written by slurm/run_all.py --runs "
                f"{options.runs}"
            )
        if options.logs:
            print(logs_of(options.runs, jobs, options.logs))
            return 0
        found = job_status.look(options.runs, jobs)
        if options.watch and sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        print(json.dumps(as_json(found), indent=1) if options.json else text(options.runs, found), flush=True)
        if not options.watch or not any(one.state in ("running", "queued") for one in found):
            return int(any(one.state == "failed" for one in found))
        time.sleep(EVERY_S)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="status.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the --runs folder of slurm/run_all.py")
    parser.add_argument("--watch", action="store_true", help=f"show it again every {EVERY_S} s until all has ended")
    parser.add_argument("--json", action="store_true", help="one object per job instead of the table")
    parser.add_argument("--logs", metavar="JOB", help="print the end of a job's logs, and where they are")
    return parser.parse_args(argv)


def text(runs: Path, found: Sequence[Standing]) -> str:
    """The table, what is to be done, and the bill."""
    counts = {state: sum(one.state == state for one in found) for state in job_status.STATES}
    head = f"{runs}: {len(found)} jobs: " + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([head, "", *table(found), *to_do(found), *bill(found)])


def table(found: Sequence[Standing]) -> list[str]:
    """A line per row, a column per stage; jobs of the whole plan below, one line each."""
    rows = dict.fromkeys(one.job.row for one in found if one.job.row)
    order = {name: number for number, name in enumerate(STAGES)}
    in_order = sorted((one.job for one in found if one.job.row), key=lambda job: order.get(job.stage, 0))
    columns = dict.fromkeys(map(leaf, in_order))
    cells = {(one.job.row, leaf(one.job)): cell(one) for one in found}
    grid = [["", *columns]] + [[row, *(cells.get((row, column), "–") for column in columns)] for row in rows]
    grid = grid if rows else []
    widths = [max(len(line[k]) for line in grid) for k in range(len(columns) + 1)] if rows else []
    lines = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in grid]
    return lines + [f"{one.job.name}: {cell(one)}" for one in found if not one.job.row]


def cell(one: Standing) -> str:
    """What stands in the table for a job: its state; of one that runs, the step it is at."""
    step = re.match(r"step (\S+)", one.detail)
    return f"running {step[1].rstrip(',')}" if one.state == "running" and step else one.state


def to_do(found: Sequence[Standing]) -> list[str]:
    """A line or two for every job that is not done, the most pressing first; of the queue, how many wait for what."""
    lines = []
    for state in ("failed", "cancelled", "stopped", "running", "missing"):
        mine = [one for one in found if one.state == state]
        lines += [""] if mine else []
        for one in mine:
            number = f" (job {one.job_id})" if one.job_id and state == "running" else ""
            lines += [f"{state}: {one.job.name}{number}" + (f": {one.detail}" if one.detail else "")]
            lines += [f"    log: {one.log}"] if state == "failed" and one.log else []
            lines += [f"    {one.job.command}"] if state in ("missing", "stopped", "cancelled") else []
    reasons = Counter(one.detail for one in found if one.state == "queued")
    waiting = [f"{count} ({reason})" for reason, count in reasons.most_common()]
    return lines + (["", f"queued: {', '.join(waiting)}"] if waiting else [])


def bill(found: Sequence[Standing]) -> list[str]:
    """GPU-hours by stage: asked for by the time limits of all jobs, and used by those that have run."""
    asked: dict[str, float] = {}
    used: dict[str, float] = {}
    for one in (one for one in found if one.job.resources.gpus):
        stage, gpus = one.job.stage, one.job.resources.gpus
        asked[stage] = asked.get(stage, 0) + gpus * one.job.resources.hours
        used[stage] = used.get(stage, 0) + gpus * one.seconds / 3600
    parts = [f"{stage} {used[stage]:.1f} of {asked[stage]:g}" for stage in asked]
    total = f"{sum(used.values()):.1f} of {sum(asked.values()):g}"
    return ["", f"GPU-hours used of those asked for: {', '.join(parts)}; together {total}"] if parts else []


def as_json(found: Sequence[Standing]) -> list[dict]:
    """One plain object per job."""
    return [
        {
            "job": one.job.name,
            "row": one.job.row,
            "method": one.job.label,
            "seed": one.job.seed,
            "stage": one.job.stage,
            "state": one.state,
            "detail": one.detail,
            "job_id": one.job_id,
            "log": str(one.log or ""),
            "command": one.job.command,
            "gpu_hours_asked": one.job.resources.gpus * one.job.resources.hours,
            "gpu_hours_used": round(one.job.resources.gpus * one.seconds / 3600, 3),
        }
        for one in found
    ]


def logs_of(runs: Path, jobs: Sequence[Job], name: str) -> str:
    """The ends of a job's logs. Raises UserError that names the jobs there are, or that it never ran."""
    job = next((job for job in jobs if job.name == name), None)
    if job is None:
        near = [job.name for job in jobs if name in job.name] or [job.name for job in jobs]
        raise UserError(f"no job {name!r} in {runs}; jobs: {', '.join(near[:20])}")
    found = [log for log in job_records.logs(runs, job) if log.exists()]
    if not found:
        raise UserError(f"{name} has written no log yet")
    record = job_records.read(job_records.home(runs, name) / "done.json")
    ended = [f"done in {duration(record['seconds'])}, code {record['commit']}"] if record else []
    return "\n".join([line for log in found for line in (f"==> {log}", *tail([log], lines=40), "")] + ended)


if __name__ == "__main__":
    run(main)
