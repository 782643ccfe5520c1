"""Synthetic logs of a server's NIC rate whose blocks of load are known, and the score of a guess.

`make_load` draws a rate in steps of 50 ms (idle chatter, ramps, noise, and what the case adds),
then samples it as a monitor would: one row a tick, the mean of what went by. What a perfect
reader must find comes with it. The same arguments give the same load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perfkit.analysis.blocks import Floats, Plan
from perfkit.model import Window

FINE_S = 0.05
LEAD_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What makes a load hard; the defaults make an easy one.

    Attributes:
        gap_s: Planned idle time between blocks.
        ramp_s: Longest ramp at a block's begin.
        hole_s: Silence of a short kind, one in every block.
        stall_s: Silence of a long kind, in every third block.
        slow: Every second block carries 1 Mbit/s, the others 900.
        missed: Share of ticks that the monitor misses, in runs of up to four.
        clock_steps_s: How far the log's clock jumps, at moments spread over the load.
        absent: Every fifth block never runs, every seventh stops half way.
        length_factor: Real over planned length.
    """

    name: str
    gap_s: float = 20.0
    ramp_s: float = 1.0
    hole_s: float = 0.0
    stall_s: float = 0.0
    slow: bool = False
    missed: float = 0.0
    clock_steps_s: tuple[float, ...] = ()
    absent: bool = False
    length_factor: float = 1.0


