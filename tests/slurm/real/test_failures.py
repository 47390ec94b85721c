"""A job that cannot go on ends soon, says why in one line, and the same command goes on once that is mended."""

import subprocess
import time

import pytest


def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(slurm_jobs):
    jobs = slurm_jobs.submit("killed", gpus=2, place={"gpus_per_node": 1}, PACE_S=2)
    jobs.at_step(3)
    jobs.kill(1)
    began = time.monotonic()
    assert jobs.ended(within_s=90) == "FAILED"
    assert time.monotonic() - began < 60
    print(jobs.log(), jobs.log(task=1), jobs.reasons())


def test_one_node_without_the_data(slurm_jobs):
    jobs = slurm_jobs.submit("nodata", gpus=2, place={"gpus_per_node": 1}, NO_DATA_ON="node2")
    assert jobs.ended(within_s=120) == "FAILED"
    print(jobs.log(), jobs.log(task=1), jobs.reasons())


@pytest.fixture
def small_disk(slurm_jobs):
    folder = slurm_jobs.folder / "full" / "runs" / "simsiam-recipe-seed0" / "pretrain"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(folder)], check=True)
    yield
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(slurm_jobs, small_disk):
    jobs = slurm_jobs.submit("full")
    assert jobs.ended(within_s=120) == "FAILED"
    print(jobs.log(), jobs.reasons())
