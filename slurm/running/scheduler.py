"""The graph on this machine: every job as soon as what it needs is done, one at a time or a few side by side."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runtime import job_records
from runtime.job_graph import Job
from runtime.progress import duration
from slurm.planning.graph import descendants
from slurm.running.outcome import Outcome
from slurm.running.stage_call import INTERRUPTED
from slurm.watching.console import View, tail


class Process(Protocol):
    """A running job: slurm.running.local.LocalJob or DebugJob."""

    job: Job
    logs: Sequence[Path]

    def code(self) -> int | None:
        """Its exit code; None while it runs."""

    def stop(self) -> None:
        """Let it save and end."""

    def kill(self) -> None:
        """End it at once."""

    def clean(self) -> None:
        """Remove what it needs no more."""


@dataclass(kw_only=True)
class RunningJob:
    """A running job, the GPUs it holds, and when it began."""

    process: Process
    gpus: list[int]
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Schedule:
    """Runs all ``jobs`` but those in ``done``.

    Args:
        start: makes a running job of ``(runs, job, cores=..., gpus=...)``: slurm.running.local.LocalJob or DebugJob.
        parallel: how many jobs at the same time; each gets its share of ``cores``.
        gpus: ids of the GPUs to hand out.
    """

    def __init__(
        self,
        runs: Path,
        jobs: Sequence[Job],
        *,
        done: set[str],
        start: Callable,
        parallel: int,
        cores: int,
        gpus: list[int],
    ):
        self.runs, self.jobs, self.start, self.parallel = runs, list(jobs), start, parallel
        self.cores = max(1, cores // parallel)
        self.free_gpus = list(gpus)
        self.done = set(done)
        self.waiting = [job for job in jobs if job.name not in done]
        self.running: dict[str, RunningJob] = {}
        self.outcome = Outcome()
        self.view = View([job.name for job in jobs])

    def run(self) -> Outcome:
        """Return when nothing is left that can run, or when stopped by Ctrl-C or a signal."""
        for job in self.jobs:
            if job.name in self.done:
                self.view.say(job.name, "done already")
        with stop_requests() as requests:
            answered = 0
            while self.running or (self.waiting and not requests):
                if not requests:
                    self.start_ready()
                self.collect(resume=not requests)
                if len(requests) > answered:
                    answered += 1
                    self.stop(at_once=answered > 1)
                self.show()
            self.outcome.interrupted = bool(requests)
        return self.outcome

    def start_ready(self) -> None:
        """Start what may start: its needs are done, and there is room for it."""
        for job in list(self.waiting):
            wanted = job.resources.gpus
            if len(self.running) == self.parallel:
                return
            if job_records.is_cancelled(self.runs, job.name):
                self.leave_out(job.name)
                self.view.say(job.name, "cancelled")
            elif wanted <= len(self.free_gpus) and self.may_start(job):
                self.waiting.remove(job)
                gpus, self.free_gpus = self.free_gpus[:wanted], self.free_gpus[wanted:]
                self.view.say(job.name, "starts")
                process = self.start(self.runs, job, cores=self.cores, gpus=gpus)
                self.running[job.name] = RunningJob(process=process, gpus=gpus)

    def may_start(self, job: Job) -> bool:
        """Whether what it needs is done; what gathers the results of others waits only for their end."""
        ended = self.done
        if job.fan_in:
            ended = ended.union(self.outcome.failed, self.outcome.never_ran, self.outcome.cancelled)
        return ended.issuperset(job.needs)

    def collect(self, *, resume: bool) -> None:
        """Take note of the jobs that have ended."""
        for name, started in list(self.running.items()):
            code = started.process.code()
            if code is None:
                continue
            del self.running[name]
            self.free_gpus += started.gpus
            started.process.clean()
            took = duration(started.seconds)
            if code == 0:
                self.done.add(name)
                self.view.say(name, f"done in {took}")
            elif job_records.is_cancelled(self.runs, name):
                self.leave_out(name)
                self.view.say(name, f"cancelled after {took}")
            elif code == INTERRUPTED:
                self.waiting.insert(0, started.process.job)
                self.view.say(name, f"saved and stopped after {took}" + (", resumes" if resume else ""))
            else:
                self.give_up(name, started.process.logs)
                self.view.say(name, f"failed after {took}")

    def give_up(self, name: str, logs: Sequence[Path]) -> None:
        """Note a failure, and that nothing that needs it will run."""
        lost = descendants(self.jobs, name)
        self.outcome.failed[name] = [str(path) for path in logs[:1]] + tail(logs)
        self.outcome.never_ran += [other for other in lost if other not in self.outcome.never_ran]
        self.waiting = [job for job in self.waiting if job.name not in lost]

    def leave_out(self, name: str) -> None:
        """Forget a cancelled job and what needs it."""
        lost = [name, *descendants(self.jobs, name)]
        self.outcome.cancelled += [other for other in lost if other not in self.outcome.cancelled]
        self.waiting = [job for job in self.waiting if job.name not in lost]

    def stop(self, *, at_once: bool) -> None:
        """Let every running job save and end; or end it without."""
        for name, started in self.running.items():
            if at_once:
                started.process.kill()
            else:
                self.view.say(name, "stops and saves (Ctrl-C again: without saving)")
                started.process.stop()

    def show(self) -> None:
        """Show how far the oldest running job is, and rest a moment."""
        for name, started in list(self.running.items())[:1]:
            home = job_records.home(self.runs, name)
            self.view.show_progress(name, started.seconds, home, others=len(self.running) - 1)
            time.sleep(0.1)


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that grows by one with each Ctrl-C, SIGTERM or loss of the terminal, unless nohup makes us ignore that."""
    requests: list[int] = []
    terminals = [file for file in (1, 2) if os.isatty(file)]

    def note(number, frame):
        if number == signal.SIGHUP:
            for file in terminals:  # every word to a terminal that is gone would be an error
                os.dup2(os.open(os.devnull, os.O_WRONLY), file)
        requests.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
