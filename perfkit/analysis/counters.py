"""Server counters over a window: the monitor's rates and a process's CPU seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.model import Window


def in_window(monitor: pd.DataFrame, window: Window) -> pd.DataFrame:
    """The rows whose whole interval is in the window.

    A row that a border cuts averages the window and the ramp beside it; which part is which it
    does not say, and over ten seconds it would cost one or two percent. A row covers the `dt_s`
    before its stamp.
    """
    begin, end = spans(monitor)
    inside: pd.DataFrame = monitor[(begin >= window.start_s) & (end <= window.end_s)]
    return inside


def spans(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Begin and end of each row's interval, in seconds from T0."""
    end = rows["t_s"].to_numpy(dtype=np.float64)
    return end - rows["dt_s"].to_numpy(dtype=np.float64), end


def coverage(monitor: pd.DataFrame, window: Window) -> float:
    """Part of the window, 0 to 1, in which the monitor was awake."""
    begin, end = spans(monitor)
    inside = np.minimum(end, window.end_s) - np.maximum(begin, window.start_s)
    return float(min(np.nansum(np.clip(inside, 0.0, None)) / window.length_s, 1.0))


def mean_and_sd(rows: pd.DataFrame, *columns: str) -> tuple[float, float]:
    """Time-weighted mean of a rate, or of the sum of several, and its sample s.d. over the rows.

    Returns:
        NaN, NaN where there is nothing; no s.d. of one row. With rows of equal length the s.d.'s
        divisor is n - 1; with others V1 - V2 / V1 (V1, V2: the sum of the weights, of their squares).
    """
    if not columns or not set(columns) <= set(rows.columns):
        return float("nan"), float("nan")
    each = [rows[name].to_numpy(dtype=np.float64) for name in columns]
    values = np.column_stack(each).sum(axis=1)
    weight = rows["dt_s"].to_numpy(dtype=np.float64)
    used = np.isfinite(values) & np.isfinite(weight)
    if not used.any():
        return float("nan"), float("nan")
    values, weight = values[used], weight[used]
    mean = float(np.average(values, weights=weight))
    if len(values) == 1:
        return mean, float("nan")
    divisor = weight.sum() - (weight**2).sum() / weight.sum()
    return mean, float(np.sqrt((weight * (values - mean) ** 2).sum() / divisor))


def sampled_span(process: pd.DataFrame, window: Window) -> Window:
    """From the first to the last sample in the window; the window where there are not two."""
    inside = process["t_s"].between(window.start_s, window.end_s)
    moments = process.loc[inside, "t_s"]
    if len(moments) < 2:
        return window
    return Window(start_s=float(moments.min()), end_s=float(moments.max()))


def cpu_seconds(process: pd.DataFrame, window: Window) -> float:
    """CPU seconds used in the window, interpolated between the samples around each border.

    A process that was restarted has another pid and counts from 0 again; each pid is taken by
    itself. NaN when the samples do not reach over the window.
    """
    if process.empty or not _reaches(process, window):
        return float("nan")
    borders = [window.start_s, window.end_s]
    used = 0.0
    for _, samples in process.groupby("pid"):
        at = np.interp(borders, samples["t_s"].to_numpy(), samples["cpu_s"].to_numpy())
        used += float(at[1] - at[0])
    return used


def growth(counts: NDArray[Any]) -> NDArray[Any]:
    """By how much a counter went up at each sample; one that goes down was begun anew, at 0."""
    steps = np.diff(counts, prepend=counts[:1])
    return np.where(steps < 0, counts, steps)


def increase(samples: pd.DataFrame, column: str, window: Window, key: str) -> float:
    """By how much counters went up in the window, interpolated between the samples around each border.

    Args:
        key: The column by which counters are told apart.

    Returns:
        Their sum; NaN when the samples do not reach over the window.
    """
    if samples.empty or not _reaches(samples, window):
        return float("nan")
    borders = [window.start_s, window.end_s]
    total = 0.0
    for _, own in samples.groupby(key, observed=True):
        grown = np.cumsum(growth(own[column].to_numpy(dtype=np.float64)))
        at = np.interp(borders, own["t_s"].to_numpy(), grown)
        total += float(at[1] - at[0])
    return total


def _reaches(process: pd.DataFrame, window: Window, slack_s: float = 2.0) -> bool:
    first, last = float(process["t_s"].min()), float(process["t_s"].max())
    return first <= window.start_s + slack_s and last >= window.end_s - slack_s
