"""How long a graph would take: each kind of long job runs for a short while and records its speed.

Run as a module it is that short run: it calls a stage and asks it to stop.
"""

import heapq
import importlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pretrain import backbones
from runtime import job_records
from runtime.command_line import Parser, UserError, run
from runtime.job_graph import Job
from runtime.job_records import Done, Submission
from runtime.progress import Snapshot
from runtime.text_grid import aligned
from slurm.planning.rows import RANDOM
from slurm.running.outcome import Outcome
from slurm.running.stage_call import INTERRUPTED, run_stage

STAGES = ("pretrain", "transfer", "linear", "finetune", "semi", "language")
"""The stages that take long. Time spent in the others is left out of the forecast."""

NETWORK = {"transfer": "TRANSFER.BACKBONE", "linear": "network", "finetune": "network", "semi": "network"}
"""Stages that take a backbone, and the setting that names an untrained one."""

FOLDER = ".estimate"
SECONDS = 90


class Speed(NamedTuple):
    """What a short run has measured."""

    steps: int
    """Steps of the whole work."""

    per_s: float
    """Steps per second once it runs."""

    limit: str = ""
    """Which of loader and step limits it, and the setting that would change that."""

    @property
    def hours(self) -> float:
        return self.steps / self.per_s / 3600

    @property
    def cells(self) -> list[str]:
        return [str(self.steps), f"{self.per_s:.3g}"]


class Whole(NamedTuple):
    """What a short run has measured that was through before its time was up."""

    seconds: float
    """Of the whole job."""

    limit: str = ""

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def cells(self) -> list[str]:
        return ["all", ""]


def speed_of(progress: Snapshot | None) -> Speed | None:
    """The speed between the first and the last report of a run; None where it made no two of them.

    The first step of a process is slow (it fills the loaders, it picks the kernels): measured from its end.
    """
    if progress is None:
        return None
    steps, seconds = progress.done - progress.first_done, progress.elapsed_s - progress.first_elapsed_s
    if steps <= 0 or seconds <= 0:
        return None
    return Speed(steps=progress.total, per_s=steps / seconds, limit=progress.limit)


