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
    from runtime import job_graph, job_records
    from runtime.command_line import Parser, UserError, numbers, run, words
    from slurm.running import runs_folder
    from slurm.watching import job_status
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable} has no {missing.name}: `make setup`, then .venv/bin/python ...", file=sys.stderr)
    sys.exit(2)
from runtime.job_graph import Job
from runtime.job_records import Submission
from slurm.planning.graph import descendants
from slurm.planning.validate import stop_at, unknown
from slurm.running.local import REMINDER_S
from slurm.watching.follow import is_done
from slurm.watching.job_status import JobStatus
from slurm.watching.slurm_queue import scancel, squeue


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    runs = options.runs
    jobs = job_graph.load(runs)
    if not jobs:
        raise UserError(f"{runs} has no graph of jobs (jobs/graph.json); nothing was ever submitted from there")
    names = choose(jobs, options)
    chosen = [status for status in job_status.job_statuses(runs, jobs) if status.job.name in names]
    alive = [status for status in chosen if status.state in ("running", "queued") and status.job_id]
    elsewhere = out_of_reach(runs, chosen)
    waiting = leave_out(runs, chosen) - len(elsewhere) if runs_folder.in_use(runs) else 0
    processes = cancel(runs, alive)
    for status in processes:
        print(f"asked to save and end: {status.job.name} (process {status.job_id})", flush=True)
    end([status.job_id for status in processes])
    completed = keep_completed(runs, processes)
    for status in alive:
        outcome = "completed meanwhile" if status in completed else "cancelled"
        print(f"{outcome}: {status.job.name} (job {status.job_id}, it was {status.state})")
    rest = [f"{waiting} more will not be begun"] if waiting else []
    if elsewhere:
        hosts = ", ".join(sorted(set(elsewhere.values())))
        rest += [f"{len(elsewhere)} more were begun on {hosts}; if they still run, give this command there"]
    print(
        f"{len(alive)} of {len(chosen)} jobs were running or in the queue; "
        + ("; ".join(rest) or "the others needed nothing")
    )
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


def leave_out(runs: Path, statuses: Sequence[JobStatus]) -> int:
    """Keep the run on this machine from beginning or continuing these jobs; return how many had not begun."""
    left = [status for status in statuses if status.state != "done"]
    for status in left:
        job_records.write_cancelled(runs, status.job.name)
    return sum(status.state not in ("running", "queued") for status in left)


def out_of_reach(runs: Path, statuses: Sequence[JobStatus]) -> dict[str, str]:
    """Job -> host of those that another machine may still run in processes of its own, where no signal gets."""
    hosts = {}
    for status in statuses:
        if status.state in ("failed", "stopped", "lost"):
            submission = job_records.read(job_records.home(runs, status.job.name), Submission)
            if submission and submission.executor == "local" and submission.host != socket.gethostname():
                hosts[status.job.name] = submission.host
    return hosts


def cancel(runs: Path, alive: Sequence[JobStatus]) -> list[JobStatus]:
    """Record it, so that they do not count as failed, then tell SLURM; return those in processes, for `end`.

    Raises UserError if SLURM refuses; the record of every job that stays is taken back.
    """
    record(runs, alive, cancelled=True)
    on_slurm = [status for status in alive if is_on_slurm(runs, status.job)]
    try:
        if on_slurm:
            scancel([status.job_id for status in reversed(on_slurm)])
    except UserError:
        gone = {status.job_id for status in on_slurm} - still_queued([status.job_id for status in on_slurm])
        record(runs, [status for status in alive if status.job_id not in gone], cancelled=False)
        raise
    return [status for status in alive if status not in on_slurm]


def is_on_slurm(runs: Path, job: Job) -> bool:
    submission = job_records.read(job_records.home(runs, job.name), Submission)
    return submission is not None and submission.executor == "slurm"


def record(runs: Path, statuses: Sequence[JobStatus], *, cancelled: bool) -> None:
    """Record of jobs that they were cancelled, or that they were not."""
    for status in statuses:
        job_records.set_cancelled(runs, status.job.name, cancelled)


def still_queued(ids: Sequence[str]) -> set[str]:
    """Those that SLURM has not cancelled; all, where it does not answer."""
    try:
        return {job_id for job_id, queued in squeue(ids).items() if queued.state != "COMPLETING"}
    except UserError:
        return set(ids)


def keep_completed(runs: Path, statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """Those that completed before the signal reached them; they were not cancelled."""
    completed = [status for status in statuses if is_done(runs, status.job)]
    record(runs, completed, cancelled=False)
    return completed


def end(processes: Sequence[str]) -> None:
    """Let processes on this machine save and end; a signal may be lost, so it is repeated until they have ended."""
    while alive := [process for process in processes if runs_folder.is_alive(process)]:
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGTERM)
        again = time.monotonic() + REMINDER_S
        while time.monotonic() < again and any(map(runs_folder.is_alive, alive)):
            time.sleep(0.1)


if __name__ == "__main__":
    run(main)
