"""Watch submitted jobs until they have left the queue."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Done, Submission
from slurm.running.outcome import Outcome
from slurm.watching import slurm_queue
from slurm.watching.console import View, tail


def follow(runs: Path, jobs: Sequence[Job], ids: Mapping[str, str], *, every_s: float = 10.0) -> Outcome:
    """Wait until none of ``ids`` is left in the queue, showing every change and how far the oldest running job is.

    Ctrl-C only ends the watching. A SLURM that does not answer is asked again.
    """
    view = View([job.name for job in jobs])
    shown: dict[str, str] = {}
    outcome = Outcome()
    left = [job for job in jobs if job.name in ids]
    began: dict[str, float] = {}
    while left:
        try:
            states = slurm_queue.squeue(ids.values())
        except UserError as silent:
            print(silent, file=sys.stderr, flush=True)
            time.sleep(every_s)
            continue
        for job in list(left):
            job_id = ids[job.name]
            in_queue = states[job_id].state if job_id in states else "gone"
            state = "done" if is_done(runs, job) else in_queue.lower()
            if state != shown.get(job.name):
                shown[job.name] = state
                # The record that it is done may reach us later than the news that it left the queue.
                if state != "gone":
                    view.say(job.name, f"{state} (job {job_id})")
            elif state == "gone":
                note_end(runs, job, job_id, outcome, view)
            if state == "done" or job.name in outcome.failed or job.name in outcome.never_ran:
                left.remove(job)
        running = [job.name for job in left if shown[job.name] == "running"]
        for job in (job for job in left if job.name in running[:1]):
            seconds = time.monotonic() - began.setdefault(job.name, time.monotonic())
            view.show_progress(job.name, seconds, job_records.home(runs, job.name), others=len(running) - 1)
        if left:
            time.sleep(every_s)
    return outcome


def note_end(runs: Path, job: Job, job_id: str, outcome: Outcome, view: View) -> None:
    """A job left the queue without being done: it failed if it ever wrote a log, else it never ran."""
    submission = job_records.read(job_records.home(runs, job.name), Submission)
    logs = job_records.logs(runs, job.name, submission)
    if any(log.exists() for log in logs):
        outcome.failed[job.name] = [str(logs[0]), *tail(logs)]
        view.say(job.name, f"failed (job {job_id})")
    else:
        outcome.never_ran.append(job.name)
        view.say(job.name, f"never ran (job {job_id})")


def is_done(runs: Path, job: Job) -> bool:
    """Whether the last run of this very command came to its end."""
    done = job_records.read(job_records.home(runs, job.name), Done)
    return done is not None and done.argv == job.argv
