"""The environment of a job's tasks on a real SLURM, and the end of jobs that cannot go on."""

import json
import subprocess
import sys

import pytest

from runtime.provenance import ROOT


@pytest.fixture(scope="module")
def environments(slurm_jobs):
    """Those of four tasks on two nodes."""
    jobs = slurm_jobs.submit("environment", "environment.resources.cpus=3", stage="environment", gpus=4)
    assert jobs.ended("environment") == "COMPLETED", jobs.log("environment")
    return [json.loads((jobs.folder("environment") / f"rank{rank}.json").read_text()) for rank in range(4)]


def test_one_task_per_gpu_over_two_nodes(environments):
    assert [(t["RANK"], t["LOCAL_RANK"], t["SLURMD_NODENAME"]) for t in environments] == [
        ("0", "0", "node1"), ("1", "1", "node1"), ("2", "0", "node2"), ("3", "1", "node2"),
    ]  # fmt: skip
    assert {(t["WORLD_SIZE"], t["MASTER_ADDR"]) for t in environments} == {("4", "node1")}


def test_every_task_sees_the_gpus_that_slurm_gave_the_job(environments):
    assert {t["CUDA_VISIBLE_DEVICES"] for t in environments} == {"0,1"}


def test_tasks_get_the_cores_they_asked_for_and_as_many_threads(environments):
    assert {(t["SLURM_CPUS_PER_TASK"], t["OMP_NUM_THREADS"]) for t in environments} == {("3", "3")}


def test_a_cancelled_job_takes_its_temporary_files_with_it(slurm_jobs, tmp_path):
    jobs = slurm_jobs.submit("temporary", stage="environment", gpus=2, place={"scratch": str(tmp_path)}, LASTS_S=60)
    jobs.wait((jobs.folder("environment") / "rank0.json").exists, stage="environment")
    assert [path.name for path in tmp_path.iterdir()] == [jobs.ids["environment"]]
    subprocess.run(["scancel", jobs.ids["environment"]], check=True)
    jobs.wait(lambda: not list(tmp_path.iterdir()), stage="environment", within_s=60)


def test_jobs_that_wait_for_a_cancelled_one_leave_the_queue(slurm_jobs):
    jobs = slurm_jobs.submit("cancelled", stage="after", LASTS_S=60)
    subprocess.run(["scancel", jobs.ids["environment"]], check=True)
    assert jobs.ended("after", within_s=60) == "CANCELLED"
    assert jobs.state("environment") == "CANCELLED" and not (jobs.folder("after") / "rank0.json").exists()


def test_a_batch_script_is_one_process_and_what_srun_starts_in_it_are_several(real_slurm, tmp_path):
    """SLURM gives both the number of tasks and a rank."""
    code = (
        "import os; from runtime import rendezvous as r; task = r.of_slurm(os.environ); print(task and task.world_size)"
    )
    python = f'PYTHONPATH={ROOT} {sys.executable} -c "{code}"'
    path = tmp_path / "script.sh"
    path.write_text(f"#!/bin/sh\n{python} > alone\nsrun --overlap sh -c '{python}' > together\n")
    options = ["--wait", "--ntasks=2", "--time=5", "--output=/dev/null", f"--chdir={tmp_path}"]
    subprocess.run(["sbatch", *options, str(path)], check=True)
    assert (tmp_path / "alone").read_text() == "None\n"
    assert (tmp_path / "together").read_text() == "2\n2\n"
