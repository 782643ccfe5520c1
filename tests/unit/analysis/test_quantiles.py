"""Quantiles of waits that may have been given up."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.analysis.quantiles import of_waits

NAN = float("nan")


def test_a_wait_that_was_given_up_is_longer_than_all_that_ended() -> None:
    assert of_waits(np.array([1.0, 2.0, NAN]), 0.5) == 2.0
    assert of_waits(np.array([NAN, 3.0, 1.0, 2.0, NAN]), 0.5) == 3.0
    assert np.isnan(of_waits(np.array([1.0, 2.0, NAN, NAN]), 0.5))
    assert np.isnan(of_waits(np.array([NAN]), 0.5))


def test_without_any_that_was_given_up_it_is_numpys_quantile() -> None:
    values = np.random.default_rng(7).exponential(size=250)
    for q in (0.01, 0.5, 0.9, 0.99):
        assert of_waits(values, q) == pytest.approx(np.quantile(values, q))


@pytest.mark.parametrize(("count", "known"), [(20, False), (99, False), (100, True)])
def test_the_last_of_few_is_no_quantile_beyond_them(count: int, *, known: bool) -> None:
    assert bool(np.isfinite(of_waits(np.arange(1.0, count + 1), 0.99))) is known


def test_of_nothing_there_is_none() -> None:
    assert np.isnan(of_waits(np.array([]), 0.5))
