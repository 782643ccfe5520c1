"""The ratio of two sides with its spread: what verdicts are made of.

Everything is on the logarithmic scale: a change is a share of the baseline, the spread of a figure
from block to block is too, and the ratio of A over B is that of B over A turned round. The block is
the unit; what varies within one is never used (Kalibera and Jones 2013).

==============  ==========================================================================
`paired`        log ratios of blocks that ran one after the other; Student's t, n - 1
`means`         two sides of two or more; Welch's t. Two or three runs beside many often seem
                to vary less than they do, and Welch's t is then wrong up to twice as often as it
                says: the smaller side is taken to vary at least as both together do
`prediction`    one against several: would the others have brought it forth? The interval for
                one more value of a normal sample, s * sqrt(1 + 1/n), n - 1
`single`        one against one: a ratio, and nothing that says how far it may vary
==============  ==========================================================================

A comparison that is looked at after every repetition, to stop when it says something, is right too
seldom with Student's t. Such a one is `sequential`: its interval holds the truth at *all* looks
together with the promised probability. It is the set of ratios that a t-test's Bayes factor, normal
effect of variance `EFFECT_VARIANCE` against none, does not reject at 1/alpha; by Ville's inequality
that factor exceeds 1/alpha ever with a probability of at most alpha.

Source: Welch (1947), The generalization of Student's problem; Hahn and Meeker, Statistical
Intervals, section 4.7, for one more value; Lai (1976), On confidence sequences, and Wang and Ramdas
(2024), Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perfkit.analysis.confidence import student_p, student_t

Floats = NDArray[np.float64]
Kind = Literal["paired", "means", "prediction", "single"]
EFFECT_VARIANCE = 4.0  # of the effect, in s.d. of a pair: sharp with 5 to 20 pairs
NO_RATIO = "a value is 0 or less, and has no ratio"
BEYOND = "in a block too many clients did not connect for a figure"
_MOST_LOG = 700.0  # of a number that a float holds
ONE_EACH = "one run a side"
NO_SPREAD = "nothing varied from run to run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Other over baseline.

    Attributes:
        log_ratio: Natural logarithm; NaN where there is no ratio.
        sds: Of the logarithm from run to run, baseline and other; of the pairs, twice.
        degrees_each: Degrees of freedom of `sds`.
        runs: Values of the baseline and of the other side; of pairs, their number twice.
        sequential: It was looked at before, and is looked at again until it says something.
        reason: Why it has no interval; empty where it has.
    """

    log_ratio: float
    sds: tuple[float, float] = (math.nan, math.nan)
    degrees_each: tuple[float, float] = (math.nan, math.nan)
    runs: tuple[int, int]
    kind: Kind
    sequential: bool = False
    reason: str = ""

    @property
    def ratio(self) -> float:
        """Other over baseline."""
        return math.exp(self.log_ratio)

    @property
    def error(self) -> float:
        """Standard error of the logarithm; NaN where it is not known."""
        (a, b), (n, m) = self.sds, self.runs
        return a / math.sqrt(n) if self.kind == "paired" else math.hypot(a / n**0.5, b / m**0.5)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `error`."""
        (a, b), (n, m), each = self.sds, self.runs, self.degrees_each
        if self.kind != "means":
            return max(n, m) - 1.0
        parts = a**2 / n, b**2 / m
        below = parts[0] ** 2 / each[0] + parts[1] ** 2 / each[1]
        return sum(parts) ** 2 / below if below > 0 else n + m - 2.0

    @property
    def p(self) -> float:
        """That there is no difference, two-sided; valid at every look where `sequential`; or NaN."""
        if self.reason:
            return math.nan
        if not self.error:  # nothing varied, and both sides are equal
            return 1.0
        t = self.log_ratio / self.error
        if not self.sequential:
            return student_p(t, self.degrees)
        return min(1.0, math.exp(-_log_bayes_factor(t, self.runs[0])))

    def interval(self, level: float) -> tuple[float, float]:
        """Of the logarithm of the ratio; NaN where the spread is not known, wide where it must be."""
        if self.reason:
            return math.nan, math.nan
        half = self.critical(level) * self.error if self.error else 0.0
        return self.log_ratio - half, self.log_ratio + half

    def ratios(self, level: float) -> tuple[float, float]:
        """The interval of the ratio itself; from 0 to infinity where the data bound nothing."""
        low, high = self.interval(level)
        return math.exp(low), math.inf if high > _MOST_LOG else math.exp(high)

    def critical(self, level: float) -> float:
        """So many standard errors to each side make an interval of this level; may be infinite."""
        if self.sequential:
            return _always_valid_t(self.runs[0], 1.0 - level)
        return student_t(self.degrees, level)

    def with_more(self, more: int) -> Contrast:
        """As it might be with so many more runs of each side; of the single one, if it is single."""
        (n, m), degrees = self.runs, self.degrees_each
        if self.kind == "prediction":
            runs = (n + more, m) if n == 1 else (n, m + more)
            each = max(n, m) - 1.0
            return replace(self, runs=runs, degrees_each=(each, each), kind="means")
        return replace(
            self, runs=(n + more, m + more), degrees_each=(degrees[0] + more, degrees[1] + more)
        )


def of_pairs(log_ratios: Sequence[float], *, sequential: bool = False) -> Contrast:
    """Blocks in pairs: the mean of their log ratios. One that is not finite leaves none at all."""
    known = np.array(log_ratios, dtype=np.float64)
    pairs = len(known)
    ratio = float(known.mean()) if pairs and np.isfinite(known).all() else math.nan
    if pairs < 2 or math.isnan(ratio):
        reason = NO_RATIO if math.isnan(ratio) else ONE_EACH
        reason = BEYOND if np.isinf(known).any() else reason
        return Contrast(log_ratio=ratio, runs=(pairs, pairs), kind="single", reason=reason)
    sd = float(known.std(ddof=1))
    return _checked(
        Contrast(
            log_ratio=ratio,
            sds=(sd, sd),
            runs=(pairs, pairs),
            kind="paired",
            sequential=sequential,
        )
    )


def of_sides(baseline: Sequence[float], other: Sequence[float]) -> Contrast:
    """Two sides of runs that are no pairs.

    Args:
        baseline, other: The figure in each run; NaN: it has none, and is left out; infinite: it is
            beyond what was seen, and leaves no ratio.
    """
    a, b = (_known(side) for side in (baseline, other))
    runs = len(a), len(b)
    if np.isinf(np.concatenate([a, b])).any():
        return Contrast(log_ratio=math.nan, runs=runs, kind="single", reason=BEYOND)
    if min(runs) == 0 or (np.concatenate([a, b]) <= 0).any():
        return Contrast(log_ratio=math.nan, runs=runs, kind="single", reason=NO_RATIO)
    a, b = np.log(a), np.log(b)
    ratio = float(b.mean() - a.mean())
    if max(runs) == 1:
        return Contrast(log_ratio=ratio, runs=runs, kind="single", reason=ONE_EACH)
    sds, degrees = _spread(a, b)
    kind: Kind = "prediction" if min(runs) == 1 else "means"
    return _checked(Contrast(log_ratio=ratio, sds=sds, degrees_each=degrees, runs=runs, kind=kind))


_Pair = tuple[float, float]


def _spread(a: Floats, b: Floats) -> tuple[_Pair, _Pair]:
    """S.d. and degrees of freedom of two sides.

    The smaller one varies at least as both together do, a single one just so.
    """
    sides = (a, b)
    squares = [float(((side - side.mean()) ** 2).sum()) for side in sides]
    degrees = len(a) + len(b) - 2.0
    together = (sum(squares) / degrees) ** 0.5
    found = []
    for square, side in zip(squares, sides, strict=True):
        own = (square / (len(side) - 1)) ** 0.5 if len(side) > 1 else 0.0
        is_smaller = len(side) < max(len(a), len(b))
        found.append(
            (together, degrees) if is_smaller and own < together else (own, len(side) - 1.0)
        )
    return (found[0][0], found[1][0]), (found[0][1], found[1][1])


def between(
    baseline: Mapping[str, float], other: Mapping[str, float], *, sequential: bool = False
) -> Contrast:
    """In pairs where both sides have the same keys more than once, else as two sides.

    Args:
        baseline, other: The figure by what makes a pair: campaign and repetition, or a run's id.
    """
    both = [key for key in baseline if key in other]
    if len(both) < 2:
        return of_sides(list(baseline.values()), list(other.values()))
    a, b = (np.array([side[key] for key in both], dtype=np.float64) for side in (baseline, other))
    known = ~(np.isnan(a) | np.isnan(b))
    return of_pairs(log_ratios(a[known], b[known]).tolist(), sequential=sequential)


def log_ratios(baseline: Floats, other: Floats) -> Floats:
    """Of each pair; NaN where a value is 0 or less, infinite where one is."""
    found = np.full(len(other), np.nan)
    found[np.isinf(baseline) | np.isinf(other)] = np.inf
    positive = (baseline > 0) & (other > 0) & np.isfinite(baseline) & np.isfinite(other)
    found[positive] = np.log(other[positive] / baseline[positive])
    return found


def geometric_mean(values: Sequence[float]) -> float:
    """Of those that are known; arithmetic where one is not above 0.

    NaN of none, or where one is infinite, that is beyond what was seen.
    """
    known = _known(values)
    if not len(known) or np.isinf(known).any():
        return math.nan
    return float(np.exp(np.log(known).mean()) if (known > 0).all() else known.mean())


def _known(values: Sequence[float]) -> Floats:
    found = np.array(values, dtype=np.float64)
    return found[~np.isnan(found)]


def _checked(found: Contrast) -> Contrast:
    """Equal to the last digit is equal; without any spread, no more than that can be said."""
    if found.error > 0 or found.log_ratio == 0:
        return found
    return replace(found, reason=NO_SPREAD)


def _log_bayes_factor(t: float, n: int) -> float:
    """For an effect, against none: one sample of n, the right Haar prior on its s.d."""
    grown, nu = 1.0 + n * EFFECT_VARIANCE, n - 1
    share = math.log1p(t**2 / nu) - math.log1p(t**2 / (nu * grown))
    return 0.5 * (nu + 1) * share - 0.5 * math.log(grown)


def _always_valid_t(n: int, alpha: float) -> float:
    """The t at which that factor is 1/alpha; infinite where n is too few for any."""
    grown, nu = 1.0 + n * EFFECT_VARIANCE, n - 1
    ratio = math.exp(2.0 / (nu + 1) * (0.5 * math.log(grown) - math.log(alpha)))
    return math.sqrt(nu * (ratio - 1.0) / (1.0 - ratio / grown)) if ratio < grown else math.inf
