"""A fast test beside a slow one: when the axis of their rates is logarithmic."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.analysis.rate_scale import floor_bps
from perfkit.logs.run_logs import SlotPlan
from perfkit.model import NetworkPath

T_S = np.arange(0.0, 40.0)
SLOTS = tuple(
    SlotPlan(
        name=f"{place:02d}", test="a", start_s=start_s, duration_s=10.0, path=NetworkPath.DIRECT
    )
    for place, start_s in enumerate((5.0, 25.0))
)


def rates(first_bps: float, second_bps: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rate = np.full(len(T_S), 2e3)
    rate[(T_S >= 5) & (T_S < 15)] = first_bps
    rate[(T_S >= 25) & (T_S < 35)] = second_bps
    return rate


@pytest.mark.parametrize(
    ("first_bps", "second_bps", "floor"),
    [
        (26e9, 338e6, 1e7),
        (338e6, 26e9, 1e7),
        (900e6, 440e6, 0.0),
        (900e6, 200e6, 1e7),
        (900e6, 0.0, 0.0),  # a test that moved nothing has no level
        (0.0, 0.0, 0.0),
        (np.nan, 900e6, 0.0),
        (900e6, 1e6, 1e5),
    ],
)
def test_rates_far_apart_get_a_floor_a_decade_below_the_slow_one(
    first_bps: float, second_bps: float, floor: float
) -> None:
    line = rates(first_bps, second_bps)
    assert floor_bps([(T_S, line * 0.01), (T_S, line)], SLOTS) == pytest.approx(floor)


def test_where_only_one_test_is_shown_the_axis_is_linear() -> None:
    line = rates(26e9, 338e6)
    assert floor_bps([(T_S, line)], SLOTS, begin_s=20.0, end_s=40.0) == 0.0
    assert floor_bps([(T_S, line)], SLOTS, begin_s=8.0, end_s=40.0) == 1e7
    assert floor_bps([], SLOTS) == 0.0
