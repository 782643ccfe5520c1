"""Quantiles of waiting times of which some never ended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def of_waits(values: NDArray[np.float64], q: float) -> float:
    """The quantile of times, where NaN is a wait that was given up: longer than all that ended.

    A quantile that falls among those is NaN, and so is one that leaves less than one time beyond it:
    of 20 clients a 99 % quantile is little but the longest time under another name.

    Returns:
        By linear interpolation between order statistics (type 7).
    """
    if len(values) == 0 or (min(q, 1 - q) * len(values) < 1 - 1e-9 and q != 0.5):
        return float("nan")
    place = q * (len(values) - 1)
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    below, above = float(ordered[int(np.floor(place))]), float(ordered[int(np.ceil(place))])
    if not np.isfinite(above):
        return float("nan")
    return below + (above - below) * (place - float(np.floor(place)))
