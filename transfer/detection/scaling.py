"""Fewer GPUs than a protocol assumes: the linear rule (arXiv 1706.02677) trades a smaller batch for more steps.

With a batch N times smaller the learning rate is divided by N and every count of iterations multiplied by it, so that
as many images are seen at each rate. Norms over a smaller batch are noisier all the same: it is an approximation.
"""

from typing import TYPE_CHECKING

from runtime.command_line import UserError

if TYPE_CHECKING:  # at run time it would bring torch, which `check_scale` must do without
    from detectron2.config import CfgNode


def check_scale(factor: int, batch: int) -> None:
    """Raise UserError unless ``factor`` divides a protocol's ``batch`` of images."""
    divisors = [number for number in range(1, batch + 1) if batch % number == 0]
    if factor not in divisors:
        raise UserError(
            f"--scale {factor} does not divide the protocol's batch of {batch} images; "
            f"choose one of {', '.join(map(str, divisors))}"
        )


def linear_rule(cfg: "CfgNode", factor: int) -> None:
    """Make the batch ``factor`` times smaller and the schedule longer. UserError unless it divides the batch."""
    solver = cfg.SOLVER
    check_scale(factor, solver.IMS_PER_BATCH)
    solver.IMS_PER_BATCH //= factor
    solver.BASE_LR /= factor
    solver.STEPS = tuple(step * factor for step in solver.STEPS)
    for node, key in (
        (solver, "MAX_ITER"),
        (solver, "WARMUP_ITERS"),
        (solver, "CHECKPOINT_PERIOD"),
        (cfg.TEST, "EVAL_PERIOD"),
        (cfg.TEST.PRECISE_BN, "NUM_ITER"),
    ):
        setattr(node, key, getattr(node, key) * factor)


def described(cfg: "CfgNode") -> str:
    """``batch 16, learning rate 0.02, 90000 iterations``."""
    solver = cfg.SOLVER
    return f"batch {solver.IMS_PER_BATCH}, learning rate {solver.BASE_LR:g}, {solver.MAX_ITER} iterations"
