"""Where a link was loaded: planned blocks of activity found in the log of its rate.

In comes a rate sampled at ticks, out come the begin and end of every planned block. Thresholds
alone cannot do it: a stall of 18 s inside a test is longer than a gap of 8 s between two, and
1 Mbit/s beside 900 is closer to idle than to its neighbour. What tells them apart is the plan, so
the blocks are found all at once: idle and active alternate, the number of blocks is known, and a
length or a gap that differs from the plan costs as much as samples that contradict their label.
The cheapest of all labellings is found exactly, in time linear in samples times blocks.

All work is on log10 of the rate: on the raw scale edges move into the ramp. Cells are counted from
0, edges from 0 to n: edge `k` is the begin of cell `k`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.rates import bytes_in
from perfkit.errors import SegmentError

Floats = NDArray[np.float64]

BASE_BPS = 1e3  # added before the logarithm: a ping a second is idle, and log10(0) is not
LEAST_RISE, MOST_RISE = 0.3, 1.5  # decades above the idle floor: 2 times its rate, 30 times
MADS, IDLE_MADS = 6.0, 4.0  # of the lowest samples, which vary less; of all idle ones
SLOPE = (
    0.3  # decades from "no idea" to "certainly idle"; to "certainly active" a quarter of the way
)
LENGTH_COST = 1.25  # a cell that the length differs from the plan; one mislabelled sample costs 2
GAP_COST = 0.5
ABSENT_COST = 0.5  # times the planned length: what it costs to say that a block is not there
SHIFT_COST, MOST_SHIFT_COST = 0.3, 30.0  # per cell: the log's clock may be another one
STEP_REWARD, MOST_STEP_REWARD = 40.0, 10.0  # a decade between two blocks that touch
LEAST_SHARE = 0.01  # of a block's rate, in its border cells
STEP_CELLS = 5
FACTORS = (0.1, 10.0)  # real over planned length, at most
MOST_CELLS = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A rate in cells of equal length.

    Attributes:
        start_s: Begin of the first cell, seconds from T0.
        step_s: Length of a cell: the monitor's usual tick.
        rate_bps: Mean rate in each cell; NaN where there was no sample; shape (n,).
        samples: Rows a cell: 1, or less where ticks were missed.
    """

    start_s: float
    step_s: float
    rate_bps: Floats
    samples: Floats

    @property
    def level(self) -> Floats:
        """log10 of the rate, decades; NaN where there was no sample."""
        return np.asarray(np.log10(np.maximum(self.rate_bps, 0.0) + BASE_BPS))

    def moment_s(self, edge: float) -> float:
        """Seconds from T0 of an edge."""
        return self.start_s + edge * self.step_s


@dataclass(frozen=True, slots=True)
class Plan:
    """What the timetable says of one block: seconds from T0, seconds."""

    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """Planned end."""
        return self.start_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Block:
    """Cells [first, end) of a grid."""

    first: int
    end: int


def to_grid(begin_s: Floats, end_s: Floats, rate_bps: Floats) -> Grid:
    """Put a monitor's rows on an even grid; each row is spread over the cells that it covers.

    A tick that was missed leaves a longer row or a hole, a clock set back leaves rows that
    overlap; both come out as cells.

    Raises:
        SegmentError: there is nothing to put, or the clock jumps so far that there is no grid.
    """
    usable = np.isfinite(rate_bps) & np.isfinite(begin_s) & (end_s > begin_s)
    begin_s, end_s, rate_bps = begin_s[usable], end_s[usable], rate_bps[usable]
    if len(rate_bps) < 3:
        raise SegmentError(
            f"the server's NIC rate has {len(rate_bps)} samples; windows cannot be told from it"
        )
    step_s = float(np.median(end_s - begin_s))
    cells = int(np.ceil((end_s.max() - begin_s.min()) / step_s - 1e-3))
    if cells > MOST_CELLS:
        raise SegmentError(
            f"the log of the server's NIC rate reaches over {cells} ticks of {step_s:g} s with "
            f"{len(rate_bps)} samples: its clock jumped; choose the windows by hand"
        )
    start_s = float(begin_s.min())
    edges = start_s + step_s * np.arange(cells + 1, dtype=np.float64)
    cell = edges[:-1], edges[1:]
    rows = pd.DataFrame({"t_start_s": begin_s, "t_end_s": end_s})
    covered_s = bytes_in(rows.assign(size_bytes=end_s - begin_s), *cell)
    bits = bytes_in(rows.assign(size_bytes=rate_bps * (end_s - begin_s)), *cell)
    samples = bytes_in(rows.assign(size_bytes=1.0), *cell)
    seen = covered_s > 0.1 * step_s
    rate = np.where(seen, bits / np.where(seen, covered_s, 1.0), np.nan)
    return Grid(start_s=start_s, step_s=step_s, rate_bps=rate, samples=samples)


