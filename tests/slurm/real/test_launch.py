"""What the tasks of a job are told on a real SLURM, and how a queue of jobs ends that cannot go on."""

import json
import subprocess

import pytest


@pytest.fixture(scope="module")
def told(slurm_jobs):
    """What four tasks on two nodes noted."""
    jobs = slurm_jobs.submit("told", "told.resources.cpus=3", stage="told", gpus=4)
    assert jobs.ended("told") == "COMPLETED", jobs.log("told")
    return [json.loads((jobs.folder("told") / f"rank{rank}.json").read_text()) for rank in range(4)]


def test_one_task_per_gpu_over_two_nodes(told):
    assert [(t["RANK"], t["LOCAL_RANK"], t["SLURMD_NODENAME"]) for t in told] == [
        ("0", "0", "node1"), ("1", "1", "node1"), ("2", "0", "node2"), ("3", "1", "node2"),
    ]  # fmt: skip
    assert {(t["WORLD_SIZE"], t["MASTER_ADDR"]) for t in told} == {("4", "node1")}


def test_every_task_sees_the_gpus_that_slurm_gave_the_job(told):
    assert {t["CUDA_VISIBLE_DEVICES"] for t in told} == {"0,1"}


def test_tasks_get_the_cores_they_asked_for_and_as_many_threads(told):
    assert {(t["SLURM_CPUS_PER_TASK"], t["OMP_NUM_THREADS"]) for t in told} == {("3", "3")}


def test_a_cancelled_job_takes_its_temporary_files_with_it(slurm_jobs, tmp_path):
    jobs = slurm_jobs.submit("temporary", stage="told", gpus=2, place={"scratch": str(tmp_path)}, LASTS_S=60)
    jobs.wait((jobs.folder("told") / "rank0.json").exists, stage="told")
    assert [path.name for path in tmp_path.iterdir()] == [jobs.ids["told"]]
    subprocess.run(["scancel", jobs.ids["told"]], check=True)
    jobs.wait(lambda: not list(tmp_path.iterdir()), stage="told", within_s=60)


def test_jobs_that_wait_for_a_cancelled_one_leave_the_queue(slurm_jobs):
    jobs = slurm_jobs.submit("cancelled", stage="after", LASTS_S=60)
    subprocess.run(["scancel", jobs.ids["told"]], check=True)
    assert jobs.ended("after", within_s=60) == "CANCELLED"
    assert jobs.state("told") == "CANCELLED" and not (jobs.folder("after") / "rank0.json").exists()
