"""Rank correlation, against what can be counted one by one."""

import itertools

import pytest
from scipy import stats

from analysis.measures.correlation import correlate


def test_the_p_values_are_those_of_all_orders_counted_one_by_one():
    x, y = [1, 1, 2, 3, 3, 7], [5, 4, 4, 4, 9, 9]  # ties on both sides
    ours = correlate(x, y)
    for name, coefficient in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        observed = coefficient(x, y).statistic
        others = [coefficient(order, y).statistic for order in itertools.permutations(x)]
        assert getattr(ours, name) == pytest.approx(observed)
        share = sum(abs(other) >= abs(observed) - 1e-12 for other in others) / len(others)
        assert getattr(ours, f"p_{name}") == pytest.approx(share)


def test_of_four_rows_in_one_order_two_of_the_24_orders_are_as_extreme():
    ours = correlate([1, 2, 3, 4], [10, 20, 30, 40])
    assert (ours.n, ours.spearman, ours.kendall) == (4, pytest.approx(1), pytest.approx(1))
    assert ours.p_spearman == ours.p_kendall == pytest.approx(2 / 24)


def test_many_rows_get_drawn_orders_and_never_a_p_of_zero():
    one_order, other = list(range(20)), [7, 2, 9, 14, 0, 18, 5, 11, 3, 16, 1, 12, 19, 6, 10, 4, 17, 8, 15, 13]
    assert correlate(one_order, one_order).p_kendall == pytest.approx(1e-4)
    ours, scipys = correlate(one_order, other), stats.kendalltau(one_order, other)
    assert ours.p_kendall == pytest.approx(scipys.pvalue, abs=0.02)
    assert correlate(one_order, other) == ours  # the draws are seeded


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([], []), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_too_few_rows_or_one_value_for_all_have_no_correlation(x, y):
    assert correlate(x, y) is None
