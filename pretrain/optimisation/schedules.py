"""Schedules: the share of training that is done, in [0, 1], to a value."""

import math


def cosine(progress: float, *, start: float, end: float) -> float:
    """From ``start`` at progress 0 to ``end`` at progress 1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warmup_cosine_of_epochs(done: float, *, peak: float, warmup: float, epochs: float, end: float = 0.0) -> float:
    """Linear from 0 to ``peak`` over ``warmup`` epochs, then a cosine down to ``end``, after ``done`` of ``epochs``.

    As MAE's util/lr_sched.py: the first step has 0.
    """
    if done < warmup:
        return peak * done / warmup
    return cosine((done - warmup) / (epochs - warmup), start=peak, end=end)


def warmup_cosine(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, start: float = 0.0, end: float = 0.0
) -> float:
    """Linear from ``start`` to ``peak`` over the warm-up, then a cosine down to ``end``; the value for the given step.

    Step 0 already has start < value where there is a warm-up of one step or more, so that no step is spent on nothing.
    """
    if step < warmup_steps:
        return start + (peak - start) * (step + 1) / warmup_steps
    return cosine((step - warmup_steps) / max(total_steps - warmup_steps, 1), start=peak, end=end)
