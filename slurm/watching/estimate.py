"""How long a graph would take: each kind of long job runs for a short while, and its speed is read from its log.

Run as a module it is that short while: it calls a stage and tells it to stop.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from runtime.command_line import Parser, UserError, run
from slurm.planning.graph import Job
from slurm.running import job_records
from slurm.running.stage_call import INTERRUPTED, run_stage
from slurm.submitting.arrays import leaf
from slurm.watching.forecast import Speed, finish, speed_of

STAGES = ("pretrain", "transfer", "linear", "semi")
"""The stages that take long. Time spent in the others is left out of the forecast."""

FOLDER = ".probe"
SECONDS = 90


def main(argv: list[str] | None = None) -> int:
    """Call MODULE's main for a while; 0 when it saved and stopped, or was through, else its own exit code."""
    parser = Parser(prog="probe.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long (default %(default)s)")
    parser.add_argument("module", metavar="MODULE", help="a stage, such as pretrain.train")
    options, words = parser.parse_known_args(argv)
    timer = threading.Timer(options.seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    code = run_stage(options.module, words)
    timer.cancel()
    return 0 if code in (0, INTERRUPTED) else code


def kind(job: Job) -> str:
    """What has one speed: a method's pretraining, a protocol on a benchmark."""
    return f"{job.label}/{job.stage}" if job.stage == "pretrain" else f"any/{leaf(job)}"


def probes(runs: Path, jobs: Sequence[Job]) -> dict[str, Job]:
    """Kind -> a short run of its first job, from random weights, in a folder of its own."""
    found: dict[str, Job] = {}
    names = {job.name for job in jobs}
    for job in jobs:
        if job.stage in STAGES and kind(job) not in found:
            own = {f"{runs}/{job.row}/": f"{runs}/{FOLDER}/{job.row}/"}
            words = [replaced(word, own) for word in job.argv]
            if job.stage == "pretrain":
                words.append("log.every=1")  # else a slow machine says nothing in so short a while
            if "--weights" in words:
                words[words.index("--weights") + 1] = "random"
            here = [need for need in job.needs if need in names and not need.startswith(job.row)]
            found[kind(job)] = replace(
                job,
                name=f"{FOLDER}/{job.name}",
                module="slurm.watching.estimate",
                argv=("--seconds", str(SECONDS), job.module, *words),
                folder=runs / FOLDER / job.name,
                outputs=(),
                needs=tuple(here),
                row="",
                resources=replace(job.resources, hours=min(0.25, job.resources.hours)),
            )
    return found


def replaced(word: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        word = word.replace(old, new)
    return word


def measure(runs: Path, jobs: Sequence[Job], *, execute: Callable) -> dict[str, Speed]:
    """Kind -> speed; ``execute`` runs a list of jobs to their end and returns the outcome.

    Raises UserError if a probe fails, or says nothing of its progress.
    """
    short = probes(runs, jobs)
    first = {need for job in short.values() for need in job.needs}
    outcome = execute([*(job for job in jobs if job.name in first), *short.values()])
    if outcome.interrupted:
        raise KeyboardInterrupt
    speeds = {}
    for name, job in short.items():
        logs = job_records.logs(runs, job)
        speed = speed_of(logs[0]) if logs else None
        if speed is None:
            raise UserError(f"the probe of {name} tells no speed; its log: {logs[0] if logs else 'none'}")
        speeds[name] = speed
    for folder in (runs / FOLDER, job_records.home(runs, FOLDER)):
        shutil.rmtree(folder, ignore_errors=True)
    return speeds


def forecast(jobs: Sequence[Job], speeds: dict[str, Speed], *, gpus: int) -> str:
    """Hours per cell, GPU-hours, and the date when ``gpus`` GPUs would be through."""
    hours = {job.name: speeds[kind(job)].hours for job in jobs if job.stage in STAGES}
    rows = [["", "steps", "steps/s", "hours a cell", "cells", "GPU-hours"]]
    total = 0.0
    for name, speed in speeds.items():
        cells = [job for job in jobs if job.stage in STAGES and kind(job) == name]
        bill = sum(job.resources.gpus * speed.hours for job in cells)
        total += bill
        words = [name, speed.steps, f"{speed.per_s:.3g}", f"{speed.hours:.2f}", len(cells), f"{bill:.1f}"]
        rows.append([str(word) for word in words])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        row[0].ljust(widths[0]) + "".join(f"  {w:>{n}}" for w, n in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    needed = finish(jobs, hours, gpus=gpus)
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + 3600 * needed))
    what = f"{gpus} GPUs" if any(job.resources.gpus for job in jobs) else f"{gpus} jobs at a time"
    return "\n".join(
        [
            *lines,
            "",
            f"{total:.1f} GPU-hours; with {what} through in {needed:.1f} h, on {date}, if none of them waits",
        ]
    )


if __name__ == "__main__":
    run(main)