def idle_ceiling(grid: Grid, plans: Sequence[Plan]) -> float:
    """The level in decades above which a cell is active.

    From the idle floor, never from the middle between modes: there may be more than two. The
    floor is the 10 % quantile, or a lower one when the plan leaves less idle time; above it come
    six median deviations of what lies around it.
    """
    level = np.sort(grid.level[np.isfinite(grid.level)])
    active = sum(plan.duration_s for plan in plans) / (grid.step_s * len(level))
    idle = float(np.clip(1.0 - active, 0.02, 0.98))
    low = min(0.10, idle / 2)
    floor, loaded = np.quantile(level, [low, 1.0 - 0.6 * (1.0 - idle)]).tolist()
    around = level[: max(int(2 * low * len(level)), 3)]
    return _ceiling(floor, MADS * _deviation(around, floor), loaded)


def ceiling_around(grid: Grid, found: Sequence[Block | None]) -> float:
    """The same as `idle_ceiling` once blocks are known: from all that lies outside them.

    The lowest tenth says little of the rest of an idle link, on which people log in.
    """
    inside = np.zeros(len(grid.rate_bps), dtype=bool)
    for block in found:
        if block is not None:
            inside[block.first : block.end] = True
    seen = np.isfinite(grid.level)
    idle, active = grid.level[seen & ~inside], grid.level[seen & inside]
    if len(idle) < 3 or len(active) < 3:
        return float(np.median(grid.level[seen]))
    # The lower quarter: slow blocks that were missed so far may be among the idle cells.
    floor = float(np.quantile(idle, 0.25))
    # An idle link varies upwards: the logarithm's base cuts what is below.
    spread = IDLE_MADS * _deviation(idle[idle >= floor], floor)
    return _ceiling(floor, min(spread, MOST_RISE), float(np.quantile(active, 0.25)))


def _ceiling(floor: float, spread: float, loaded: float) -> float:
    """Above the floor by its spread, in the lower half of what lies below the loaded level."""
    return floor + max(min(spread, (loaded - floor) / 2), LEAST_RISE)


def _deviation(level: Floats, around: float) -> float:
    """A standard deviation, from the median absolute one."""
    return 1.4826 * float(np.median(np.abs(level - around)))


def activity(grid: Grid, ceiling: float) -> Floats:
    """How surely each cell is active: -1 idle, 1 active, 0 no idea or no sample.

    Certainly active is what has come a quarter of the way from the ceiling to the loaded level.
    """
    above = grid.level - ceiling
    high = above[above > 0]
    slope = max(SLOPE, float(np.quantile(high, 0.25)) / 4) if len(high) else SLOPE
    return np.nan_to_num(np.clip(above / np.where(above > 0, slope, SLOPE), -1.0, 1.0))


def find_blocks(grid: Grid, plans: Sequence[Plan]) -> list[Block | None]:
    """The begin and end of every planned block; None for one that is not there.

    Args:
        plans: In order of time; lengths and gaps count fully, the absolute start a little, since
            the log's clock may be another one.

    Returns:
        One entry a plan, in order, not overlapping; neighbours may touch.

    Raises:
        SegmentError: the log is shorter than the plan has blocks and gaps.
    """
    if len(grid.rate_bps) < 2 * len(plans):
        raise SegmentError(
            f"the server's NIC rate has {len(grid.rate_bps)} ticks for {len(plans)} tests: "
            "too few to tell their windows from"
        )
    first = _Search(grid, activity(grid, idle_ceiling(grid, plans)), plans).blocks()
    found = _Search(grid, activity(grid, ceiling_around(grid, first)), plans).blocks()
    return [block and _trimmed(grid, block) for block in found]


def plans_by_data(grid: Grid, plans: Sequence[Plan]) -> list[Plan]:
    """The same plans with lengths that go with the time the log was active at all.

    For tests that all ran shorter or longer than planned, each begun when it was planned: where
    the next cannot begin in time, it follows at once. Active is here what is 30 times above the
    lowest 2 %: the plan, which is doubted, is not asked how much idle time there is.
    """
    level = grid.level[np.isfinite(grid.level)]
    active_s = float((level > np.quantile(level, 0.02) + MOST_RISE).sum()) * grid.step_s
    factor = float(np.clip(active_s / sum(plan.duration_s for plan in plans), *FACTORS))
    scaled, free_s = list[Plan](), plans[0].start_s
    for plan in plans:
        scaled.append(Plan(max(plan.start_s, free_s), factor * plan.duration_s))
        free_s = scaled[-1].end_s
    return scaled


def _trimmed(grid: Grid, block: Block) -> Block:
    """Without border cells that are active but carry next to nothing: somebody logged in."""
    rate = np.nan_to_num(grid.rate_bps[block.first : block.end])
    carrying = np.flatnonzero(rate >= LEAST_SHARE * np.quantile(rate, 0.75))
    return Block(block.first + int(carrying[0]), block.first + int(carrying[-1]) + 1)


