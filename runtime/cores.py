"""How many CPU cores this process has, and how many loader processes they are good for."""

import os
from collections.abc import Mapping

JOB_CORES = "JOB_CORES"
"""Set by a local job for its tasks: the cores that each may use."""

MOST_WORKERS = 16
"""More seldom help, and each holds batches ready."""

AUTO_WORKERS = -1


def cores(environment: Mapping[str, str] = os.environ) -> int:
    """The cores of this process: of its task, where a job says so; else its share of those open to it."""
    for name in (JOB_CORES, "SLURM_CPUS_PER_TASK"):
        if environment.get(name, "").isdecimal():
            return max(1, int(environment[name]))
    local = environment.get("LOCAL_WORLD_SIZE", "1")  # torchrun's number of ranks on this machine
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // (int(local) if local.isdecimal() else 1))


def loader_workers(asked: int, device: str) -> int:
    """``asked``, or for AUTO_WORKERS: on ``cuda`` all cores but the one of the training process, at least 1 and at
    most MOST_WORKERS. On ``cpu`` the step needs the cores: a quarter of them.
    """
    if asked != AUTO_WORKERS:
        return asked
    return max(1, min(cores() - 1 if device == "cuda" else cores() // 4, MOST_WORKERS))
