"""Decimation: whatever the length, the first, the last and the extremes are there."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.analysis.decimation import kept_samples, visible

COLUMNS = 1000


@pytest.mark.parametrize("count", [1, 10, 1999, 2000, 2001, 2999, 3000, 3001, 1_000_000])
def test_first_last_and_extremes_are_kept_at_every_length(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    kept = kept_samples(values, COLUMNS)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert {int(values.argmin()), int(values.argmax())} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= max(2 * COLUMNS, 2 * COLUMNS + 4)


@pytest.mark.parametrize("place", [0, 1, 123_456, 999_998, 999_999])
def test_a_single_spike_is_kept_wherever_it_is(place: int) -> None:
    values = np.zeros(1_000_000)
    values[place] = 1.0
    assert place in kept_samples(values, COLUMNS)


def test_a_gap_breaks_the_line_and_hides_no_extreme_beside_it() -> None:
    values = np.ones(10_000)
    values[[5000, 5001]] = np.nan, 7.0
    kept = set(kept_samples(values, COLUMNS).tolist())
    assert {5000, 5001} <= kept


def test_samples_that_are_all_missing_are_no_error() -> None:
    kept = kept_samples(np.full(5001, np.nan), COLUMNS)
    assert (kept[0], kept[-1]) == (0, 5000)


def test_what_is_visible_reaches_one_sample_beyond_the_range() -> None:
    t_s = np.arange(10.0)
    assert t_s[visible(t_s, 2.5, 4.5)].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert t_s[visible(t_s, -5.0, 99.0)].tolist() == t_s.tolist()
    assert t_s[visible(t_s, 20.0, 30.0)].tolist() == [9.0]
