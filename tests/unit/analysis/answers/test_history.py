"""A figure over campaigns: a step is found where it was, and noise is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.analysis.answers.history import change_points
from perfkit.errors import FrameError


def series(*levels: tuple[int, float], spread: float = 0.03, seed: int = 1) -> list[float]:
    chance = np.random.default_rng(seed)
    return [float(level * chance.lognormal(0, spread)) for n, level in levels for _ in range(n)]


def test_a_step_is_found_where_it_was_planted_with_its_size() -> None:
    (found,) = change_points(range(20), series((12, 300e6), (8, 270e6)))
    assert found.index == 12
    assert found.time == 12
    assert found.p <= 0.01
    assert found.size_pct == pytest.approx(-10, abs=3)


def test_a_change_that_is_undone_later_is_two_changes() -> None:
    found = change_points(range(30), series((12, 1.0), (6, 0.8), (12, 1.0)))
    assert [point.index for point in found] == [12, 18]
    assert [point.size_pct for point in found] == pytest.approx([-20, 25], abs=4)
    assert found[0].after == found[1].before


def test_one_odd_campaign_is_no_change() -> None:
    assert change_points(range(21), series((10, 1.0), (1, 0.5), (10, 1.0))) == ()


def test_a_sure_but_small_change_is_no_change_unless_it_is_asked_for() -> None:
    values = series((15, 1.0), (15, 0.97), spread=0.004)
    assert change_points(range(30), values) == ()
    (found,) = change_points(range(30), values, least_size=0.02)
    assert found.index == 15


def test_dropping_a_small_change_leaves_the_large_one_beside_it() -> None:
    values = series((10, 1.0), (10, 0.97), (10, 0.7), spread=0.004)
    (found,) = change_points(range(30), values)
    assert found.index == 20
    assert found.size_pct == pytest.approx(-29, abs=1)


def test_noise_rarely_alarms() -> None:
    alarms = sum(bool(change_points(range(16), series((16, 1.0), seed=k))) for k in range(60))
    assert alarms <= 8  # 3 of 60 are meant; more than 8 come once in 200


def test_times_need_no_order_and_unknown_figures_are_left_out() -> None:
    values = [*series((8, 1.0), (8, 0.7)), float("nan"), 0.0]
    order = np.random.default_rng(2).permutation(len(values))
    shuffled = [values[place] for place in order]
    (found,) = change_points([100.0 + place for place in order], shuffled)
    assert found.time == 108
    assert order[found.index] == 8


def test_the_same_seed_gives_the_same_p() -> None:
    values = series((8, 1.0), (8, 0.93), spread=0.04)
    first, again, other = (change_points(range(16), values, seed=s) for s in (1, 1, 2))
    assert first == again
    assert [one.index for one in first] == [one.index for one in other]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0, 1.0, 2.0, 2.0], [1.0] * 20])
def test_too_few_or_equal_campaigns_have_no_change(values: list[float]) -> None:
    assert change_points(range(len(values)), values) == ()


def test_times_and_values_belong_together() -> None:
    with pytest.raises(FrameError, match="2 times for 1 values"):
        change_points([1.0, 2.0], [1.0])
