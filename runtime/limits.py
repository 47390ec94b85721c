"""Between which values a setting may lie: one table for all of them, by name."""

import sys
from typing import NamedTuple

GREATEST, SMALLEST = sys.float_info.max, sys.float_info.min


class Limit(NamedTuple):
    words: str
    least: float
    most: float = GREATEST


AT_LEAST_1 = Limit("at least 1", 1)
NOT_NEGATIVE = Limit("0 or more", 0)
ABOVE_0 = Limit("above 0", SMALLEST)
SHARE = Limit("from 0 to 1", 0, 1)
BELOW_1 = Limit("from 0 to below 1", 0, 1 - sys.float_info.epsilon)

# What more a setting must be (a divisor of another, one of some words) is said where it is read.
_NAMES = {
    AT_LEAST_1: """
        epochs views.size views.small_size log.every log.checkpoint_every log.keep_last log.collapse_patience
        method.order method.layers method.projector_width method.predictor_width method.output_width
        method.prototypes method.iterations method.classes method.bn_groups""",
    NOT_NEGATIVE: """
        batch_size seed data.workers views.small optim.lr optim.weight_decay optim.bias_lr optim.warmup_epochs
        optim.warmup_start optim.final_lr log.keep_every log.probe_every log.probe_images log.collapse_rank
        method.gamma method.ridge method.target_scale method.redundancy method.scale method.invariance
        method.variance method.covariance method.queue_size""",
    ABOVE_0: """
        optim.trust method.temperature method.epsilon method.distortion method.warmup_factor""",
    SHARE: """
        data.max_unreadable views.min_scale views.small_min_scale views.small_max_scale
        method.teacher_momentum method.teacher_momentum_end method.warmup_share method.freeze_share
        method.queue_from""",
    BELOW_1: "optim.momentum",
}
LIMITS: dict[str, Limit] = {name: limit for limit, names in _NAMES.items() for name in names.split()}


def fault(name: str, value) -> str:
    """What is wrong with a setting's value: a number outside its limits, or NaN; empty if nothing is."""
    if name not in LIMITS or value is None or LIMITS[name].least <= value <= LIMITS[name].most:
        return ""
    return f"{name} must be {LIMITS[name].words}, got {value}"
