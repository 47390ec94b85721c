"""Do two measures order the same rows alike? Spearman's and Kendall's coefficients with permutation p-values."""

from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Rows below which no coefficient is given."""

RESAMPLES = 9999
"""Random orders of the rows; where there are no more than so many (up to 7 rows), each is tried once."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How alike two measures order ``n`` rows."""

    n: int
    spearman: float
    kendall: float
    """Tau-b: ties count for neither order."""
    p_spearman: float
    """Share of the orders of the rows, the observed one among them, that agree at least as much, in either sense."""
    p_kendall: float

    @property
    def text(self) -> str:
        return (
            f"Spearman {self.spearman:+.2f} (p = {self.p_spearman:.2g}), "
            f"Kendall {self.kendall:+.2f} (p = {self.p_kendall:.2g}), n = {self.n}"
        )


def correlate(x, y, *, seed: int = 0) -> Correlation | None:
    """The correlation of two sequences (n,), None below three rows or where a measure is the same for all of them.

    The p-values assume that the rows are exchangeable; seeds of one row are not, so average over them first.
    """
    from scipy import stats  # takes a second to import

    x, y = np.asarray(x, float), np.asarray(y, float)
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    # Over the orders of the rows each coefficient is a sum times a constant; the sums take whole batches of orders.
    ranks_x, ranks_y = (stats.rankdata(values) - (n + 1) / 2 for values in (x, y))
    signs_y = np.sign(y[:, None] - y)
    return Correlation(
        n=n,
        spearman=float(stats.spearmanr(x, y)[0]),  # pyright: ignore[reportArgumentType]
        kendall=float(stats.kendalltau(x, y)[0]),  # pyright: ignore[reportArgumentType]
        p_spearman=_p_value(ranks_x, lambda rows: rows @ ranks_y, seed),
        p_kendall=_p_value(
            x, lambda rows: (np.sign(rows[..., :, None] - rows[..., None, :]) * signs_y).sum((-2, -1)), seed
        ),
    )


def _p_value(x: np.ndarray, statistic, seed: int) -> float:
    """The share of orders of ``x`` (n,) whose ``statistic`` of (..., n) is as large in size as the given one's."""
    from scipy import stats

    result = stats.permutation_test(
        (x,),
        lambda rows, axis: np.abs(statistic(rows)),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=RESAMPLES,
        batch=500,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
