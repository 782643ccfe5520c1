"""How sure a mean is: confidence intervals of series whose neighbours are alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_BATCHES = 4
LEVEL = 0.95
_MOST_ALIKE = 0.99


@dataclass(frozen=True, slots=True)
class Batches:
    """How a series is cut so that the means of its batches can be taken as independent.

    Attributes:
        count: 0: its neighbours are too alike for so few samples; there is no interval.
        length: Samples a batch; what is left over is at the series' begin.
        wider: Factor on the standard error for the likeness that batches still have.
    """

    count: int = 0
    length: int = 0
    wider: float = 1.0

    def error(self, values: NDArray[np.float64]) -> float:
        """Standard error of the mean of a series that was cut like this; NaN without batches."""
        if not self.count:
            return float("nan")
        means = values[-self.count * self.length :].reshape(self.count, self.length).mean(axis=1)
        return self.error_of(means)

    def error_of(self, means: NDArray[np.float64]) -> float:
        """The same from what a figure was in each batch."""
        return float(means.std(ddof=1) / np.sqrt(len(means))) * self.wider


def choose_batches(values: NDArray[np.float64]) -> Batches:
    """Cut a series into batches that grow with the correlation of its neighbours.

    One-second samples of a TCP flow are correlated, so sd/sqrt(n) is too small. A batch has
    (1 + r) / (1 - r) samples, which carry as much as one independent sample would, where r is the
    lag-1 correlation, freed of its bias in short series and taken one standard error higher than
    it was found: a series that seems less alike than it is gets an interval that is too narrow.
    With fewer than four batches there is no interval.

    Source: Law, Simulation Modeling and Analysis, section 9.5.3 (nonoverlapping batch means);
    Marriott and Pope, Biometrika 41 (1954) 390, for the bias.
    """
    samples = len(values)
    if samples < MIN_BATCHES:
        return Batches()
    apart = values - values.mean()
    squares = float((apart**2).sum())
    found = float((apart[1:] * apart[:-1]).sum()) / squares if squares else 0.0
    found += (1 + 4 * max(found, 0.0)) / samples
    alike = found + float(np.sqrt(max(1 - found**2, 0.0) / samples)) if squares else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    length = int(np.ceil((1 + alike) / (1 - alike) - 1e-9))
    count = samples // length
    if count < MIN_BATCHES:
        return Batches()
    of_batch, of_all = _variance_of_mean(alike, length), _variance_of_mean(alike, count * length)
    wider = np.sqrt(of_all * (count - 1) / (of_batch - of_all))
    return Batches(count, length, float(wider))


def _variance_of_mean(alike: float, samples: int) -> float:
    """Of a first-order autoregressive series, relative to the variance of one sample."""
    tail = 2 * alike * (1 - alike**samples) / (samples * (1 - alike) ** 2)
    return ((1 + alike) / (1 - alike) - tail) / samples


def half_width(standard_error: float, batches: int) -> float:
    """Half of the 95 % confidence interval, by Student's t with batches - 1 degrees of freedom."""
    return standard_error * student_t(batches - 1) if batches >= MIN_BATCHES else float("nan")


def mean_interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of independent values and its interval by Student's t; NaN to NaN with one value."""
    mean, half = float(values.mean()), float("nan")
    if len(values) > 1:
        error = float(values.std(ddof=1)) / np.sqrt(len(values))
        half = error * student_t(len(values) - 1, level)
    return mean, mean - half, mean + half


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
