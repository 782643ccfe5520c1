"""Differences of two estimates: intervals that hold what they promise, adjusted p-values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from perfkit.analysis.uncertainty import Spread, together
from perfkit.analysis.welch import Estimate, estimate, gap, holm, ratio_interval

NONE = Spread()


def sides(a: list[float], b: list[float]) -> tuple[Estimate, Estimate]:
    made = [estimate(values, [NONE] * len(values)) for values in (a, b)]
    assert made[0] is not None
    assert made[1] is not None
    return made[0], made[1]


def test_the_difference_of_repeated_runs_is_welchs() -> None:
    a, b = [12.0, 14.0, 13.0, 15.0], [10.0, 11.0, 15.0]
    found, other = gap(*sides(a, b)), stats.ttest_ind(b, a, equal_var=False)
    interval = other.confidence_interval(0.95)
    assert found.difference == pytest.approx(-1.5)
    assert found.degrees == pytest.approx(other.df)
    assert found.p == pytest.approx(other.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_ninety_five_percent_intervals_hold_the_truth_so_often(runs: int) -> None:
    chance, hit, tries = np.random.default_rng(1), 0, 2000
    for _ in range(tries):
        a = chance.normal(100, 5, runs).tolist()
        b = chance.normal(110, 5, runs).tolist()
        found = gap(*sides(a, b))
        hit += found.low <= 10 <= found.high
    assert 0.94 <= hit / tries <= 0.985  # Welch's degrees of freedom are careful with few runs


@pytest.mark.parametrize(("a", "b", "error"), [(100.0, 110.0, 5.0), (20.0, 1.0, 4.0)])
def test_intervals_of_the_ratio_hold_the_true_ratio_so_often(
    a: float, b: float, error: float
) -> None:
    chance, hit, tries = np.random.default_rng(2), 0, 4000
    for _ in range(tries):
        seen_a, seen_b = chance.normal(a, error), max(0.0, chance.normal(b, error))
        low, high = ratio_interval((seen_a, error), (seen_b, error), 1.96)
        hit += not low > b / a and not high < b / a
        assert not low < 0
    assert 0.93 <= hit / tries <= 0.985  # near zero, where both are cut, they are careful


@pytest.mark.parametrize("shift", [-12.0, -4.0, -0.5, 0.0, 0.5, 4.0, 12.0])
def test_the_ratio_and_the_difference_agree_on_whether_there_is_a_change(shift: float) -> None:
    a, b = [20.0, 24.0, 22.0, 19.0], [21.0 + shift, 24.5 + shift, 20.5 + shift]
    found = gap(*sides(a, b))
    assert (found.low <= 0 <= found.high) == (found.ratio_low <= 1 <= found.ratio_high)
    assert (found.p < 0.05) == (not found.ratio_low <= 1 <= found.ratio_high)


def test_a_small_figure_cannot_fall_by_more_than_all_of_it() -> None:
    found = gap(*sides([3.0, 3.2, 2.9], [0.1, 2.4, 0.2]))
    assert found.low < -3.1  # of the difference: more than the baseline has
    assert found.ratio_low == 0
    assert 0.9 < found.ratio_high < math.inf


def test_a_baseline_that_may_be_zero_bounds_no_ratio() -> None:
    found = gap(*sides([0.0, 2.0, 0.1], [5.0, 5.1, 5.2]))
    assert math.isfinite(found.low)
    assert math.isnan(found.ratio_low)
    assert math.isnan(found.ratio_high)


def test_a_baseline_without_error_scales_the_difference() -> None:
    assert ratio_interval((10.0, 0.0), (12.0, 1.0), 2.0) == pytest.approx((1.0, 1.4))


def test_without_any_spread_there_is_no_p_value() -> None:
    found = gap(*sides([10.0], [12.0]))
    assert found.difference == 2
    assert math.isnan(found.p)
    assert math.isnan(found.low)


def test_two_equal_sides_that_never_vary_are_equal_and_unequal_ones_are_not_judged() -> None:
    assert gap(*sides([1.0, 1.0], [1.0, 1.0])).p == 1
    assert math.isnan(gap(*sides([1.0, 1.0], [2.0, 2.0])).p)


def test_a_single_run_is_taken_to_vary_from_run_to_run_as_the_other_side_does() -> None:
    sure = Estimate(value=10.0, runs=1, spread=Spread(0.01, 9.0))
    repeated = estimate([11.0, 13.0, 15.0], [NONE] * 3)
    assert repeated is not None
    found = gap(sure, repeated)
    alone = 2.0  # the s.d. between the three runs, for the one run
    assert (found.high - found.low) / 2 > 1.9 * math.hypot(alone, alone / math.sqrt(3))


def test_runs_that_lack_the_figure_are_not_in_its_mean() -> None:
    found = estimate([3.0, math.nan, 5.0], [NONE] * 3)
    assert found is not None
    assert (found.value, found.runs) == (4.0, 2)
    assert estimate([math.nan], [NONE]) is None


def test_parts_add_in_squares_with_the_degrees_of_the_larger_one() -> None:
    both = together(Spread(3.0, 5.0), Spread(4.0, 8.0), NONE)
    assert both.error == pytest.approx(5)
    assert both.degrees == pytest.approx(625 / (81 / 5 + 256 / 8))
    assert not together(NONE).known


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_false_alarms_of_a_whole_family_under_five_percent() -> None:
    chance, tries = np.random.default_rng(2), 4000
    alarms = sum(min(holm(chance.uniform(size=10).tolist())) < 0.05 for _ in range(tries))
    assert 0.04 <= alarms / tries <= 0.06
