"""However a job is interrupted, it saves, queues itself again and ends with the weights of an undisturbed run."""

import pytest


@pytest.mark.parametrize("scenario, restarts", [("signalled", 2), ("preempted", 1), ("at_the_time_limit", 1)])
def test_an_interrupted_run_ends_with_the_weights_of_an_undisturbed_one(interruptions, scenario, restarts):
    interrupted, reference = (interruptions[name].result() for name in (scenario, "undisturbed"))
    assert interrupted.ended() == "COMPLETED", interrupted.log()
    assert interrupted.restarts() >= restarts
    assert reference.ended() == "COMPLETED", reference.log()
    assert interrupted.weights() == reference.weights()


def test_no_number_of_interruptions_ends_a_job(interruptions):
    """SLURM holds a job whose start failed five times and submitit gives up after three; neither may count these."""
    jobs = interruptions["often"].result()
    assert jobs.ended("environment") == "COMPLETED", jobs.log("environment")
    assert jobs.log("environment").count("goes back into the queue") == 7


@pytest.mark.parametrize("scenario", ["signalled_early", "preempted_early"])
def test_a_job_signalled_before_python_listens_queues_itself_again(interruptions, scenario):
    jobs = interruptions[scenario].result()
    assert jobs.ended("environment") == "COMPLETED", jobs.log("environment")
    assert int(jobs.about("environment")["Restarts"]) == 1
