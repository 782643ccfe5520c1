"""Confidence intervals: the quantiles by integration, the coverage by trial."""

from __future__ import annotations

import math

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
        error = confidence.batch_means_error(series[50:])
        held += abs(series[50:].mean()) <= confidence.half_width(error, confidence.batch_count(400))
    assert 0.88 < held / trials < 0.98  # sd/sqrt(n) would hold it three times in four


def test_fewer_than_three_batches_give_no_interval() -> None:
    assert confidence.batch_count(8) == 2
    assert math.isnan(confidence.half_width(1.0, 2))
    assert confidence.half_width(1.0, 3) == pytest.approx(4.3027, rel=1e-4)
