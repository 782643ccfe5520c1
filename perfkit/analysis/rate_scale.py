"""Whether rates over time need a logarithmic axis, so that a fast test does not hide a slow one.

Beside the tunnel a test may move a hundred times what goes through it. On a common linear axis the
slow one is a line along the bottom, in which nobody sees a stall.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from perfkit.logs.run_logs import SlotPlan

FAR_APART = 4.0  # times; from there on the slower of two has less than a quarter of the height
IDLE_SHARE = 1e-4  # of the fastest: a test that moved so little has no level to be seen


def floor_bps(
    lines: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]],
    slots: Sequence[SlotPlan],
    begin_s: float = -np.inf,
    end_s: float = np.inf,
) -> float:
    """Where a logarithmic axis begins: a decade or two below the slowest test.

    Args:
        lines: Moments, ascending, and rates of each line of one panel.
        slots: The tests that are shown.
        begin_s, end_s: The range that is shown.

    Returns:
        A power of ten; 0 where a linear axis shows all tests.
    """
    levels = dict.fromkeys((slot.name for slot in slots), 0.0)
    for t_s, rate in lines:
        for slot in slots:
            first, last = np.searchsorted(t_s, [max(slot.start_s, begin_s), min(slot.end_s, end_s)])
            shown = rate[first:last]
            shown = shown[np.isfinite(shown)]
            if len(shown):
                levels[slot.name] = max(levels[slot.name], float(shown.max()))
    most = max(levels.values(), default=0.0)
    seen = [level for level in levels.values() if level > IDLE_SHARE * most]
    if not seen or most <= FAR_APART * min(seen):
        return 0.0
    return float(10.0 ** np.floor(np.log10(min(seen) / 10.0)))
