"""What kept the server's processors busy while no test ran: somebody else, whose share is lost.

A test measures what a machine has left. Where something else runs beside it, on a machine that is
shared with people or with other tests, its figures say as much about that as about the network,
and nothing in the test's own window tells the two apart. The time between the tests does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.counters import spans
from perfkit.logs.run_logs import Finding, RunLogs

Floats = NDArray[np.float64]

NOTABLE_PCT = 25.0  # 100 clients on two processors between their tests: 8 (median)
LEAST_TICKS = 3
# Servers are started before a test, and connections and processes end after it.
BEFORE_S, AFTER_S = 2.0, 3.0


def idle_busy_pct(logs: RunLogs, outcomes: pd.DataFrame) -> tuple[float, int]:
    """How busy the server's processors were beside all tests, as `median_busy_pct` says it.

    Args:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.
    """
    ends = outcomes.groupby("slot")["end_s"].max()

    def beside(begin: Floats, end: Floats) -> NDArray[np.bool_]:
        outside = np.isfinite(begin)
        for slot in logs.slots:
            last_s = np.fmax(slot.end_s, ends.get(slot.name, np.nan))
            outside &= (end <= slot.start_s - BEFORE_S) | (begin >= last_s + AFTER_S)
        return outside

    return median_busy_pct(logs, beside)


def median_busy_pct(
    logs: RunLogs, chosen: Callable[[Floats, Floats], NDArray[np.bool_]]
) -> tuple[float, int]:
    """How busy the server's processors were in some of the monitor's ticks.

    Args:
        chosen: Which ticks, by their begins and ends in seconds after T0.

    Returns:
        Median over those ticks in percent, and their number; NaN and 0 where there are none.
    """
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    if "cpu_busy_pct" not in monitor:
        return float("nan"), 0
    busy = monitor["cpu_busy_pct"].to_numpy(dtype=np.float64)
    busy = busy[np.isfinite(busy) & chosen(*spans(monitor))]
    return (float(np.median(busy)) if len(busy) else float("nan")), len(busy)


def findings(logs: RunLogs, outcomes: pd.DataFrame) -> list[Finding]:
    """A warning where something else took a notable share of the processors."""
    busy_pct, ticks = idle_busy_pct(logs, outcomes)
    if ticks < LEAST_TICKS or busy_pct < NOTABLE_PCT:
        return []
    text = (
        f"its processors were {busy_pct:.0f} % busy while no test ran (median of {ticks} ticks): "
        "something else was running there, and the tests had what it left"
    )
    return [Finding(logs.server, text)]
