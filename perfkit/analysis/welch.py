"""The difference of two estimates: interval, p-value, and what many comparisons cost.

Welch's t for two means whose spreads differ; Holm's step-down procedure over all p-values, which
keeps the chance of even one false alarm below the level whatever the figures have in common.

Source: Welch (1947), The generalization of Student's problem when several different population
variances are involved; Holm (1979), A simple sequentially rejective multiple test procedure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

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
    """Other minus baseline with its 95 % interval and p-value; NaN where there is no spread."""

    difference: float
    low: float = float("nan")
    high: float = float("nan")
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
    half = both.error * float(special.stdtrit(both.degrees, (1 + LEVEL) / 2))
    return Gap(
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=2 * float(special.stdtr(both.degrees, -abs(difference) / both.error)),
        degrees=both.degrees,
    )


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
