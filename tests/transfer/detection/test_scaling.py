"""A batch N times smaller sees the same images at the same rate per image, in N times as many steps."""

import pytest

from runtime.command_line import UserError
from transfer.detection import run_config
from transfer.detection.scaling import described


def test_the_linear_rule_on_a_protocol():
    cfg = run_config.load("moco-c4-1x", scale=4)
    assert described(cfg) == "batch 4, learning rate 0.005, 360000 iterations"
    solver, plain = cfg.SOLVER, run_config.load("moco-c4-1x")
    assert (solver.STEPS, solver.WARMUP_ITERS) == ((240000, 320000), 4000)
    assert cfg.TEST.PRECISE_BN.NUM_ITER == 800
    assert solver.IMS_PER_BATCH * solver.MAX_ITER == plain.SOLVER.IMS_PER_BATCH * plain.SOLVER.MAX_ITER
    assert run_config.load("moco-c4-1x").dump() == plain.dump()


def test_the_command_line_is_taken_as_it_is_and_a_searched_rate_is_scaled():
    cfg = run_config.load("moco-c4-1x", {"SOLVER.MAX_ITER": 10}, scale=2, base_lr=0.04)
    assert described(cfg) == "batch 8, learning rate 0.02, 10 iterations"


def test_what_differs_from_the_protocol_is_known_and_what_changes_no_number_is_not_counted():
    def changed(overrides, **how):
        return run_config.changed("moco-c4-1x", run_config.load("moco-c4-1x", overrides, **how), **how)

    assert changed({}, scale=2, base_lr=0.04) == {}
    assert changed({"TRANSFER.BACKBONE": "resnet18"}, scale=1, base_lr=None) == {"TRANSFER.BACKBONE": "resnet18"}
    assert changed({"SOLVER.MAX_ITER": 9, "DATALOADER.NUM_WORKERS": 1}, scale=2, base_lr=None) == {"SOLVER.MAX_ITER": 9}


@pytest.mark.parametrize("factor", [0, -1, 3, 32])
def test_a_scale_that_does_not_divide_the_batch_is_refused(factor):
    message = f"--scale {factor} does not divide the protocol's batch of 16 images; choose one of 1, 2, 4, 8, 16"
    with pytest.raises(UserError, match=message):
        run_config.load("moco-c4-1x", scale=factor)


def test_one_rate_cannot_be_given_twice_over():
    with pytest.raises(UserError, match="SOLVER.BASE_LR is decided by --search-lr"):
        run_config.load("moco-c4-1x", {"SOLVER.BASE_LR": 0.1}, base_lr=0.04)
