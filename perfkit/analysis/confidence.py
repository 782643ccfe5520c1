"""How sure a mean is: confidence intervals of series whose neighbours are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_BATCHES = 3
LEVEL = 0.95


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


def student_t(degrees: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t: the interval is the estimate +- this many standard errors.

    Args:
        degrees: Of freedom; need not be whole.
        level: Of the interval, a share.
    """
    from scipy import special  # noqa: PLC0415 -- it takes longer to load than all of perfkit

    return float(special.stdtrit(degrees, (1 + level) / 2))


def student_p(statistic: float, degrees: float) -> float:
    """Two-sided p-value of a t statistic."""
    from scipy import special  # noqa: PLC0415 -- as above

    return 2 * float(special.stdtr(degrees, -abs(statistic)))
