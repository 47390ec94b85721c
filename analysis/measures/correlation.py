"""Do two measures order the same rows alike? Spearman's and Kendall's coefficients with permutation p-values."""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

FEWEST = 3
"""Rows below which no coefficient is given."""

EXACT = 7
"""Up to so many rows every order is tried; beyond, ``DRAWS`` random ones."""

DRAWS = 9999


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
    x, y = np.asarray(x, float), np.asarray(y, float)
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    orders = _orders(n, seed)
    figures = {}
    for name, statistic in (("spearman", _spearman), ("kendall", _kendall)):
        values = statistic(x, y, orders)
        # The first order is the observed one; equal values differ in the last digit when they are summed otherwise.
        figures[name] = float(values[0])
        figures[f"p_{name}"] = float(np.mean(np.abs(values) >= abs(values[0]) - 1e-12))
    return Correlation(n=n, **figures)


def _orders(n: int, seed: int) -> np.ndarray:
    """Orders of n rows (orders, n), the given one first."""
    if n <= EXACT:
        return np.array(list(permutations(range(n))))
    rng = np.random.default_rng(seed)
    return np.concatenate([np.arange(n)[None], rng.permuted(np.tile(np.arange(n), (DRAWS, 1)), axis=1)])


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties at their mean rank."""
    below = (values[:, None] > values).sum(1)
    return below + ((values[:, None] == values).sum(1) - 1) / 2


def _spearman(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> np.ndarray:
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    return b[orders] @ a / math.sqrt((a @ a) * (b @ b))


def _kendall(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> np.ndarray:
    i, j = np.triu_indices(len(x), 1)
    first, second = np.sign(x[i] - x[j]), np.sign(y[:, None] - y)
    agree = np.zeros(len(orders))
    for k in range(len(i)):  # pair by pair: all pairs of all orders at once would not fit for many rows
        agree += first[k] * second[orders[:, i[k]], orders[:, j[k]]]
    return agree / math.sqrt(np.abs(first).sum() * np.abs(second[i, j]).sum())
