"""However a job is interrupted, it saves, queues itself again and ends with the weights of an undisturbed run."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest


def undisturbed(slurm):
    return slurm.submit("undisturbed")


def signalled_and_requeued(slurm):
    """By `scancel --signal`, and again by `scontrol requeue`."""
    jobs = slurm.submit("signalled", PACE_S=2)
    jobs.at_step(1)
    jobs.tell("USR2")
    jobs.runs_again(1)
    jobs.at_step(4)
    subprocess.run(["scontrol", "requeue", jobs.ids["pretrain"]], check=True)
    jobs.runs_again(2)
    return jobs


def preempted(slurm):
    """By a job of a partition that goes first."""
    jobs = slurm.submit("preempted", gpus=1, place={"partition": "spare"}, PACE_S=2)
    jobs.at_step(1)
    urgent = ["--partition=urgent", "--nodes=2", "--gpus-per-node=2", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(["sbatch", *urgent], check=True, capture_output=True)
    jobs.runs_again(1)
    return jobs


def at_the_time_limit(slurm):
    """Two minutes; SLURM, which looks every half minute, sends the signal 20 to 50 seconds before."""
    return slurm.submit("limit", "pretrain.resources.hours=0.03", PACE_S=16)


SCENARIOS = (preempted, undisturbed, signalled_and_requeued, at_the_time_limit)


@pytest.fixture(scope="module")
def jobs(slurm_jobs):
    """The jobs of all scenarios, side by side; each can be waited for."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {scenario: pool.submit(scenario, slurm_jobs) for scenario in SCENARIOS}


@pytest.mark.parametrize(
    "scenario, restarts", [(signalled_and_requeued, 2), (preempted, 1), (at_the_time_limit, 1)], ids=lambda s: str(s)
)
def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(jobs, scenario, restarts):
    interrupted, reference = jobs[scenario].result(), jobs[undisturbed].result()
    assert interrupted.ended() == "COMPLETED", interrupted.log()
    assert interrupted.restarts() >= restarts
    assert reference.ended() == "COMPLETED", reference.log()
    assert interrupted.weights() == reference.weights()


def test_no_number_of_interruptions_ends_a_job(slurm_jobs):
    """SLURM holds a job whose start failed five times and submitit gives up after three; neither may count these."""
    jobs = slurm_jobs.submit("often", stage="told", REQUEUES=7)
    assert jobs.ended("told") == "COMPLETED", jobs.log("told")
    assert jobs.log("told").count("goes back into the queue") == 7
