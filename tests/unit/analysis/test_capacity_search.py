"""The search for capacity, on links whose capacity is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from synthetic_link import SyntheticLink, search_of

from perfkit.analysis.capacity_search import CLIENTS, GENERATOR, SearchState, Trial, advance
from perfkit.errors import RunError
from perfkit.model import CapacityGoal
from perfkit.settings.capacity import trial_bounds

GOAL = CapacityGoal(loss_ratio=0.005)
BOUNDS = (GOAL.from_bps, GOAL.to_bps)


def found(link: SyntheticLink, goal: CapacityGoal = GOAL) -> tuple[SearchState, list[Trial]]:
    trials = search_of(lambda so_far: advance(goal, BOUNDS, so_far).next_bps, link)
    return advance(goal, BOUNDS, trials), trials


def highest_bps(link: SyntheticLink, goal: CapacityGoal = GOAL) -> float:
    """The load of which the link loses just what the goal allows."""
    return link.capacity_bps / (1 - goal.loss_ratio)


@pytest.mark.parametrize("mbps", [2.3, 20, 47.5, 333, 990])
@pytest.mark.parametrize("overload", [0.0, 0.5])
def test_a_link_without_noise_lies_between_bounds_as_near_as_asked(
    mbps: float, overload: float
) -> None:
    link = SyntheticLink(mbps * 1e6, overload=overload)
    state, trials = found(link)
    assert state.lower_bps is not None
    assert state.upper_bps is not None
    assert state.lower_bps <= highest_bps(link) * 1.001
    assert state.upper_bps >= highest_bps(link) * 0.999
    assert state.upper_bps - state.lower_bps <= GOAL.width * state.upper_bps * (1 + 1e-9)
    assert state.conditional_bps == pytest.approx(min(state.lower_bps, link.capacity_bps), rel=1e-3)
    assert len(trials) >= trial_bounds(GOAL)[0] - 2
    assert not state.is_cut


def test_every_trial_is_asked_for_by_those_before_it_so_a_replay_comes_to_the_same() -> None:
    link = SyntheticLink(80e6, spread=0.03, hiccups=0.1, seed=5)
    state, trials = found(link)
    for count, trial in enumerate(trials):
        assert advance(GOAL, BOUNDS, trials[:count]).next_bps == trial.load_bps
    assert advance(GOAL, BOUNDS, trials) == state


@pytest.mark.parametrize("seed", range(12))
def test_noise_of_a_few_percent_moves_the_bounds_by_as_little(seed: int) -> None:
    link = SyntheticLink(120e6, spread=0.02, hiccups=0.1, seed=seed)
    state, trials = found(link)
    assert state.lower_bps is not None
    assert state.upper_bps is not None
    assert 0.75 < state.lower_bps / highest_bps(link) < 1.05
    assert 0.78 < state.upper_bps / highest_bps(link) < 1.12
    assert len(trials) <= trial_bounds(GOAL)[1]


def test_one_bad_trial_of_three_does_not_take_a_load_away_unless_none_may_be_bad() -> None:
    load = advance(GOAL, BOUNDS, []).next_bps
    assert load is not None
    good = Trial(load_bps=load, offered_bps=load, lost=0, sent=10_000)
    bad = replace(good, lost=400)
    assert advance(GOAL, BOUNDS, [good, bad]).next_bps == load  # the third decides
    assert advance(GOAL, BOUNDS, [good, bad, good]).lower_bps == load
    strict = replace(GOAL, exceed_ratio=0.0)
    assert advance(strict, BOUNDS, [good, bad]).upper_bps == load


def test_a_generator_that_cannot_offer_more_bounds_the_search_from_above_by_its_name() -> None:
    link = SyntheticLink(1e12, most_bps=150e6)
    state, trials = found(link)
    assert state.lower_bps is not None
    assert state.upper_bps is not None
    at_upper = [it for it in trials if it.load_bps == state.upper_bps]
    assert {it.limit for it in at_upper} == {GENERATOR}
    assert {it.limit for it in trials if it.load_bps == state.lower_bps} == {""}
    assert 150e6 * 0.9 < state.lower_bps < state.upper_bps < 150e6 / 0.95 * 1.06


def test_a_trial_that_was_not_offered_is_bad_whatever_loss_is_allowed() -> None:
    generous = replace(GOAL, loss_ratio=0.2)
    load = advance(generous, BOUNDS, []).next_bps
    assert load is not None
    limited = Trial(load_bps=load, offered_bps=0.94 * load, lost=0, sent=10_000, limit=GENERATOR)
    state = advance(generous, BOUNDS, [limited])
    assert state.lower_bps is None
    assert state.next_bps is not None
    assert state.next_bps < load


def test_clients_that_were_lost_halve_the_load_where_nobody_knows_what_was_offered() -> None:
    load = advance(GOAL, BOUNDS, []).next_bps
    assert load is not None
    lost = Trial(load_bps=load, offered_bps=math.nan, lost=0, sent=0, limit=CLIENTS)
    next_bps = advance(GOAL, BOUNDS, [lost]).next_bps
    assert next_bps == pytest.approx(load / 2, rel=0.1)


def test_a_link_beyond_what_is_searched_has_one_bound_only() -> None:
    above, _ = found(SyntheticLink(5e9))
    assert (above.lower_bps, above.upper_bps) == (GOAL.to_bps, None)
    below, _ = found(SyntheticLink(1e5))
    assert (below.lower_bps, below.upper_bps) == (None, GOAL.from_bps)
    assert below.next_bps is None


def test_a_search_that_has_had_its_trials_says_so_and_keeps_its_bounds() -> None:
    wild = SyntheticLink(100e6, spread=0.5, seed=3)
    goal = replace(GOAL, width=0.005, trials=1, exceed_ratio=0.0)
    most = trial_bounds(goal)[1]
    state, trials = found(wild, goal)
    assert len(trials) <= most
    cut = next(
        advance(goal, BOUNDS, run)
        for seed in range(300)
        if len(run := found(replace(wild, seed=seed, loads=[]), goal)[1]) == most
    )
    assert cut.next_bps is None
    assert state.lower_bps is None or state.upper_bps is None or state.lower_bps < state.upper_bps


def test_trials_of_another_search_are_refused_and_not_taken_for_its_own() -> None:
    _, trials = found(SyntheticLink(80e6))
    other = [trials[0], replace(trials[1], load_bps=trials[1].load_bps + 1), *trials[2:]]
    with pytest.raises(RunError, match=r"trial 2 of a search .* another version"):
        advance(GOAL, BOUNDS, other)
    with pytest.raises(RunError, match="ends after"):
        advance(GOAL, BOUNDS, [*trials, trials[-1]])
