"""A figure over campaigns in time: when it changed, by how much, and how sure that is.

E-divisive: of all places where a series, or a part of it between changes found before, could be
parted in two, the one is taken whose parts differ most in the energy statistic; it is a change where
fewer than 5 % of random orders within the parts have one as large. It asks nothing of the
distribution of the figure. A change smaller than a least size is dropped afterwards, the smallest
first: with many campaigns the test would find changes that nobody cares for.

Source: Matteson and James (2014), A nonparametric approach for multiple change point analysis of
multivariate data; the least size as in Apache Otava (Fleming et al. 2023, Hunter: using change point
detection to hunt for performance regressions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perfkit.errors import FrameError

Floats = NDArray[np.float64]

LEAST_PART = 3  # campaigns: two of them cannot be told from two odd ones
LEAST_SIZE = 0.05
LEVEL = 0.05
ORDERS = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """A change between two campaigns.

    Attributes:
        index: Of the first campaign after it, in the order of time.
        time: Of that campaign.
        p: Of random orders with a larger difference, when it was found.
        before, after: Geometric means from the change before to it, and from it to the next.
    """

    index: int
    time: float
    p: float
    before: float
    after: float

    @property
    def size_pct(self) -> float:
        """The change in percent of what was before."""
        return 100 * (self.after / self.before - 1)


def change_points(
    times: Sequence[float],
    values: Sequence[float],
    *,
    least_size: float = LEAST_SIZE,
    seed: int = 0,
) -> tuple[ChangePoint, ...]:
    """Where a figure changed; empty where it did not, or with fewer than six campaigns.

    Args:
        times: Of each campaign, in any order and unit.
        values: Its figure; what is not positive or not known is left out.
        least_size: A share of what was before, by which it must have changed.
        seed: Of the random orders: the same gives the same p.

    Raises:
        FrameError: not as many times as values.
    """
    if len(times) != len(values):
        raise FrameError(f"history: {len(times)} times for {len(values)} values")
    at, figures = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(figures) & (figures > 0))
    usable = usable[np.argsort(at[usable], kind="stable")]
    at, logs = at[usable], np.log(figures[usable])
    found = _significant(logs, np.random.default_rng(seed))
    while found:
        ends = [0, *sorted(found), len(logs)]
        points = [
            ChangePoint(
                index=here,
                time=float(at[here]),
                p=found[here],
                before=math.exp(logs[before:here].mean()),
                after=math.exp(logs[here:after].mean()),
            )
            for before, here, after in zip(ends, ends[1:], ends[2:], strict=False)
        ]
        smallest = min(points, key=lambda point: abs(math.log(point.after / point.before)))
        if abs(smallest.size_pct) >= 100 * least_size:
            return tuple(replace(point, index=int(usable[point.index])) for point in points)
        del found[smallest.index]
    return ()


def _significant(logs: Floats, rng: np.random.Generator) -> dict[int, float]:
    """Each change with its p, found one after the other until one is not significant."""
    found: dict[int, float] = {}
    while True:
        ends = [0, *sorted(found), len(logs)]
        parts = [logs[a:b] for a, b in pairwise(ends)]
        splits = [_best_split(part) for part in parts]
        most = max(range(len(parts)), key=lambda place: splits[place][0])
        statistic, place = splits[most]
        if statistic <= 0:
            return found
        larger = 1  # the order that was measured is one of them
        for _ in range(ORDERS):
            larger += max(_best_split(rng.permutation(part))[0] for part in parts) >= statistic
            if larger >= LEVEL * (ORDERS + 1):
                return found
        found[ends[most] + place] = larger / (ORDERS + 1)


def _best_split(values: Floats) -> tuple[float, int]:
    """The largest energy statistic of two neighbouring parts, and where the second begins.

    The first part begins with the series; the second may end before it, so that a change that is
    undone later is seen too. Sums of distances come from one table of cumulated sums.
    """
    count = len(values)
    if count < 2 * LEAST_PART:
        return 0.0, 0
    sums = np.zeros((count + 1, count + 1))
    np.cumsum(np.cumsum(np.abs(values[:, None] - values), axis=0), axis=1, out=sums[1:, 1:])
    own = np.diagonal(sums)
    split, end = np.ogrid[LEAST_PART : count - LEAST_PART + 1, 2 * LEAST_PART : count + 1]
    first, second = split, np.maximum(end - split, LEAST_PART)
    table = sums[split, end]
    between = (table - own[split]) / (first * second)
    within = own[split] / (first * (first - 1))
    within = within + (own[end] - 2 * table + own[split]) / (second * (second - 1))
    statistic = first * second / (first + second) * (2 * between - within)
    statistic = np.where(end - split >= LEAST_PART, statistic, 0.0)
    place = np.unravel_index(int(np.argmax(statistic)), statistic.shape)
    return float(statistic[place]), int(place[0]) + LEAST_PART