class _Search:
    """Dynamic programming over the alternation idle, block 1, idle, … block N, idle.

    `begins[i][t]` is the least cost of everything before edge t when block i begins there,
    `ends[i][t]` when it ends there. Idle cells cost their score, active ones the opposite, so a
    stretch costs a difference of prefix sums, and a planned length L adds a cost that is linear
    in |length - L|. The minimum over all begins then is a running and a sliding minimum.
    """

    def __init__(self, grid: Grid, score: Floats, plans: Sequence[Plan]) -> None:
        self.n = len(score)
        self.idle = np.concatenate([[0.0], np.cumsum(score)])
        self.lengths = [max(plan.duration_s / grid.step_s, 1.0) for plan in plans]
        gaps_s = [after.start_s - before.end_s for before, after in pairwise(plans)]
        self.gaps = [max(gap_s / grid.step_s, 0.0) for gap_s in gaps_s]
        self.step = _step_reward(grid.level, score)
        edges = np.arange(self.n + 1)
        shift = np.abs(edges - (plans[0].start_s - grid.start_s) / grid.step_s)
        first = self.idle + np.minimum(SHIFT_COST * shift, MOST_SHIFT_COST)
        self.begins, self.ends = [first], []
        for place, length in enumerate(self.lengths):
            self.ends.append(np.minimum(*self._block_costs(place, length)))
            if place < len(self.gaps):
                self.begins.append(np.minimum(*self._gap_costs(place, self.gaps[place])))

    def _block_costs(self, place: int, length: float) -> tuple[Floats, Floats]:
        """Least cost at each end of block `place`: it is there; it is not."""
        begins = self.begins[place]
        there = _least(begins + self.idle, length, LENGTH_COST) - self.idle
        absent = _least(begins - self.idle, length, LENGTH_COST) + self.idle
        return there, absent + ABSENT_COST * length

    def _gap_costs(self, place: int, gap: float) -> tuple[Floats, Floats]:
        """Least cost at each begin of the next block: after idle time; at once.

        A step of the level speaks for a border only where the plan leaves no gap.
        """
        ends = self.ends[place]
        apart = _least(ends - self.idle, gap, GAP_COST) + self.idle
        return apart, ends + GAP_COST * gap - (self.step if gap < 1 else 0.0)

    def blocks(self) -> list[Block | None]:
        """Follow the least cost back from the last edge."""
        found: list[Block | None] = []
        end = int(np.argmin(self.ends[-1] - self.idle))
        for place in reversed(range(len(self.lengths))):
            there, absent = self._block_costs(place, self.lengths[place])
            is_there = bool(there[end] <= absent[end])
            sign = 1.0 if is_there else -1.0
            costs = self.begins[place] + sign * self.idle
            begin = _best(costs, end, self.lengths[place], LENGTH_COST)
            found.append(Block(begin, end) if is_there else None)
            if place:
                apart, at_once = self._gap_costs(place - 1, self.gaps[place - 1])
                end = begin
                if apart[begin] < at_once[begin]:
                    costs = self.ends[place - 1] - self.idle
                    end = _best(costs, begin, self.gaps[place - 1], GAP_COST)
        return found[::-1]


def _least(costs: Floats, length: float, rate: float) -> Floats:
    """For every t the minimum over s < t of costs[s] + rate * |t - s - length|."""
    edges = np.arange(len(costs), dtype=np.float64)
    whole = max(int(np.ceil(length)), 1)
    # Stretches of the planned length and longer: s <= t - whole.
    longer = np.full(len(costs), np.inf)
    if whole < len(costs):
        reach = np.minimum.accumulate(costs - rate * edges)
        longer[whole:] = reach[:-whole] + rate * (edges[whole:] - length)
    # Shorter ones: t - whole < s < t. pandas' rolling minimum is linear in time; infinite = NaN.
    rolled = pd.Series(costs + rate * edges).rolling(max(whole - 1, 1), min_periods=1).min()
    shorter = np.full(len(costs), np.inf)
    if whole > 1:
        shorter[1:] = rolled.to_numpy()[:-1] - rate * (edges[1:] - length)
    return np.asarray(np.fmin(longer, np.where(np.isnan(shorter), np.inf, shorter)))


def _best(costs: Floats, end: int, length: float, rate: float) -> int:
    """The s < end that `_least` found for t = end."""
    edges = np.arange(end)
    return int(np.argmin(costs[:end] + rate * np.abs(end - edges - length)))


def steps(level: Floats) -> Floats:
    """How far the means of `STEP_CELLS` cells before and after each inner edge are apart."""
    sums = np.concatenate([[0.0], np.cumsum(level)])
    means = (sums[STEP_CELLS:] - sums[:-STEP_CELLS]) / STEP_CELLS
    return np.asarray(np.abs(means[STEP_CELLS:] - means[:-STEP_CELLS]))


def _step_reward(level: Floats, score: Floats) -> Floats:
    """What speaks for a border between two blocks that touch, at each edge.

    The level differs between the cells before and after, all of which are active.
    """
    reward = np.zeros(len(level) + 1)
    if len(level) < 2 * STEP_CELLS:
        return reward
    step = steps(np.asarray(pd.Series(level).ffill().bfill(), dtype=np.float64))
    least = pd.Series(score).rolling(2 * STEP_CELLS).min().to_numpy()[2 * STEP_CELLS - 1 :]
    inner = np.where(least > 0, np.minimum(STEP_REWARD * step, MOST_STEP_REWARD), 0.0)
    reward[STEP_CELLS : len(level) - STEP_CELLS + 1] = inner
    return reward
