"""The difference of two estimates: interval, p-value, and what many comparisons cost.

Welch's t for two means whose spreads differ; Fieller's interval for their ratio, since a change in
percent of an uncertain baseline is uncertain for two reasons; Holm's step-down procedure over all
p-values, which keeps the chance of even one false alarm below the level whatever the figures have
in common.

Source: Welch (1947), The generalization of Student's problem when several different population
variances are involved; Fieller (1954), Some problems in interval estimation, and for speed-ups of
programs Kalibera and Jones (2013), Rigorous benchmarking in reasonable time, section 7; Holm
(1979), A simple sequentially rejective multiple test procedure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfkit.analysis.confidence import student_p, student_t
from perfkit.analysis.uncertainty import Spread, together

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure of one side.

    Attributes:
        value: Mean over its runs.
        runs: How many have the figure.
        spread: Standard error of `value`: between runs where there are two or more, within the
            run where there is one.
        run_sd: Standard deviation between runs; NaN with fewer than two.
    """

    value: float
    runs: int
    spread: Spread
    run_sd: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Other minus baseline with its 95 % interval and p-value; NaN where there is no spread.

    Attributes:
        ratio_low, ratio_high: Interval of other over baseline, see `ratio_interval`.
    """

    difference: float
    low: float = float("nan")
    high: float = float("nan")
    ratio_low: float = float("nan")
    ratio_high: float = float("nan")
    p: float = float("nan")
    degrees: float = float("nan")


def estimate(values: Sequence[float], within: Sequence[Spread]) -> Estimate | None:
    """One side's figure; None when no run has it.

    With two runs or more, their own standard deviation is the spread: it holds everything that
    changes from run to run, and what each run knows of itself is not needed.

    Args:
        values: Of each run; NaN = it has none.
        within: Of each run.
    """
    known = [(v, s) for v, s in zip(values, within, strict=True) if np.isfinite(v)]
    if not known:
        return None
    found = np.array([value for value, _ in known])
    if len(found) == 1:
        return Estimate(value=float(found[0]), runs=1, spread=known[0][1])
    sd = float(found.std(ddof=1))
    return Estimate(
        value=float(found.mean()),
        runs=len(found),
        spread=Spread(sd / np.sqrt(len(found)), len(found) - 1.0),
        run_sd=sd,
    )


def gap(baseline: Estimate, other: Estimate) -> Gap:
    """The difference of two sides, by Welch's t.

    A side of one run beside a side of several is taken to vary from run to run as the other does,
    if that is more than what it knows of itself.
    """
    difference = other.value - baseline.value
    parts = _spread(baseline, other), _spread(other, baseline)
    if not all(part.known for part in parts):
        return Gap(difference=difference)
    both = together(*parts)
    if both.error == 0:  # nothing varied at all: equal is equal, and more cannot be said
        return Gap(difference=difference, p=float("nan") if difference else 1.0)
    t = student_t(both.degrees, LEVEL)
    ratio_low, ratio_high = ratio_interval(
        (baseline.value, parts[0].error), (other.value, parts[1].error), t
    )
    return Gap(
        difference=difference,
        low=difference - t * both.error,
        high=difference + t * both.error,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        p=student_p(difference / both.error, both.degrees),
        degrees=both.degrees,
    )


def ratio_interval(
    baseline: tuple[float, float], other: tuple[float, float], t: float
) -> tuple[float, float]:
    """Fieller's interval for other over baseline, of figures that are never negative.

    These are the ratios r for which other - r * baseline is within t of its standard errors of
    nothing. With t from the degrees of freedom of the difference, 1 is inside where the interval
    of the difference holds 0, so both tell the same. Ratios below 0 are cut off: they cannot be.

    Args:
        baseline, other: Value and standard error.

    Returns:
        Lower and upper end; NaN where the baseline is within t of its standard errors of 0, so
        that the ratio has no bound.
    """
    (a, error_a), (b, error_b) = baseline, other
    below = a**2 - (t * error_a) ** 2
    if a <= 0 or below <= 0:
        return float("nan"), float("nan")
    root = t * math.sqrt((a * error_b) ** 2 + (b * error_a) ** 2 - (t * error_a * error_b) ** 2)
    return max((a * b - root) / below, 0.0), (a * b + root) / below


def _spread(own: Estimate, other: Estimate) -> Spread:
    if own.runs > 1 or other.runs < 2:
        return own.spread
    borrowed = Spread(other.run_sd, other.spread.degrees)
    if not own.spread.known or own.spread.error < borrowed.error:
        return borrowed
    return own.spread


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN is no comparison and stays NaN."""
    p = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return [float(value) for value in adjusted]
