"""What kept the server's processors busy while no test ran: somebody else, whose share is lost.

A test measures what a machine has left. Where something else runs beside it, on a machine that is
shared with people or with other tests, its figures say as much about that as about the network,
and nothing in the test's own window tells the two apart. The time between the tests does.

Between its tests a run works too: it opens SSH sessions to all hosts, and their processes end. What
lasts is seen in the quietest of the times between tests as well; so that one is taken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.counters import spans
from perfkit.logs.run_logs import Finding, RunLogs

Floats = NDArray[np.float64]

NOTABLE_PCT = 25.0  # 100 clients on two processors between their tests: 8 (median)
LEAST_TICKS = 3
# A few dozen hosts get ready in the last second before a test; connections and processes end after it.
BEFORE_S, AFTER_S = 1.0, 3.0
QUIET_S = 4.0  # before the first test, when all hosts have been told what to start and wait


def idle_busy_pct(logs: RunLogs, outcomes: pd.DataFrame) -> tuple[float, int]:
    """How busy the server's processors were in the quietest time before, between or after the tests.

    Args:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.

    Returns:
        Median over that time's ticks in percent, and their number; NaN and 0 where no such time has
        `LEAST_TICKS`.
    """
    found = [
        median_busy_pct(logs, functools.partial(_inside, begin_s, end_s))
        for begin_s, end_s in _times_without_tests(logs, outcomes)
    ]
    told = [(busy_pct, ticks) for busy_pct, ticks in found if ticks >= LEAST_TICKS]
    return min(told, default=(float("nan"), 0))


def _times_without_tests(logs: RunLogs, outcomes: pd.DataFrame) -> list[tuple[float, float]]:
    """Begin and end of each, in seconds after T0; of that before the first test only the last seconds."""
    ends = outcomes.groupby("slot")["end_s"].max()
    slots = sorted(logs.slots, key=lambda it: it.start_s)
    lasts = np.fmax.accumulate([np.fmax(it.end_s, ends.get(it.name, np.nan)) for it in slots])
    ends_s = [it.start_s - it.connect_s - BEFORE_S for it in slots]
    begins = [ends_s[0] - QUIET_S, *(last_s + AFTER_S for last_s in lasts)]
    return list(zip(begins, [*ends_s, np.inf], strict=True))


def _inside(begin_s: float, end_s: float, begin: Floats, end: Floats) -> NDArray[np.bool_]:
    return (begin >= begin_s) & (end <= end_s)


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
    if not busy_pct >= NOTABLE_PCT:
        return []
    text = (
        f"its processors were {busy_pct:.0f} % busy while no test ran (median of {ticks} ticks, the quietest): "
        "something else was running there, and the tests had what it left"
    )
    return [Finding(logs.server, text)]
