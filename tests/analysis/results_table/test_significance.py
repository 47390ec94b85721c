"""The rule of bold numbers, on seeds a reader can add up, and against Welch's test."""

import statistics

import pytest
from scipy import stats

from analysis.results_table.significance import BEST, CLOSE, marks, mean_and_spread, pooled_spread, welch_half_width


def test_a_gap_beyond_the_noise_is_bold_and_one_within_it_is_not():
    assert marks({"a": [40.0, 40.2, 40.4], "b": [38.0, 38.2, 38.4]}) == {"a": BEST}
    assert marks({"a": [40.0, 41.0, 42.0], "b": [39.0, 40.0, 41.0]}) == {}


def test_the_best_must_be_ahead_of_every_other_row():
    close, far = [40.0, 40.1, 40.2], [30.0, 30.1, 30.2]
    assert marks({"a": [40.1, 40.2, 40.3], "b": close, "c": far}) == {}
    assert marks({"a": [40.1, 40.2, 40.3], "c": far}) == {"a": BEST}


def test_single_seeds_need_more_than_the_0_3_points_of_one_run():
    assert marks({"a": [40.0], "b": [39.6]}) == {"a": BEST}
    assert marks({"a": [40.0], "b": [39.8], "c": [39.9], "d": [39.0]}) == dict.fromkeys("abc", CLOSE)


def test_a_share_of_few_images_needs_more_than_their_counting_noise():
    """13.5 and 12.5% of 200 images are 27 and 25 of them: sqrt(2 x 0.135 x 0.865 / 200) is 3.4 points."""
    close, far = {"a": [13.5], "b": [12.5]}, {"a": [17.0], "b": [12.5]}
    assert marks(close, images=200) == {"a": CLOSE, "b": CLOSE} and marks(close) == {"a": BEST}
    assert marks(far, images=200) == {"a": BEST}
    assert marks({"a": [71.4], "b": [71.0]}, images=50_000) == {"a": BEST}


def test_a_single_seed_takes_the_spread_of_the_other_rows():
    """0.5 points ahead would do between single seeds; beside a row that spreads over 2 points it does not."""
    assert marks({"a": [40.5], "b": [39.0, 40.0, 41.0]}) == {}
    assert marks({"a": [60.5], "b": [39.0, 40.0, 41.0]}) == {"a": BEST}


def test_a_single_seed_beside_rows_of_several_still_needs_0_3_points():
    """Rows that happen to agree to 0.01 would let 0.1 points of one run pass for a difference."""
    assert marks({"a": [40.3], "b": [40.2], "c": [39.0, 39.01, 39.0]}) == {"a": CLOSE, "b": CLOSE}
    assert marks({"a": [40.2, 40.21, 40.2], "b": [40.0]}) == {"b": CLOSE}
    assert marks({"a": [40.9], "b": [40.2], "c": [39.0, 39.01, 39.0]}) == {"a": BEST}


def test_one_row_alone_is_no_best_and_equals_are_none():
    assert marks({"a": [40.0, 41.0]}) == {} and marks({}) == {}
    assert marks({"a": [40.0, 40.0], "b": [40.0, 40.0]}) == {}


def test_the_noise_is_the_half_width_of_welchs_interval():
    """t = 2.776 at 4 degrees of freedom; equal spreads of 1 over 3 seeds: 2.776 sqrt(2/3)."""
    assert welch_half_width([1.0, 2.0, 3.0], [5.0, 6.0, 7.0], pooled=9.0) == pytest.approx(2.776 * (2 / 3) ** 0.5, 1e-3)
    first, second = [1.0, 2.0, 3.5, 4.0], [6.0, 6.1, 6.3]
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert welch_half_width(first, second, pooled=9.0) == pytest.approx((high - low) / 2)


def test_rows_that_agree_to_the_last_digit_have_no_noise():
    assert welch_half_width([40.0, 40.0], [39.0, 39.0], pooled=0.0) == 0
    assert welch_half_width([0.0, 1e-160], [0.0, 1e-160], pooled=0.0) == 0  # the squares are below the smallest number


def test_the_pooled_spread_weighs_rows_by_their_seeds():
    assert pooled_spread([[1.0], [2.0]]) is None
    assert pooled_spread([[1.0, 3.0], [5.0], [2.0, 4.0, 6.0]]) == pytest.approx(((2 + 8) / 3) ** 0.5)


def test_spread_is_the_sample_standard_deviation_and_one_seed_has_none():
    assert mean_and_spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert mean_and_spread([2.0]) == "2.0"
    assert statistics.stdev([1.0, 2.0, 3.0]) == 1


@pytest.mark.parametrize(("value", "shown"), [(593.21, "593.2"), (0.8532, "0.853"), (-1.2345, "-1.23"), (0.0, "0.0")])
def test_a_measure_that_is_no_percentage_keeps_three_digits(value, shown):
    assert mean_and_spread([value], percent=False) == shown
