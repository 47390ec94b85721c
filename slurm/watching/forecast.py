"""When a graph would be through: measured speeds, the order of the graph, and a number of GPUs."""

import heapq
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from slurm.planning.graph import Job

LINE = re.compile(r" (\d+)/(\d+) \(\d+%\)  ([\d:]+) gone")


class Speed(NamedTuple):
    """What a probe has measured."""

    steps: int
    """Steps of the whole work."""

    per_s: float
    """Steps per second once it runs."""

    @property
    def hours(self) -> float:
        return self.steps / self.per_s / 3600


def speed_of(log: Path) -> Speed | None:
    """The speed between the first and the last line of progress of a log; None where it has no two of them."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    points = [(int(done), int(total), seconds_of(gone)) for done, total, gone in LINE.findall(text)]
    # The first step of a process is slow (it fills the loaders, it picks the kernels): measured from its end.
    if len(points) < 2 or points[-1][2] <= points[0][2]:
        return None
    (first, _, began), (last, total, ended) = points[0], points[-1]
    return Speed(steps=total, per_s=(last - first) / (ended - began)) if last > first else None


def seconds_of(clock: str) -> int:
    """``1:06:40`` -> 4000."""
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


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
