"""Truths about searches for capacity, on links that lose what is above what they carry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from synthetic_link import SyntheticLink, search_of
from truth_row import TruthRow, share

from perfkit.analysis.capacity_search import SearchState, advance
from perfkit.model import CapacityGoal
from perfkit.settings.capacity import trial_bounds

SEARCHES = 1000  # of each row
LEAST_BPS, MOST_BPS = 5e6, 800e6  # of the planted capacity


GOAL = CapacityGoal(loss_ratio=0.005)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A kind of link, and what a search of it must come to.

    Attributes:
        inside: Least share of the searches between whose bounds the capacity lies.
        off: Most that bounds may be off it in 95 of 100, beyond their own width.
    """

    what: str
    spread: float = 0.0
    hiccups: float = 0.0
    overload: float = 0.0
    goal: CapacityGoal = GOAL
    inside: float = 1.0
    off: float = 0.0


ROWS = (
    Planted(what="link without noise"),
    Planted(what="link that overload slows", overload=0.5),
    Planted(what="without noise, width 1 %", goal=CapacityGoal(loss_ratio=0.005, width=0.01)),
    Planted(what="without noise, no loss allowed", goal=CapacityGoal(loss_ratio=0.0)),
    Planted(what="one trial a load", goal=CapacityGoal(loss_ratio=0.005, trials=1, exceed_ratio=0)),
    Planted(what="2 % spread of trials", spread=0.02, inside=0.7, off=0.06),
    Planted(
        what="2 % spread, a fifth missing in 1 of 10",
        spread=0.02,
        hiccups=0.1,
        inside=0.6,
        off=0.25,
    ),
    Planted(what="5 % spread of trials", spread=0.05, inside=0.4, off=0.12),
)


def rows(seed: int, scale: float) -> Iterator[TruthRow]:
    """One row after the other."""
    for number, planted in enumerate(ROWS):
        yield _row(planted, np.random.default_rng([seed, number]), scale)


def _row(planted: Planted, chance: np.random.Generator, scale: float) -> TruthRow:
    begun, goal = time.monotonic(), planted.goal
    bounds = (goal.from_bps, goal.to_bps)
    count = max(round(SEARCHES * scale), 10)
    inside, off, trials = 0, [], []
    for seed in range(count):
        capacity = float(np.exp(chance.uniform(np.log(LEAST_BPS), np.log(MOST_BPS))))
        link = SyntheticLink(
            capacity, spread=planted.spread, hiccups=planted.hiccups, overload=planted.overload,
            seed=seed,
        )  # fmt: skip
        done = search_of(lambda so_far: advance(goal, bounds, so_far).next_bps, link)
        distance = _off(advance(goal, bounds, done), capacity / (1 - goal.loss_ratio))
        inside += distance <= 2e-3  # of whole datagrams
        off.append(distance)
        trials.append(len(done))
    typical = float(np.quantile(off, 0.95))
    is_ended = max(trials) <= trial_bounds(goal)[1]
    spare = 0.0 if planted.inside == 1 else 3 * np.sqrt(0.25 / count)
    return TruthRow(
        what=f"capacity: {planted.what}",
        expected=f">= {planted.inside:.0%} inside, <= {planted.off:.0%} off",
        got=f"{share(inside, count)}, {typical:.1%} off, {np.median(trials):.0f} trials, {max(trials)} most",
        ok=inside / count >= planted.inside - spare
        and typical <= planted.off + 2e-3 + spare / 4
        and is_ended,
        seconds=time.monotonic() - begun,
    )


def _off(state: SearchState, true_bps: float) -> float:
    """How far the true capacity lies outside the bounds, as a share of it; 0: inside."""
    assert state.lower_bps is not None
    assert state.upper_bps is not None
    beyond = max(state.lower_bps - true_bps, true_bps - state.upper_bps, 0.0)
    return beyond / true_bps
