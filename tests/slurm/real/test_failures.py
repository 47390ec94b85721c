"""A job that cannot go on ends soon, says why in one line, and the same command goes on once that is mended."""

import subprocess
import time

import pytest

TWO = {"gpus": 2, "place": {"gpus_per_node": 1}}
"""Two tasks, one on each node."""


def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(slurm_jobs):
    jobs = slurm_jobs.submit("killed", PACE_S=2, **TWO)
    jobs.at_step(3)
    jobs.kill(1)
    began = time.monotonic()
    assert jobs.ended(within_s=90) == "FAILED"
    assert time.monotonic() - began < 60
    assert jobs.why() == "srun: error: node2: task 1: Killed"
    jobs = slurm_jobs.submit("killed", **TWO)
    assert jobs.ended() == "COMPLETED", jobs.log()
    assert [line["step"] for line in jobs.curve()] == [1, 2, 3, 4, 5, 6]
    assert "pretrain simsiam 1/6" not in jobs.log(), "it did not begin anew"


def test_local_slurm_without_the_data_ends_all_tasks(slurm_jobs):
    jobs = slurm_jobs.submit("nodata", NO_DATA_ON="node2", **TWO)
    assert jobs.ended(within_s=180) == "FAILED"
    assert jobs.why().startswith("no folder of images at ")


@pytest.fixture
def small_disk(slurm_jobs):
    """A run folder with room for less than one checkpoint."""
    folder = slurm_jobs.folder / "full" / "runs" / "simsiam-recipe-seed0" / "pretrain"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_nothing_half_written_stays(slurm_jobs, small_disk):
    jobs = slurm_jobs.submit("full")
    assert jobs.ended(within_s=180) == "FAILED"
    assert jobs.why().startswith("cannot write ") and "No space left on device" in jobs.why()
    assert not list(small_disk.glob(".*.tmp")) and not (small_disk / "checkpoint.pth").exists()
