"""As few samples as a picture can show, and none of its extremes lost.

A screen has some thousand columns, a log may have a million samples. What a line through all of
them looks like is decided by the least and the largest in each column, so these are kept, with
the first sample, the last, and one gap a column.

Source: Jugel et al., M4: A Visualization-Oriented Time Series Data Aggregation, VLDB 2014; the
first and last sample of each column, which M4 keeps as well, are no use to a step line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kept_samples(values: Floats, columns: int) -> NDArray[np.int64]:
    """Which samples to draw, ascending; at most about three a column.

    Args:
        values: Evenly enough spaced in time; NaN breaks the line.
        columns: Of the picture; all samples are kept where there are not two for each.
    """
    count = len(values)
    if count <= 2 * columns:
        return np.arange(count)
    size = -(-count // columns)
    whole = count // size * size
    missing = np.isnan(values)
    has_gaps = bool(missing.any())
    low = np.where(missing, np.inf, values) if has_gaps else values
    high = np.where(missing, -np.inf, values) if has_gaps else values
    firsts = np.arange(0, whole, size)
    kept = [
        np.array([0, count - 1]),
        firsts + low[:whole].reshape(-1, size).argmin(axis=1),
        firsts + high[:whole].reshape(-1, size).argmax(axis=1),
    ]
    if whole < count:
        kept.append(np.array([whole + low[whole:].argmin(), whole + high[whole:].argmax()]))
    if has_gaps:
        gaps = np.flatnonzero(missing)
        kept.append(gaps[np.unique(gaps // size, return_index=True)[1]])
    return np.unique(np.concatenate(kept))


def visible(t_s: Floats, begin_s: float, end_s: float) -> slice:
    """The samples of a range, with one more on either side so that lines reach its borders."""
    first = int(np.searchsorted(t_s, begin_s, side="left")) - 1
    end = int(np.searchsorted(t_s, end_s, side="right")) + 1
    return slice(max(first, 0), min(end, len(t_s)))