def main(argv: list[str] | None = None) -> int:
    """Call MODULE's main for a while; 0 when it saved and stopped, or was through, else its own exit code."""
    parser = Parser(prog="estimate.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long (default %(default)s)")
    parser.add_argument("module", metavar="MODULE", help="a stage, such as pretrain.train")
    options, arguments = parser.parse_known_args(argv)
    timer = threading.Timer(options.seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    code = run_stage(options.module, arguments).code
    timer.cancel()
    return 0 if code in (0, INTERRUPTED) else code


def networks(jobs: Sequence[Job]) -> dict[str, str]:
    """Job -> the network that it fine-tunes or probes: that of its row's pretraining, or one that it names itself."""
    trained = {
        job.row: importlib.import_module(job.module).parse(job.argv).config.backbone.name
        for job in jobs
        if job.stage == "pretrain"
    }
    found = {}
    for job in jobs:
        if (setting := NETWORK.get(job.stage)) is not None:
            told = [word.partition("=")[2] for word in job.argv if word.startswith(f"{setting}=")]
            found[job.name] = told[-1] if told else trained.get(job.row, backbones.USUAL)
    return found


def speed_keys(jobs: Sequence[Job]) -> dict[str, str]:
    """Job -> what has one speed: a method's training, that of a language model's loss, a protocol with a network."""
    network_of = networks(jobs)
    one = len(set(network_of.values())) < 2
    keys = {}
    for job in jobs:
        if job.stage in ("pretrain", "language"):
            keys[job.name] = f"{job.label}/{job.stage}"
        elif job.stage in STAGES:
            keys[job.name] = f"{'any' if one else network_of[job.name]}/{job.stage_path}"
    return keys


def short_runs(runs: Path, jobs: Sequence[Job]) -> dict[str, Job]:
    """Speed key -> a short run of its first job, from random weights, in a folder of its own."""
    chosen: dict[str, Job] = {}
    names, keys, network_of = {job.name for job in jobs}, speed_keys(jobs), networks(jobs)
    for job in jobs:
        if job.name not in keys or keys[job.name] in chosen:
            continue
        argv = [word.replace(f"{runs}/{job.row}/", f"{runs}/{FOLDER}/{job.row}/") for word in job.argv]
        if job.stage == "pretrain":
            argv.append("log.every=1")  # else a slow machine reports nothing in so short a while
        if "--weights" in argv and argv[at := argv.index("--weights") + 1] != RANDOM:
            argv[at] = RANDOM
            if (network := network_of[job.name]) != backbones.USUAL:
                argv.append(f"{NETWORK[job.stage]}={network}")  # the file would have told it
        chosen[keys[job.name]] = replace(
            job,
            name=f"{FOLDER}/{job.name}",
            module="slurm.watching.estimate",
            argv=("--seconds", str(SECONDS), job.module, *argv),
            folder=runs / FOLDER / job.name,
            outputs=(),
            needs=tuple(need for need in job.needs if need in names and not need.startswith(job.row)),
            row="",
            resources=replace(job.resources, hours=min(0.25, job.resources.hours)),
        )
    return chosen


def measure(runs: Path, jobs: Sequence[Job], *, execute: Callable[[list[Job]], Outcome]) -> dict[str, Speed | Whole]:
    """Speed key -> speed; ``execute`` runs a list of jobs to their end and returns the outcome.

    Raises UserError if a short run fails, or records no progress.
    """
    short = short_runs(runs, jobs)
    first = {need for job in short.values() for need in job.needs}
    outcome = execute([*(job for job in jobs if job.name in first), *short.values()])
    if outcome.interrupted:
        raise KeyboardInterrupt
    speeds = {}
    for name, job in short.items():
        home = job_records.home(runs, job.name)
        progress, done = job_records.read(home, Snapshot), job_records.read(home, Done)
        if done is not None and done.seconds < SECONDS:  # its last report may be of what comes after training
            speed = Whole(done.seconds, progress.limit if progress else "")
        else:
            speed = speed_of(progress)
        if speed is None:
            logs = job_records.logs(runs, job.name, job_records.read(home, Submission))
            raise UserError(f"the short run of {name} recorded no speed; its log: {logs[0] if logs else 'none'}")
        speeds[name] = speed
    for folder in (runs / FOLDER, job_records.home(runs, FOLDER)):
        shutil.rmtree(folder, ignore_errors=True)
    return speeds


def forecast(jobs: Sequence[Job], speeds: Mapping[str, Speed | Whole], *, gpus: int) -> str:
    """Hours per cell, GPU-hours, what limits each, and the date when ``gpus`` GPUs would be through."""
    keys = speed_keys(jobs)
    hours = {name: speeds[key].hours for name, key in keys.items()}
    rows = [["", "steps", "steps/s", "hours a cell", "cells", "GPU-hours"]]
    total = 0.0
    for name, speed in speeds.items():
        cells = [job for job in jobs if keys.get(job.name) == name]
        gpu_hours = sum(job.resources.gpus * speed.hours for job in cells)
        total += gpu_hours
        rows.append([name, *speed.cells, f"{speed.hours:.2f}", str(len(cells)), f"{gpu_hours:.1f}"])
    lines = aligned(rows, left=1)
    limits = [f"{name}: {speed.limit}" for name, speed in speeds.items() if speed.limit]
    needed = finish(jobs, hours, gpus=gpus)
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + 3600 * needed))
    what = f"{gpus} GPUs" if any(job.resources.gpus for job in jobs) else f"{gpus} jobs at a time"
    return "\n".join(
        [
            *lines,
            *(["", *limits] if limits else []),
            "",
            f"{total:.1f} GPU-hours; with {what} through in {needed:.1f} h, on {date}, if none of them waits",
        ]
    )


def finish(jobs: Sequence[Job], hours: Mapping[str, float], *, gpus: int) -> float:
    """Hours until the last of ``jobs`` ends, each started as soon as its needs have ended and its GPUs are free.

    Args:
        hours: of each job; one that is not named takes no time.
        gpus: how many there are; a job without a GPU takes the place of one.
    """
    free, now, ended = gpus, 0.0, set()
    waiting = list(jobs)
    names = {job.name for job in jobs}
    running: list[tuple[float, int, Job]] = []
    while waiting or running:
        for job in list(waiting):
            wanted = min(gpus, max(1, job.resources.gpus))
            if wanted <= free and ended.issuperset(names.intersection(job.needs)):
                waiting.remove(job)
                free -= wanted
                heapq.heappush(running, (now + hours.get(job.name, 0.0), len(ended) + len(waiting) * 1000, job))
        now, _, job = heapq.heappop(running)
        free += min(gpus, max(1, job.resources.gpus))
        ended.add(job.name)
    return now


if __name__ == "__main__":
    run(main)
