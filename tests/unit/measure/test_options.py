"""How far the tests are, in words."""

from __future__ import annotations

import pytest

from perfkit.measure.options import MeasureProgress


@pytest.mark.parametrize(
    ("t_s", "slot", "says"),
    [
        (-3.2, None, "T0 in 3 s"),
        (4.0, "01-a", "T+4 s: 01-a, 26 s to go"),
        (14.0, None, "T+14 s: between tests, 16 s to go"),
        (30.0, None, "T+30 s: the tests are over"),
    ],
)
def test_progress_is_one_line(t_s: float, slot: str | None, says: str) -> None:
    assert str(MeasureProgress(t_s=t_s, end_s=30.0, slot=slot)) == says
