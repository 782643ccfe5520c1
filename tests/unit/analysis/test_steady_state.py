"""Warm-up and steadiness, on series whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import campaign_truth as truth
import numpy as np
import pytest
from numpy.typing import NDArray

from perfkit.analysis import segments, steady_state
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

Floats = NDArray[np.float64]


def why(by_client: Floats) -> str:
    names = [f"client-{number:03d}" for number in range(1, len(by_client) + 1)]
    return steady_state.why_not_steady(by_client.sum(axis=0), by_client, names)


def even(clients: int = 10, seconds: int = 30, seed: int = 0, spread: float = 0.05) -> Floats:
    chance = np.random.default_rng(seed)
    return np.asarray(1e7 * chance.lognormal(0.0, spread, (clients, seconds)))


@pytest.mark.parametrize("ramp_s", [2, 5])
def test_a_ramp_is_cut_and_its_bias_with_it(ramp_s: int) -> None:
    chance = np.random.default_rng(1)
    series = [truth.ramp(chance, 30, ramp_s, 0.05) for _ in range(100)]
    cut = [steady_state.warm_up_s(one) for one in series]
    assert ramp_s - 1 <= np.median(cut) <= ramp_s + 1
    rest = np.mean([one[c:].mean() for one, c in zip(series, cut, strict=True)])
    assert abs(rest - 1.0) < 0.004
    assert abs(np.mean(series) - 1.0) > 0.03


def test_at_most_a_third_is_cut() -> None:
    assert steady_state.warm_up_s(np.linspace(1.0, 2.0, 30)) <= 10


def test_a_steady_series_is_hardly_ever_cut() -> None:
    chance = np.random.default_rng(2)
    cuts = [steady_state.warm_up_s(chance.normal(1.0, 0.1, n)) for n in (9, 30) for _ in range(200)]
    assert np.count_nonzero(cuts) <= 8


@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_too_few_seconds_are_left_as_they_are(seconds: int) -> None:
    assert steady_state.warm_up_s(np.arange(float(seconds))) == 0
    assert why(np.zeros((3, seconds))) == ""


def test_a_steady_test_is_hardly_ever_called_not_steady() -> None:
    found = [why(even(clients, n, seed)) for seed in range(60) for clients, n in ((1, 9), (10, 30))]
    assert sum(map(bool, found)) <= 4


def test_traffic_that_is_dead_for_the_second_half_is_not_steady() -> None:
    dead = even()
    dead[:, 15:] = 0.0
    assert "carried -100% against the first" in why(dead)


def test_a_stall_of_one_second_is_named_with_its_place() -> None:
    stalled = even()
    stalled[:, 12] *= 0.05
    assert "1 second of 30 carried under 10% of the median one, the first at 12 s" in why(stalled)


def test_decay_to_half_is_not_steady() -> None:
    assert "last third" in why(even() * np.linspace(1.0, 0.5, 30))


@pytest.mark.parametrize("others_make_up", [False, True])
def test_three_of_ten_clients_that_die_half_way_are_found(*, others_make_up: bool) -> None:
    dying = even()
    dying[:3, 15:] = 0.0
    if others_make_up:
        dying[3:, 15:] *= 10 / 7
    assert "3 of 10 clients moved next to nothing in the last 15 s or more" in why(dying)
    assert "client-001, client-002, client-003" in why(dying)


def test_one_client_of_a_hundred_that_dies_is_found() -> None:
    dying = even(clients=100)
    dying[41, 18:] = 0.0
    assert "1 of 100 clients" in why(dying)
    assert "client-042" in why(dying)


def test_clients_that_starve_by_turns_are_not_dead() -> None:
    starving = even(clients=40, spread=0.02)
    for client in range(20):  # ten seconds each, at any place in the window, the end too
        starving[client, client : client + 11] = 0.0
    starving[20:] *= (starving.sum(axis=0).max() * 1.1 - starving[:20].sum(axis=0)) / starving[
        20:
    ].sum(axis=0)
    assert why(starving) == ""


def summary_of(logs: RunLogs, run: Run) -> Summary:
    found = outcomes(logs)
    return summarise(logs, segments.current(run, logs, found), found)


def shaped(logs: RunLogs, rate: Floats) -> RunLogs:
    """The same logs, each interval of a second times the rate of that second of its stream."""
    traffic = logs.traffic.copy()
    second = traffic["start_s"].astype(int).clip(upper=len(rate) - 1)
    interval = (traffic["kind"] == "interval").to_numpy()
    sizes = traffic["size_bytes"].to_numpy(dtype=np.float64) * np.where(interval, rate[second], 1.0)
    traffic["size_bytes"] = sizes
    keys = ["slot", "log_host", "stream", "side"]
    sums = traffic[interval].groupby(keys, observed=True)["size_bytes"].sum()
    whole = traffic[~interval].set_index(keys).index
    traffic.loc[~interval, "size_bytes"] = sums.reindex(whole).fillna(0.0).to_numpy()
    return replace(logs, traffic=traffic)


def test_a_recorded_window_begins_behind_the_warm_up_and_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", duration_s=30, clients=4)
    logs = read_run(run)
    plain = segments.from_events(logs, outcomes(logs))[0]
    rate = np.minimum((np.arange(30) + 0.5) / 5, 1.0)
    summary = summary_of(shaped(logs, rate), run)
    saved = segments.load(run)[0]
    assert plain.steady is not None
    assert saved.steady is not None
    assert saved.warm_up_s in (4.0, 5.0)
    assert saved.steady.start_s == pytest.approx(plain.steady.start_s + saved.warm_up_s)
    row = summary.tests.iloc[0]
    assert row["warm_up_s"] == saved.warm_up_s
    assert not row["not_steady"]
    assert np.isfinite(row["goodput_ci_bps"])


def test_a_window_that_is_saved_already_is_not_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", duration_s=30, clients=4)
    logs = read_run(run)
    segments.save(run, segments.from_events(logs, outcomes(logs)))
    before = segments.load(run)
    summary_of(shaped(logs, np.minimum((np.arange(30) + 0.5) / 5, 1.0)), run)
    assert segments.load(run) == before


def test_a_test_that_is_not_steady_is_warned_of_first_and_has_no_interval(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", duration_s=30, clients=4)
    summary = summary_of(shaped(read_run(run), np.linspace(1.0, 0.5, 30)), run)
    first = summary.findings[0]
    assert first.text.startswith("NOT STEADY: the last third")
    assert first.level == "warning"
    assert np.isnan(summary.tests["goodput_ci_bps"]).all()
    assert np.isfinite(summary.tests["goodput_bps"]).all()


def test_a_stall_after_traffic_had_begun_is_not_cut_as_a_warm_up() -> None:
    stalled = even()
    stalled[:, 4:6] = 0.0
    assert steady_state.warm_up_s(stalled.sum(axis=0)) == 0
    assert "2 seconds of 30 carried under 10% of the median one, the first at 4 s" in why(stalled)


def test_traffic_that_begins_late_is_cut() -> None:
    late = even()
    late[:, :3] = 0.0
    assert steady_state.warm_up_s(late.sum(axis=0)) == 3


@pytest.mark.parametrize("said", [-3.0, 1e9])
def test_a_cut_that_cannot_have_been_made_is_none(tmp_path: Path, said: float) -> None:
    run = make_run(tmp_path / "run", clients=2, tests=["direct-tcp"])
    logs = read_run(run)
    (own,) = segments.from_events(logs, outcomes(logs))
    segments.save(run, [replace(own, warm_up_s=said)])
    assert segments.read(run)[0].warm_up_s == 0.0
    segments.save(run, [segments.cut(own, 2.0)])
    assert segments.read(run)[0].warm_up_s == 2.0
