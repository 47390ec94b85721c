"""When is a difference between two rows more than noise? One rule, for every bold number of every table.

The best mean of a column is bold if it is ahead of every other row by more than noise:

- Both rows over two seeds or more: more than the half width of Welch's 95% interval, t sqrt(s1^2/n1 + s2^2/n2).
- A row of one seed has no spread of its own: it takes the pooled spread of the column's other rows.
- Where one of the two is a single seed: in any case more than 0.3 points, which the field takes for random variation
  between two runs (facebookresearch/moco issue 39); of an accuracy also more than the standard error of counting,
  sqrt(2 p (1 - p) / n) of n images: 0.3 points on ImageNet's 50,000, but 3 on 300. A smaller gap is marked with a
  dagger, on every single seed within reach of the best.
"""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

SINGLE_SEED_GAP = 0.3
"""Points, of percent."""

BEST, CLOSE = "best", "close"

RULE = (
    "Bold: the best measured mean, if it is ahead of every other by more than the half width of Welch's 95% interval "
    "over seeds (a single seed takes the spread of the other rows, and needs more than 0.3 points in any case, for an "
    "accuracy more than the standard error of counting so many images)."
)

CLOSE_NOTE = "† Single seeds no farther from the best than that: within the random variation of one run."


def marks(column: Mapping[Name, Sequence[float]], *, images: int | None = None) -> dict[Name, str]:
    """Which rows of a column to mark, row -> ``BEST`` or ``CLOSE``.

    Args:
        column: row -> its values, one per seed, higher is better; rows without values are not there.
        images: the images of which each value is the percentage that was right; None for other metrics.
    """
    if len(column) < 2:
        return {}
    ranked = sorted(column, key=lambda row: statistics.fmean(column[row]), reverse=True)
    best, pooled = ranked[0], pooled_spread(list(column.values()))
    gaps = {row: statistics.fmean(column[best]) - statistics.fmean(column[row]) for row in ranked[1:]}
    p = statistics.fmean(column[best]) / 100
    least = max(SINGLE_SEED_GAP, 100 * math.sqrt(2 * p * (1 - p) / images) if images else 0)
    near = [row for row, gap in gaps.items() if gap < least and 1 in (len(column[best]), len(column[row]))]
    if near:
        return {row: CLOSE for row in [best, *near] if len(column[row]) == 1}
    if pooled is None:
        return {best: BEST}
    ahead = all(gap > welch_half_width(column[best], column[row], pooled=pooled) for row, gap in gaps.items())
    return {best: BEST} if ahead else {}


def welch_half_width(first: Sequence[float], second: Sequence[float], *, pooled: float) -> float:
    """Half width of the 95% interval of the difference of two means (Welch); ``pooled`` stands in for a lone seed."""
    from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second to import

    total, squares = 0.0, 0.0
    for values in (first, second):
        spread = statistics.stdev(values) if len(values) > 1 else pooled
        share = spread**2 / len(values)
        total += share
        squares += share**2 / max(len(values) - 1, 1)
    if squares == 0:
        return 0.0
    return float(stdtrit(total**2 / squares, 0.975)) * math.sqrt(total)


def pooled_spread(columns: Sequence[Sequence[float]]) -> float | None:
    """The common standard deviation within rows; None if no row has two values."""
    degrees = sum(len(values) - 1 for values in columns)
    if not degrees:
        return None
    within = sum(statistics.variance(values) * (len(values) - 1) for values in columns if len(values) > 1)
    return math.sqrt(within / degrees)


def mean_and_spread(values: Sequence[float], *, percent: bool = True) -> str:
    """``[12.3, 12.7]`` -> ``12.5 ± 0.3`` (sample standard deviation); one value has no spread.

    Args:
        percent: one decimal; otherwise three significant digits below 10.
    """
    mean = statistics.fmean(values)
    digits = 1 if percent or abs(mean) >= 10 or mean == 0 else 2 - math.floor(math.log10(abs(mean)))
    digits = min(digits, 6)
    return f"{mean:.{digits}f}" + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")
