"""Four tasks on two nodes train as one process does."""

import pytest


@pytest.fixture(scope="module")
def runs(slurm_jobs):
    return slurm_jobs.submit("alone"), slurm_jobs.submit("four", gpus=4)


def test_pretraining_over_two_nodes_has_the_loss_curve_of_one_process(runs):
    alone, four = runs
    for jobs in runs:
        assert jobs.ended() == "COMPLETED", jobs.log()
    assert len(alone.curve()) == len(four.curve()) == 6
    for one, other in zip(alone.curve(), four.curve(), strict=True):
        print(one["similarity"], other["similarity"])
        assert other["similarity"] == pytest.approx(one["similarity"], abs=1e-4)
