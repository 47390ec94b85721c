"""Four tasks on two nodes train as one process does."""

import json

import pytest


@pytest.fixture(scope="module")
def runs(slurm_jobs):
    """At a tenth of the usual rate: at that one, rounding grows tenfold a step on images with noise."""
    return [slurm_jobs.submit(name, "pretrain.optim.lr=0.005", gpus=gpus) for name, gpus in (("alone", 0), ("four", 4))]


@pytest.fixture(scope="module")
def detectors(slurm_jobs):
    """Alone and over four tasks, in float32, with every anchor and proposal in the losses.

    A sample of them, as usual, depends on the rank that draws it.
    """
    all_of = {"MODEL.RPN": 5000, "MODEL.ROI_HEADS": 1000}
    words = [f"transfer.{part}.BATCH_SIZE_PER_IMAGE={count}" for part, count in all_of.items()]
    words += [f"transfer.{part}.POSITIVE_FRACTION=1.0" for part in all_of]
    words += ["transfer.SOLVER.MAX_ITER=3", "transfer.SOLVER.AMP.ENABLED=False", "transfer.TEST.PRECISE_BN.NUM_ITER=1"]
    words += ["transfer.SOLVER.BASE_LR=0.0002", "transfer.TRANSFER.PICTURES=0", f"transfer.data={slurm_jobs.scenes}"]
    words += ["--methods", "random", "--protocols", "demo-fpn", "--benchmarks", "scenes"]
    return [slurm_jobs.submit(f"detector{gpus}", *words, stage="transfer", gpus=gpus) for gpus in (0, 4)]


def test_pretraining_over_two_nodes_has_the_loss_curve_of_one_process(runs):
    for jobs in runs:
        assert jobs.ended() == "COMPLETED", jobs.log()
    alone, four = ([line["similarity"] for line in jobs.curve()] for jobs in runs)
    assert len(alone) == 6 and len(set(alone)) == 6
    assert four == pytest.approx(alone, abs=5e-6)


def test_a_detector_over_two_nodes_has_the_loss_curve_of_one_process(detectors):
    """The sums over anchors to rounding; Detectron2 divides those over proposals by each rank's own number of them."""
    curves = []
    for jobs in detectors:
        assert jobs.ended("demo-fpn-scenes") == "COMPLETED", jobs.log("demo-fpn-scenes")
        with (jobs.folder("demo-fpn-scenes") / "losses.jsonl").open() as file:
            curves.append([json.loads(line) for line in file])
    alone, four = curves
    assert len(alone) == len(four) == 3
    for name in ("loss_rpn_cls", "loss_rpn_loc"):
        assert four[0][name] == pytest.approx(alone[0][name], rel=1e-5), name
    for one, other in zip(alone, four, strict=True):
        assert other["total_loss"] == pytest.approx(one["total_loss"], rel=0.01)
