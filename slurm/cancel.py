"""Take jobs of a runs folder out of the queue, with everything that needs them; what runs saves first.

    python slurm/cancel.py runs --method simclr
    python slurm/cancel.py runs --stage transfer,knn --seeds 1,2

What was done stays, and slurm/run_all.py goes on from there. Without a choice everything is cancelled.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

try:
    from runtime.command_line import Parser, UserError, numbers, run, words
    from slurm.running import graph_store, job_records
    from slurm.watching import job_status
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from runtime import files
from slurm.planning.graph import Job, descendants
from slurm.planning.validate import stop_at, unknown
from slurm.running.local import REMINDER_S
from slurm.watching.job_status import Standing
from slurm.watching.slurm_queue import scancel, squeue


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    jobs = graph_store.recall(options.runs)
    if not jobs:
        raise UserError(f"{options.runs} has no graph of jobs (jobs/graph.json); nothing was ever submitted from there")
    chosen = choose(jobs, options)
    found = [one for one in job_status.look(options.runs, jobs) if one.job.name in chosen]
    alive = [one for one in found if one.state in ("running", "queued") and one.job_id]
    elsewhere = out_of_reach(options.runs, found)
    waiting = leave_out(options.runs, found) - len(elsewhere) if job_records.in_use(options.runs) else 0
    here = cancel(options.runs, alive)
    for one in here:
        print(f"told to save and end: {one.job.name} (process {one.job_id})", flush=True)
    end([one.job_id for one in here])
    by_themselves = ended_well(options.runs, here)
    for one in alive:
        how = "ended well meanwhile" if one in by_themselves else "cancelled"
        print(f"{how}: {one.job.name} (job {one.job_id}, it was {one.state})")
    rest = [f"{waiting} more will not be begun"] if waiting else []
    if elsewhere:
        hosts = ", ".join(sorted(set(elsewhere.values())))
        rest += [f"{len(elsewhere)} more were begun on {hosts}; if they still run, give this command there"]
    rest = "; ".join(rest) or "the others needed nothing"
    print(f"{len(alive)} of {len(chosen)} jobs were running or in the queue; {rest}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="cancel.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="the --runs folder of slurm/run_all.py")
    parser.add_argument(
        "--method", "--methods", type=words, metavar="A,B", help="rows of these methods (or METHOD+VARIANT)"
    )
    parser.add_argument("--stage", type=words, metavar="A,B", help="these stages")
    parser.add_argument("--seeds", type=numbers, metavar="0,1", help="rows of these seeds")
    return parser.parse_args(argv)


def choose(jobs: Sequence[Job], options: argparse.Namespace) -> set[str]:
    """Names of the jobs that are meant, and of all that cannot run without them."""
    labels = {job.label for job in jobs if job.label}
    methods = labels | {label.partition("+")[0] for label in labels}
    faults = unknown("method", options.method or [], methods)
    faults += unknown("stage", options.stage or [], {job.stage for job in jobs})
    faults += unknown("seed", map(str, options.seeds or []), {str(job.seed) for job in jobs if job.row})
    stop_at(faults)
    meant = [job for job in jobs if is_meant(job, options)]
    return {name for job in meant for name in (job.name, *descendants(list(jobs), job.name))}


def is_meant(job: Job, options: argparse.Namespace) -> bool:
    return (
        (options.method is None or bool({job.label, job.label.partition("+")[0]} & set(options.method)))
        and (options.stage is None or job.stage in options.stage)
        and (options.seeds is None or job.seed in options.seeds)
    )


def leave_out(runs: Path, found: Sequence[Standing]) -> int:
    """Tell the run on this machine not to begin these jobs, nor to go on with them; return how many had not begun."""
    left = [one for one in found if one.state != "done"]
    for one in left:
        job_records.mark_cancelled(runs, one.job.name)
    return sum(one.state not in ("running", "queued") for one in left)


def out_of_reach(runs: Path, found: Sequence[Standing]) -> dict[str, str]:
    """Job -> host of those that another machine may still run in processes of its own: no signal of ours gets there."""
    records = {
        one.job.name: job_records.submitted(runs, one.job) for one in found if one.state in ("failed", "stopped")
    }
    hosts = {name: record["host"] for name, record in records.items() if record.get("executor") == "local"}
    return {name: host for name, host in hosts.items() if host != socket.gethostname()}


def cancel(runs: Path, alive: Sequence[Standing]) -> list[Standing]:
    """Note it, so that nobody takes them for failed, then tell SLURM; return those whose processes `end` has to tell.

    Raises UserError if SLURM does not do it; the note of every job that stays is taken back.
    """
    note(runs, alive, cancelled=True)
    on_slurm = [one for one in alive if job_records.submitted(runs, one.job)["executor"] == "slurm"]
    try:
        if on_slurm:
            scancel([one.job_id for one in reversed(on_slurm)])
    except UserError:
        gone = {one.job_id for one in on_slurm} - still_queued([one.job_id for one in on_slurm])
        note(runs, [one for one in alive if one.job_id not in gone], cancelled=False)
        raise
    return [one for one in alive if one not in on_slurm]


def note(runs: Path, jobs: Sequence[Standing], *, cancelled: bool) -> None:
    """Write into the records of jobs, or take out of them, that they were cancelled."""
    for one in jobs:
        record = job_records.submitted(runs, one.job) | {"cancelled": True}
        if not cancelled:
            del record["cancelled"]
        files.write_json(job_records.home(runs, one.job.name) / "submitted.json", record)


def still_queued(ids: Sequence[str]) -> set[str]:
    """Those that SLURM has not cancelled; all, where it does not answer."""
    try:
        return {job_id for job_id, queued in squeue(ids).items() if queued.state != "COMPLETING"}
    except UserError:
        return set(ids)


def ended_well(runs: Path, jobs: Sequence[Standing]) -> list[Standing]:
    """Those that came to their end before they heard of it; they were not cancelled."""
    found = [one for one in jobs if job_records.ended_well(runs, one.job)]
    note(runs, found, cancelled=False)
    return found


def end(processes: Sequence[str]) -> None:
    """Let processes on this machine save and end; a signal may be lost, so each is told until it has ended."""
    while alive := [process for process in processes if job_records.lives(process)]:
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGTERM)
        again = time.monotonic() + REMINDER_S
        while time.monotonic() < again and any(map(job_records.lives, alive)):
            time.sleep(0.1)


if __name__ == "__main__":
    run(main)
