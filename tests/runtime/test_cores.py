"""How many loader processes a job gets."""

import os

import pytest

from runtime import cores


@pytest.mark.parametrize(
    "environment, available, expected",
    [
        ({"SLURM_CPUS_PER_TASK": "10"}, 96, 10),
        ({"JOB_CORES": "4", "SLURM_CPUS_PER_TASK": "10"}, 96, 4),
        ({"LOCAL_WORLD_SIZE": "8"}, 96, 12),
        ({}, 2, 2),
    ],
)
def test_the_cores_of_a_task(environment, available, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(available)), raising=False)
    assert cores.cores(environment) == expected


@pytest.mark.parametrize("count, on_gpu, on_cpu", [(1, 1, 1), (2, 1, 1), (10, 9, 2), (96, 16, 16)])
def test_the_training_process_keeps_a_core(count, on_gpu, on_cpu, monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: count)
    assert [cores.loader_workers(-1, device) for device in ("cuda", "cpu")] == [on_gpu, on_cpu]
    assert cores.loader_workers(0, "cuda") == 0 and cores.loader_workers(21, "cpu") == 21
