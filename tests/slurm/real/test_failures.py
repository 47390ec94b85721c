"""A job that cannot go on ends soon, records why in one line, and the same command goes on once that is fixed."""

import subprocess

import pytest

TWO = {"gpus": 2, "place": {"gpus_per_node": 1}}
"""Two tasks, one on each node."""


def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(slurm_jobs):
    jobs = slurm_jobs.submit("killed", PACE_S=2, **TWO)
    jobs.at_step(3)
    jobs.kill(1)
    assert jobs.ended(within_s=90) == "FAILED"
    assert jobs.why() == "srun: error: node2: task 1: Killed"
    jobs = slurm_jobs.submit("killed", **TWO)
    assert jobs.ended() == "COMPLETED", jobs.log()
    assert [line["step"] for line in jobs.curve()] == [1, 2, 3, 4, 5, 6]
    assert "pretrain simsiam 1/6" not in jobs.log(), "it did not start again from nothing"


def test_a_node_without_the_data_ends_the_tasks_of_all_nodes(slurm_jobs):
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


def test_a_full_disk_is_named_and_no_partial_file_stays(slurm_jobs, small_disk):
    jobs = slurm_jobs.submit("full")
    assert jobs.ended(within_s=180) == "FAILED"
    assert jobs.why().startswith("cannot write ") and "No space left on device" in jobs.why()
    assert not list(small_disk.glob(".*.tmp")) and not (small_disk / "checkpoint.pth").exists()
