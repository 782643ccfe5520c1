"""Confidence intervals: the quantiles by integration, the coverage by trial."""

from __future__ import annotations

import math

import campaign_truth
import numpy as np
import pytest

from perfkit.analysis import confidence


@pytest.mark.parametrize("degrees", [2, 3, 9, 30, 31, 60, 400])
def test_student_t_leaves_two_and_a_half_percent_on_each_side(degrees: int) -> None:
    t = np.linspace(0.0, confidence.student_t(degrees), 200_001)
    log_scale = (
        math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    )
    density = np.exp(log_scale - (degrees + 1) / 2 * np.log1p(t**2 / degrees))
    inside = 2 * float(np.trapezoid(density, t))
    assert inside == pytest.approx(0.95, abs=2e-5)


def test_the_interval_holds_the_true_mean_of_a_correlated_series_about_as_often_as_it_says() -> (
    None
):
    chance = np.random.default_rng(3)
    held, trials = 0, 400
    for _ in range(trials):
        steps = chance.normal(0.0, 1.0, 450)
        series = np.zeros(450)
        for place in range(1, 450):
            series[place] = 0.5 * series[place - 1] + steps[place]
        batches = confidence.choose_batches(series[50:])
        half = confidence.half_width(batches.error(series[50:]), batches.count)
        held += abs(series[50:].mean()) <= half
    assert 0.91 < held / trials < 0.99  # sd/sqrt(n) would hold it three times in four


def test_batches_grow_with_the_likeness_of_neighbours() -> None:
    chance = np.random.default_rng(4)
    alone = confidence.choose_batches(chance.normal(0.0, 1.0, 400))
    alike = confidence.choose_batches(campaign_truth.ar1(chance, 400, 0.8, 1.0))
    assert alone.length <= 2
    assert 5 <= alike.length <= 20
    assert alike.wider > 1.0


def test_a_series_too_alike_for_its_length_has_no_interval() -> None:
    walk = np.random.default_rng(5).normal(0.0, 1.0, 30).cumsum()
    batches = confidence.choose_batches(walk)
    assert batches.count == 0
    assert math.isnan(batches.error(walk))


def test_fewer_than_four_batches_give_no_interval() -> None:
    assert confidence.choose_batches(np.ones(3)).count == 0
    assert math.isnan(confidence.half_width(1.0, 3))
    assert confidence.half_width(1.0, 4) == pytest.approx(3.1824, rel=1e-4)


def test_a_series_of_equal_values_has_an_interval_of_no_width() -> None:
    batches = confidence.choose_batches(np.full(30, 7.0))
    assert (batches.count, batches.error(np.full(30, 7.0))) == (30, 0.0)
