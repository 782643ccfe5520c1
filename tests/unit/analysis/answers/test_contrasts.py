"""Ratios of two sides: intervals that hold what they promise, also where they are looked at often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from perfkit.analysis.answers.contrasts import (
    NO_RATIO,
    NO_SPREAD,
    ONE_EACH,
    between,
    of_pairs,
    of_sides,
)

A, B = [12.0, 14.0, 13.0, 15.0], [10.0, 11.0, 15.0, 12.5]


def test_two_sides_of_several_runs_are_compared_by_welch_on_logarithms() -> None:
    found, other = of_sides(A, B), stats.ttest_ind(np.log(B), np.log(A), equal_var=False)
    interval = other.confidence_interval(0.95)
    assert found.p == pytest.approx(other.pvalue)
    assert found.degrees == pytest.approx(other.df)
    assert found.interval(0.95) == pytest.approx((interval.low, interval.high))


def test_pairs_are_compared_by_their_log_ratios() -> None:
    ratios = np.log(B) - np.log(A)
    found, other = of_pairs(ratios.tolist()), stats.ttest_1samp(ratios, 0.0)
    assert found.p == pytest.approx(other.pvalue)
    interval = other.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("turned", [False, True])
def test_one_run_beside_several_is_held_against_their_prediction_interval(turned: bool) -> None:
    sides = ([9.0], A) if turned else (A, [9.0])
    found, logs = of_sides(*sides), np.log(A)
    half = stats.t.ppf(0.975, 3) * logs.std(ddof=1) * math.sqrt(1 + 1 / 4)
    low, high = found.interval(0.95)
    assert found.degrees == 3
    assert (high - low) / 2 == pytest.approx(half)
    assert abs(found.log_ratio) == pytest.approx(logs.mean() - math.log(9))


def test_one_run_against_one_has_a_ratio_and_neither_interval_nor_p() -> None:
    found = of_sides([10.0], [5.0])
    assert found.ratio == pytest.approx(0.5)
    assert found.reason == ONE_EACH
    assert math.isnan(found.p)
    assert all(math.isnan(end) for end in found.interval(0.95))


@pytest.mark.parametrize(("n", "m"), [(1, 3), (4, 1), (2, 2), (2, 5), (2, 10), (3, 10), (5, 5)])
def test_few_runs_beside_many_raise_no_more_false_alarms_than_they_say(n: int, m: int) -> None:
    chance, tries = np.random.default_rng([n, m]), 1500
    draws = (
        np.exp(chance.normal(0, 0.05, count)).tolist() for _ in range(tries) for count in (n, m)
    )
    alarms = sum(of_sides(a, b).p < 0.05 for a, b in zip(draws, draws, strict=True))
    assert alarms / tries <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tries)


def test_a_zero_has_no_ratio_and_is_not_left_out() -> None:
    for found in (of_sides([0.0, 1.0, 1.1], [1.0, 1.1]), of_pairs([0.1, math.nan, 0.2])):
        assert found.reason == NO_RATIO
        assert math.isnan(found.ratio)
    paired = between({"1": 0.0, "2": 5.0, "3": 5.1}, {"1": 4.0, "2": 5.0, "3": 5.2})
    assert paired.reason == NO_RATIO


def test_runs_that_lack_the_figure_are_no_runs_of_it() -> None:
    assert of_sides([3.0, math.nan, 5.0], [4.0, 4.1]).runs == (2, 2)


def test_without_spread_equal_is_equal_and_unequal_is_not_judged() -> None:
    equal = of_sides([2.0, 2.0], [2.0, 2.0])
    assert (equal.p, equal.interval(0.9)) == (1.0, (0.0, 0.0))
    assert of_sides([2.0, 2.0], [3.0, 3.0]).reason == NO_SPREAD


def test_what_ran_together_is_paired_and_what_did_not_is_not() -> None:
    shared = {"1": 100.0, "2": 140.0, "3": 80.0}
    tenth_more = {
        key: value * f for (key, value), f in zip(shared.items(), (1.1, 1.11, 1.09), strict=True)
    }
    paired = between(shared, tenth_more)
    apart = between(shared, {f"other {key}": value for key, value in tenth_more.items()})
    assert (paired.kind, apart.kind) == ("paired", "means")
    assert paired.error < apart.error / 10


def test_the_interval_of_pairs_holds_the_truth_at_all_looks_together() -> None:
    chance, tries, looks = np.random.default_rng(3), 400, range(2, 31)
    ever = {True: 0, False: 0}
    for _ in range(tries):
        ratios = chance.normal(0.02, 0.05, looks[-1]).tolist()
        for sequential in ever:
            found = (of_pairs(ratios[:n], sequential=sequential).interval(0.95) for n in looks)
            ever[sequential] += any(not low <= 0.02 <= high for low, high in found)
    assert ever[True] / tries <= 0.05
    assert ever[False] / tries > 0.15  # Student's: what the guard is for


def test_its_p_value_and_its_interval_agree() -> None:
    for size in np.linspace(0.01, 0.3, 30):
        found = of_pairs(
            [size, size + 0.05, size - 0.04, size + 0.02, size - 0.03], sequential=True
        )
        low, high = found.interval(0.95)
        assert (found.p < 0.05) == (not low <= 0 <= high)


def test_two_looks_bound_nothing_at_a_level_they_cannot_reach() -> None:
    found = of_pairs([0.1, 0.2], sequential=True)
    assert found.interval(0.95) == (-math.inf, math.inf)
    assert found.ratios(0.95) == (0.0, math.inf)
