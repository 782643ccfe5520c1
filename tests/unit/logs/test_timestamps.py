from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.logs.timestamps import from_epoch, from_printed, intervals

S = 1_000_000_000


@given(st.lists(st.floats(0.2, 4.0), min_size=3, max_size=40))
def test_rate_times_interval_is_what_was_counted(steps: list[float]) -> None:
    stamps = np.cumsum([1000.123, *(round(step, 3) for step in steps)])
    moments, _ = from_epoch(stamps)
    gaps = intervals(moments, real_rates=False)
    counted = 500.0 * gaps.dt_s  # bytes in each interval at a steady 500 byte/s
    step = max(round(float(np.median(gaps.dt_s))), 1)
    assert counted / step * gaps.repair == pytest.approx(np.full(len(steps), 500.0))


def test_a_row_without_a_readable_epoch_is_dropped_and_named() -> None:
    moments, notes = from_epoch(np.array([1.5, np.nan, 3.5, 1e300]))
    assert moments.tolist()[1] == 0
    assert moments.tolist()[3] == 0
    assert notes == ("2 rows have no readable epoch",)


def test_one_stamp_leaves_no_interval() -> None:
    gaps = intervals(np.array([5 * S]), real_rates=False)
    assert len(gaps.dt_s) == 0
    assert gaps.notes == ()


def test_a_numeric_zone_is_applied() -> None:
    moments, notes = from_printed(["23-03 13:54:36"], "23 Mar 2023 13:54:36 -03")
    assert moments is not None
    assert np.datetime64(int(moments[0]), "ns") == np.datetime64("2023-03-23T16:54:36")
    assert notes == ()


def test_times_without_a_year_cannot_be_placed() -> None:
    assert from_printed(["23-03 13:54:36"], "")[0] is None
