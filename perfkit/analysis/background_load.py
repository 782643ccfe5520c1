"""What kept the server's processors busy while no test ran: somebody else, whose share is lost.

A test measures what a machine has left. Where something else runs beside it, on a machine that is
shared with people or with other tests, its figures say as much about that as about the network,
and nothing in the test's own window tells the two apart. The time between the tests does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from perfkit.analysis.counters import spans
from perfkit.logs.run_logs import Finding, RunLogs

NOTABLE_PCT = 25.0  # 100 clients on two processors between their tests: 8 (median)
LEAST_TICKS = 3
# Servers are started before a test, and connections and processes end after it.
BEFORE_S, AFTER_S = 2.0, 3.0


def idle_busy_pct(logs: RunLogs, outcomes: pd.DataFrame) -> tuple[float, int]:
    """How busy the server's processors were beside all tests.

    Args:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.

    Returns:
        Median over the monitor's ticks that lie wholly outside, and their number; NaN and 0 where
        there are none.
    """
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    if "cpu_busy_pct" not in monitor:
        return float("nan"), 0
    begin, end = spans(monitor)
    busy = monitor["cpu_busy_pct"].to_numpy(dtype=np.float64)
    outside = np.isfinite(begin) & np.isfinite(busy)
    ends = outcomes.groupby("slot")["end_s"].max()
    for slot in logs.slots:
        last_s = np.fmax(slot.end_s, ends.get(slot.name, np.nan))
        outside &= (end <= slot.start_s - BEFORE_S) | (begin >= last_s + AFTER_S)
    count = int(outside.sum())
    return (float(np.median(busy[outside])) if count else float("nan")), count


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
