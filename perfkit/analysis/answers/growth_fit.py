"""A law is fitted: sizes with repetitions in, parameters with 95 % intervals out.

The block is the unit, and the logarithm of a figure is `law(N) + repetition + noise`. The shift that
all blocks of a repetition share (another hour, a drift over the campaign) is a random effect: it
drops out of every comparison of sizes, which are made within repetitions, and it widens the interval
of the scale alone. `size_means` reduces the blocks to one mean a size with their joint precision,
and to the pure error: what varies between blocks of one size beyond their repetitions.

A law is then searched over a grid of its shapes that closes in on those which the data leave: the
scale that fits each of them best is known in closed form. A quantity's profile likelihood interval
holds the values that it has at any of the shapes whose sum of squares exceeds the least by no more
than t^2 times the pure error; so the interval of every function of the parameters, such as the knee,
comes from one search, and may be open ("beyond the sizes measured").

Source: Seber and Wild, Nonlinear Regression (1989), sections 2.1.5 (lack of fit), 5.2 (exact
regions) and 2.6 (profiles); Searle, Casella, McCulloch, Variance Components (1992), section 5.3
(Henderson's method 3); Satterthwaite (1946) for the degrees of freedom of the scale; Hurvich and
Tsai (1989) for AICc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from perfkit.analysis.answers.growth_laws import Bounds, Floats, Law, Shapes
from perfkit.analysis.confidence import student_t

_POINTS = {0: 1, 1: 801, 2: 101}  # of the grid, along each coordinate
_FULL = 0.25  # of the grid: it is as close as it need be
_ENOUGH = 200  # shapes that the data leave; fewer, and the grid closes in
_CLOSER = 0.02  # of the shapes, the best, are where it closes in
_ROUNDS = 12
_LEAST_SD = 1e-9  # of a logarithm: data without noise are exact only to rounding
_LEAST_SHARE = 0.01  # of the pure error, that repetitions may seem to vary by


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeMeans:
    """Blocks reduced to their sizes.

    Attributes:
        sizes: Ascending.
        log_means: Of each size, repetitions taken out.
        precision: Inverse of their covariance, over the pure error; shape (sizes, sizes).
        variance: The pure error.
        degrees: Of freedom of it.
        level_degrees: Of freedom of how well the common level of all sizes is known.
        rest: Sum of squares about the means, each block weighed as in `precision`.
        effects: 1 where the repetitions' shift is a parameter too, else 0.
    """

    sizes: Floats
    log_means: Floats
    precision: Floats
    variance: float
    degrees: int
    level_degrees: int
    rest: float
    blocks: int
    effects: int


def size_means(clients: Floats, repetition: Floats, logs: Floats) -> SizeMeans:
    """Reduce blocks to sizes; some size must have two blocks.

    Args:
        clients, repetition, logs: Of each block. Where repetitions leave nothing to know the pure
            error by (each block has its own), or there is one only, blocks share nothing.
    """
    sizes, of_size = np.unique(clients, return_inverse=True)
    shifts, of_shift = np.unique(repetition, return_inverse=True)
    by_size, by_shift = np.eye(len(sizes))[of_size], np.eye(len(shifts))[of_shift]
    both = np.hstack([by_size, by_shift])
    degrees = len(logs) - int(np.linalg.matrix_rank(both))
    if degrees < 1:
        return size_means(clients, np.zeros(len(logs)), logs)
    within = _squares(both, logs)
    variance = max(within / degrees, _LEAST_SD**2)
    counts, ratio = by_shift.sum(axis=0), 0.0
    if len(shifts) > 1:  # Henderson's method 3: what repetitions explain beyond the sizes
        residual = by_shift - by_size @ np.linalg.lstsq(by_size, by_shift, rcond=None)[0]
        shared = float(np.trace(by_shift.T @ residual))
        between = _squares(by_size, logs) - within
        ratio = (between / variance - (len(shifts) - 1)) / shared
        ratio = max(ratio, (_LEAST_SHARE - 1) / counts.max())
    pull = (1 - 1 / np.sqrt(1 + ratio * counts)) / counts

    def whiten(values: Floats) -> Floats:
        return np.asarray(values - by_shift @ (pull[:, None] * (by_shift.T @ values)))

    white, y = whiten(by_size), whiten(logs[:, None])
    precision = white.T @ white
    means = np.linalg.solve(precision, white.T @ y)
    rest = float(((y - white @ means) ** 2).sum())
    level = len(shifts) - 1 if len(shifts) > 1 else degrees
    return SizeMeans(
        sizes=sizes, log_means=np.asarray(means[:, 0], dtype=np.float64), precision=precision, variance=variance,
        degrees=degrees, level_degrees=level, rest=rest, blocks=len(logs),
        effects=int(len(shifts) > 1),
    )  # fmt: skip


def _squares(design: Floats, values: Floats) -> float:
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(rest @ rest)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; infinite where the data leave that side open."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftShapes:
    """The shapes of a law that the data leave.

    Attributes:
        scale: Logarithm of the scale that fits each best.
        excess: Sum of squares beyond the least, over the pure error.
        best: Index of the shape that fits best.
    """

    shapes: Shapes
    scale: Floats
    excess: Floats
    best: int
    means: SizeMeans

    @property
    def bound(self) -> float:
        """Of `excess`, up to which a shape is inside 95 % intervals."""
        return student_t(self.means.degrees) ** 2

    def of_shape(self, what: Bounds) -> Interval:
        """The profile interval of a quantity that needs no scale."""
        near = self.excess <= self.bound
        return Interval(
            float(what.value[self.best]), float(what.low[near].min()), float(what.high[near].max())
        )

    def of_scaled(self, over_scale: Bounds) -> Interval:
        """The profile interval of a logarithm, given over that of the scale.

        Two spreads meet in it, that of the shape and that of the level, which the repetitions
        know; Satterthwaite's degrees of freedom lie between both.
        """
        value, low, high = (
            self.scale + part for part in (over_scale.value, over_scale.low, over_scale.high)
        )
        level = self.means.precision.sum()
        found = self.of_shape(Bounds(value, low, high))
        shape = ((found.high - found.low) / 2 / student_t(self.means.degrees)) ** 2
        t = student_t(self._degrees(1 / level, shape))
        slack = np.sqrt(np.maximum(t**2 - self.excess, 0) / level * self.means.variance)
        near = self.excess <= t**2
        return Interval(
            found.value, float((low - slack)[near].min()), float((high + slack)[near].max())
        )

    def _degrees(self, level: float, shape: float) -> float:
        level *= self.means.variance
        if not math.isfinite(shape):
            return self.means.degrees
        parts = level**2 / self.means.level_degrees + shape**2 / self.means.degrees
        return (level + shape) ** 2 / parts


@dataclass(frozen=True, slots=True, kw_only=True)
class LawFit:
    """One law, fitted.

    Attributes:
        aicc: Akaike's criterion, corrected for few blocks; only differences mean anything.
        lack_of_fit_p: Of the F test of its residuals against the pure error.
        parameters: In logarithms where the scale has a part (`lambda`, `most`), else as they are.
    """

    law: Law
    aicc: float
    lack_of_fit_p: float
    parameters: dict[str, Interval]
    region: LeftShapes = field(repr=False, compare=False)


def fit_law(law: Law, means: SizeMeans) -> LawFit:
    """Fit one law."""
    from scipy import special  # noqa: PLC0415 -- it takes longer to load than all of perfkit

    region, least = _search(law, means)
    free, sizes = law.free + 1, len(means.sizes)
    lack = least / (sizes - free) / means.variance
    count = free + 1 + means.effects
    squares = max(means.rest + least, means.blocks * _LEAST_SD**2)
    aicc = means.blocks * math.log(squares / means.blocks) + 2 * count
    aicc += 2 * count * (count + 1) / (means.blocks - count - 1)
    shapes = region.shapes
    parameters = {name: region.of_scaled(what) for name, what in shapes.scaled.items()}
    parameters |= {name: region.of_shape(what) for name, what in shapes.shape.items()}
    return LawFit(
        law=law,
        aicc=aicc,
        lack_of_fit_p=float(special.fdtrc(sizes - free, means.degrees, lack)),
        parameters=parameters,
        region=region,
    )


def _search(law: Law, means: SizeMeans) -> tuple[LeftShapes, float]:
    """The shapes that the data leave, and the least sum of squares.

    The grid turns with them: two parameters that make up for one another leave a thin strip.
    """
    ends = float(means.sizes[0]), float(means.sizes[-1])
    whole = np.array(law.axes(*ends)).reshape(law.free, 2)
    widest = student_t(min(means.degrees, means.level_degrees)) ** 2
    box, turn, points = whole, np.eye(law.free), _POINTS[law.free]
    for _ in range(_ROUNDS):
        at = np.clip(_grid(box, points) @ turn.T, whole[:, 0], whole[:, 1])
        shapes = law.shapes(at, *ends)
        scale, squares = _squares_of(shapes, means)
        excess = (squares - squares.min()) / means.variance
        left = excess <= widest
        if left.mean() > _FULL:
            break
        near = left
        if left.sum() < _ENOUGH:
            near = excess <= max(widest, float(np.quantile(excess, _CLOSER)))
        step = float(np.linalg.norm(box[:, 1] - box[:, 0])) / (points - 1)
        apart = at[near] - at[near].mean(axis=0)
        turn = np.linalg.eigh(apart.T @ apart)[1]
        along = at[near] @ turn
        box = np.stack([along.min(axis=0) - step, along.max(axis=0) + step], axis=1)
    found = LeftShapes(
        shapes=law.shapes(at[left], *ends),
        scale=scale[left],
        excess=excess[left],
        best=int(np.argmin(excess[left])),
        means=means,
    )
    return found, float(squares.min())


def _grid(box: Floats, points: int) -> Floats:
    if not len(box):
        return np.zeros((1, 0))
    axes = [np.linspace(low, high, points) for low, high in box]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(box))


def _squares_of(shapes: Shapes, means: SizeMeans) -> tuple[Floats, Floats]:
    """The best scale of each shape, and the sum of squares that it leaves."""
    rest = means.log_means - shapes.log_values(means.sizes)
    weights = means.precision.sum(axis=0)
    scale = rest @ weights / weights.sum()
    rest -= scale[:, None]
    return scale, np.asarray((rest @ means.precision * rest).sum(axis=1))