CASES = (
    Case(name="easy"),
    Case(name="ramps up to 8 s", ramp_s=8.0),
    Case(name="3 s holes", hole_s=3.0),
    Case(name="8 s gaps", gap_s=8.0),
    Case(name="18 s stalls, 8 s gaps", gap_s=8.0, stall_s=18.0),
    Case(name="1 Mbit/s beside 900", slow=True),
    Case(name="no gap, levels differ", gap_s=0.0),
    Case(name="10 % of ticks missed", missed=0.10),
    Case(name="clock steps +6 s, -4 s", clock_steps_s=(6.0, -4.0)),
    Case(name="blocks absent or cut short", absent=True),
    Case(name="twice as long as planned", length_factor=2.0, gap_s=70.0),
    Case(
        name="all of it",
        gap_s=8.0,
        ramp_s=4.0,
        hole_s=3.0,
        stall_s=18.0,
        slow=True,
        missed=0.05,
        clock_steps_s=(3.0,),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A monitor's rows and the truth about them; seconds from T0 by the log's clock.

    Attributes:
        begin_s, end_s, rate_bps: The rows; shape (n_ticks,).
        plans: The timetable, off by a shift that nobody knows.
        outer: True borders of each planned block; None = it never ran.
        steady: The same without ramps.
    """

    begin_s: Floats
    end_s: Floats
    rate_bps: Floats
    plans: tuple[Plan, ...]
    outer: tuple[Window | None, ...]
    steady: tuple[Window | None, ...]

    def mean_bps(self, window: Window) -> float:
        """Mean rate over a window, rows weighted by overlap."""
        inside = np.minimum(self.end_s, window.end_s) - np.maximum(self.begin_s, window.start_s)
        weight = np.clip(inside, 0.0, None)
        return float((weight * self.rate_bps).sum() / weight.sum()) if weight.any() else np.nan


@dataclass(slots=True)
class _Draft:
    """True time, before anything is sampled."""

    rate_bps: Floats
    plans: list[Plan] = field(default_factory=list)
    outer: list[tuple[float, float] | None] = field(default_factory=list)
    steady: list[tuple[float, float] | None] = field(default_factory=list)


def make_load(case: Case, *, blocks: int = 9, seed: int = 0, duration_s: float = 60.0) -> Load:
    """Draw one load of a case.

    Args:
        blocks: Planned tests.
        duration_s: Planned length of each.
    """
    chance = np.random.default_rng([seed, blocks, sum(case.name.encode())])
    draft = _draw(case, blocks, duration_s, chance)
    begin_s, end_s, rate_bps = _sample(case, draft.rate_bps, chance)
    begin_s, end_s, rate_bps, jumps = _step_clock(case, begin_s, end_s, rate_bps)

    def logged(window: tuple[float, float] | None) -> Window | None:
        if window is None:
            return None
        first, last = (m + sum(by for at, by in jumps if m >= at) for m in window)
        return Window(start_s=first, end_s=last)

    return Load(
        begin_s=begin_s,
        end_s=end_s,
        rate_bps=rate_bps,
        plans=tuple(draft.plans),
        outer=tuple(logged(window) for window in draft.outer),
        steady=tuple(logged(window) for window in draft.steady),
    )


def _draw(case: Case, blocks: int, duration_s: float, chance: np.random.Generator) -> _Draft:
    span_s = 2 * LEAD_S + blocks * (duration_s + case.gap_s)
    cells = int(span_s / FINE_S)
    seconds = int(span_s) + 1
    chatter = chance.lognormal(np.log(600.0), 1.0, seconds)
    chatter[chance.random(seconds) < 0.01] = 2e5  # somebody logs in
    rate = np.repeat(chatter, int(1 / FINE_S))[:cells]
    draft = _Draft(rate)
    shift_s = float(chance.uniform(-5, 5))
    level_bps = 0.0
    for place in range(blocks):
        planned_s = LEAD_S + place * (duration_s + case.gap_s)
        draft.plans.append(Plan(planned_s + shift_s, duration_s))
        if case.absent and place % 5 == 4:
            draft.outer.append(None)
            draft.steady.append(None)
            continue
        touches = case.gap_s == 0
        length_s = duration_s * case.length_factor * (0.5 if case.absent and place % 7 == 3 else 1)
        start_s = planned_s + (0.0 if touches else float(chance.uniform(0.0, 0.5)))
        end_s = start_s + length_s + (0.0 if touches else float(chance.uniform(-0.3, 0.8)))
        level_bps = _level(case, place, level_bps, chance)
        ramps_s = (case.ramp_s * float(chance.uniform(0.2, 1.0)), float(chance.uniform(0.1, 0.5)))
        _add_block(case, draft, (start_s, end_s), level_bps, ramps_s, place, chance)
    return draft


def _level(case: Case, place: int, before_bps: float, chance: np.random.Generator) -> float:
    """160 to 900 Mbit/s; where blocks touch, at least 1.4 times more or less than the last."""
    if case.slow:
        return 900e6 if place % 2 else 1e6
    while True:
        level = float(np.exp(chance.uniform(np.log(160e6), np.log(900e6))))
        apart = max(level, before_bps) / max(min(level, before_bps), 1.0)
        if case.gap_s > 0 or apart > 1.4:
            return level


def _add_block(
    case: Case,
    draft: _Draft,
    outer: tuple[float, float],
    level_bps: float,
    ramps_s: tuple[float, float],
    place: int,
    chance: np.random.Generator,
) -> None:
    """Load between two moments, and what is true of it."""
    first, last = (round(moment / FINE_S) for moment in outer)
    moments = FINE_S * (np.arange(first, last) + 0.5)
    noise = np.repeat(chance.lognormal(0.0, 0.08, (last - first) // 20 + 1), 20)[: last - first]
    up = np.clip((moments - outer[0]) / ramps_s[0], 0.0, 1.0)
    down = np.clip((outer[1] - moments) / ramps_s[1], 0.0, 1.0)
    if case.gap_s == 0:
        up, down = np.maximum(up, 0.5), np.maximum(down, 0.5)
    rate = level_bps * noise * np.minimum(up, down)
    for silence_s, wanted in ((case.hole_s, True), (case.stall_s, place % 3 == 1)):
        if silence_s and wanted:
            room_s = outer[1] - outer[0] - silence_s - 2 * ramps_s[0]
            at_s = outer[0] + ramps_s[0] + float(chance.uniform(0.1, 0.9)) * room_s
            rate[(moments >= at_s) & (moments < at_s + silence_s)] = 0.0
    draft.rate_bps[first:last] += rate
    draft.outer.append((first * FINE_S, last * FINE_S))
    draft.steady.append((first * FINE_S + ramps_s[0], last * FINE_S - ramps_s[1]))


def _sample(
    case: Case, rate_bps: Floats, chance: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Rows of a monitor that ticks once a second; a missed tick makes the next row longer."""
    passed = np.concatenate([[0.0], np.cumsum(rate_bps) * FINE_S])
    span_s = len(rate_bps) * FINE_S
    ticks = np.arange(float(chance.uniform(0.0, 1.0)), span_s, 1.0)
    ticks += chance.uniform(0.0, 0.005, len(ticks))
    keep = np.ones(len(ticks), dtype=bool)
    for place in np.flatnonzero(chance.random(len(ticks)) < case.missed / 2):
        keep[place : place + int(chance.integers(1, 4))] = False
    ticks = ticks[keep]
    at = np.interp(ticks, FINE_S * np.arange(len(passed)), passed)
    return ticks[:-1], ticks[1:], np.diff(at) / np.diff(ticks)


def _step_clock(
    case: Case, begin_s: Floats, end_s: Floats, rate_bps: Floats
) -> tuple[Floats, Floats, Floats, list[tuple[float, float]]]:
    """Set the log's clock at moments spread over it; its reader takes a jump for missed ticks."""
    jumps = []
    begin_s, end_s, rate_bps, real_s = begin_s.copy(), end_s.copy(), rate_bps.copy(), begin_s.copy()
    for number, by_s in enumerate(case.clock_steps_s, start=1):
        row = round(len(begin_s) * number / (len(case.clock_steps_s) + 1))
        jumps.append((float(real_s[row]), by_s))
        begin_s[row:] += by_s
        end_s[row:] += by_s
        if by_s > 0:  # the first row after the jump seems to be this much longer
            length_s = end_s[row] - begin_s[row]
            begin_s[row] -= by_s
            rate_bps[row] *= length_s / (length_s + by_s)
    return begin_s, end_s, rate_bps, jumps


@dataclass(slots=True)
class Score:
    """How far guesses are from the truth, over one or many loads.

    Attributes:
        count_errors: |found - true| blocks, one a load.
        missed: Blocks without a guess that overlaps them by half of both.
        blocks: True blocks in all.
        edge_errors_s: |guess - truth| at both borders of each matched block.
        mean_errors: Relative error of the mean rate in the steady window, one a matched block.
        hits: Edges matched one to one within 1, 2 and 5 s; with `edges_found` and `edges_true`.
    """

    count_errors: list[int] = field(default_factory=list)
    missed: int = 0
    blocks: int = 0
    edge_errors_s: list[float] = field(default_factory=list)
    mean_errors: list[float] = field(default_factory=list)
    hits: dict[float, int] = field(default_factory=lambda: {1.0: 0, 2.0: 0, 5.0: 0})
    edges_found: int = 0
    edges_true: int = 0

    def add(
        self,
        load: Load,
        outer: Sequence[Window | None],
        steady: Sequence[Window | None],
    ) -> list[float]:
        """Compare one load's guesses with its truth.

        Args:
            outer: One entry a planned block where the method knows which is which; else as many
                as it found, in order.
            steady: As `outer`.

        Returns:
            The worse border's error of each guess, infinite for one that matches no block; one
            entry a guess that is not None.
        """
        truths = [place for place, window in enumerate(load.outer) if window is not None]
        guesses = [place for place, window in enumerate(outer) if window is not None]
        self.count_errors.append(abs(len(guesses) - len(truths)))
        self.blocks += len(truths)
        named = len(outer) == len(load.outer)
        pairs = _matches(load, outer, guesses, truths, named=named)
        self.missed += len(truths) - len(pairs)
        worst = dict.fromkeys(guesses, float("inf"))
        for mine, true in pairs:
            window, known = outer[mine], load.outer[true]
            assert window is not None
            assert known is not None
            errors = [abs(window.start_s - known.start_s), abs(window.end_s - known.end_s)]
            self.edge_errors_s += errors
            worst[mine] = max(errors)
            guessed, right = steady[mine], load.steady[true]
            assert guessed is not None
            assert right is not None
            self.mean_errors.append(abs(load.mean_bps(guessed) / load.mean_bps(right) - 1.0))
        self._count_hits(
            _edges([outer[p] for p in guesses]), _edges([load.outer[p] for p in truths])
        )
        return [worst[place] for place in guesses]

    def _count_hits(self, found: NDArray[np.float64], true: NDArray[np.float64]) -> None:
        self.edges_found += len(found)
        self.edges_true += len(true)
        for margin_s in self.hits:
            left = sorted(found.tolist())
            for moment in sorted(true.tolist()):
                near = [edge for edge in left if abs(edge - moment) <= margin_s]
                if near:
                    left.remove(near[int(np.argmin(np.abs(np.array(near) - moment)))])
                    self.hits[margin_s] += 1

    def f1(self, margin_s: float) -> float:
        """Harmonic mean of precision and recall of edges within a margin."""
        return 2 * self.hits[margin_s] / max(self.edges_found + self.edges_true, 1)


def _edges(windows: Sequence[Window | None]) -> NDArray[np.float64]:
    return np.array([edge for w in windows if w is not None for edge in (w.start_s, w.end_s)])


def _matches(
    load: Load,
    outer: Sequence[Window | None],
    guesses: Sequence[int],
    truths: Sequence[int],
    *,
    named: bool,
) -> list[tuple[int, int]]:
    """Guess and truth that overlap by half of their union; of the same slot, if that is known."""
    pairs = []
    for true in truths:
        for mine in [true] if named else guesses:
            window, known = outer[mine], load.outer[true]
            if window is None or known is None:
                continue
            common = min(window.end_s, known.end_s) - max(window.start_s, known.start_s)
            union = max(window.end_s, known.end_s) - min(window.start_s, known.start_s)
            if common >= 0.5 * union:
                pairs.append((mine, true))
                break
    return pairs
