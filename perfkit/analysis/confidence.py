"""How sure a mean is: confidence intervals of series whose neighbours are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_BATCHES = 3
LEVEL = 0.95
# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_NORMAL = 1.959964


def batch_count(samples: int) -> int:
    """Batches that a series of so many samples is cut into: floor(sqrt(n))."""
    return int(np.sqrt(samples))


def batch_means_error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of a series whose neighbours are alike.

    One-second samples of a TCP flow are correlated, so sd/sqrt(n) is too small. The series is
    cut into floor(sqrt(n)) batches of equal length, and their means are taken as independent.
    NaN with fewer than three batches, that is under nine samples.

    Source: Law, Simulation Modeling and Analysis, section 9.5.3 (nonoverlapping batch means).
    """
    batches = batch_count(len(values))
    if batches < MIN_BATCHES:
        return float("nan")
    length = len(values) // batches
    means = values[: batches * length].reshape(batches, length).mean(axis=1)
    return float(means.std(ddof=1) / np.sqrt(batches))


def half_width(standard_error: float, batches: int) -> float:
    """Half of the 95 % confidence interval, by Student's t with batches - 1 degrees of freedom."""
    return standard_error * student_t(batches - 1) if batches >= MIN_BATCHES else float("nan")


def student_t(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t; right within 0.0001.

    Source: above 30 degrees of freedom the Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    """
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = _NORMAL
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
