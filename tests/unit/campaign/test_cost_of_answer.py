"""What a campaign takes and could show is said before it begins, and held against caps and budget."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from memory_provider import MemoryProvider
from scipy import stats
from small_project import make_small_project

from perfkit.analysis.spent import Spent
from perfkit.campaign import cost_of_answer, estimate
from perfkit.campaign import session as sessions
from perfkit.campaign.cost_of_answer import (
    half_width_share,
    reckon,
    smallest_change,
    why_over_budget,
)
from perfkit.campaign.design import plan_design
from perfkit.errors import ConfigError
from perfkit.fleet.provider import CostEstimate
from perfkit.runs import campaign_folder, design, folder
from perfkit.runs.folder import Run
from perfkit.settings import parameters as settings
from perfkit.testing.campaigns import make_campaign


class Paid(MemoryProvider):
    """Hosts elsewhere at 0.1 USD an hour each, capped at 1 USD; their end can be moved."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = replace(self.traits, costs_money=True, shared_cpu=False, renewable=True)

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        usd_per_h = 0.1 * n_hosts
        worst_usd = usd_per_h * life_s / 3600
        over = ("max_usd is 1",) if worst_usd > 1 else ()
        return CostEstimate(usd_per_h=usd_per_h, worst_usd=worst_usd, lines=(), over=over)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (make_small_project(tmp_path, monkeypatch) / "config" / "variants.conf").write_text(
        "[new]\ncontrol = yes\n[longer]\ntest.tunnel-tcp.duration = 40\n"
    )
    return tmp_path


def cost(provider: MemoryProvider | None = None, **given: object) -> cost_of_answer.CostOfAnswer:
    return reckon(settings.load(given), provider or MemoryProvider())


def test_cells_blocks_and_repetitions_are_counted() -> None:
    found = cost(clients="1,2,5", variants="base,new", repetitions=4)
    assert (found.cells, found.blocks_each, found.hosts) == (12, 6, 6)
    assert found.repetitions == (4, 4)
    assert "12 cells, 4 repetitions, 24 blocks" in found.lines[0]
    assert "costs nothing" in found.lines[0]


def test_a_precision_takes_five_repetitions_at_least_and_its_maximum_at_most() -> None:
    found = cost(clients="1,2,5", precision="5%", max_repetitions=12)
    assert found.repetitions == (5, 12)
    least, most = found.seconds
    assert most - least == pytest.approx(7 * found.repetition_s)
    assert "15 to 36 blocks" in found.lines[0]
    assert "+-5.0 % is expected after about 7" in found.outlook


def test_that_three_repetitions_are_the_default_of_a_list_is_said() -> None:
    assert "3 repetitions (the default of a list)" in cost(clients="1,2").lines[0]
    assert "default" not in cost(clients="1,2", repetitions=3).lines[0]


def test_larger_fleets_longer_tests_and_a_second_variant_take_longer() -> None:
    one = cost(clients="2,10", repetitions=2).repetition_s
    assert cost(clients="2,100", repetitions=2).repetition_s > one
    assert cost(clients="2,10", repetitions=2, duration_s=30).repetition_s == pytest.approx(
        one + 2 * 2 * 20
    )
    assert cost(clients="2,10", repetitions=2, variants="base,new").repetition_s > 2 * one
    assert cost(clients="2,10", repetitions=2, starter="cron").repetition_s > one
    equal = cost(clients=2, repetitions=2, variants="base,new").repetition_s
    assert cost(clients=2, repetitions=2, variants="base,longer").repetition_s == pytest.approx(
        equal + 30
    )


@pytest.mark.parametrize(("clients", "measured_s"), [(5, 7.9), (150, 18), (400, 26)])
def test_what_is_around_a_block_is_what_blocks_of_that_size_took(
    clients: int, measured_s: float
) -> None:
    kept = {"tests": "direct-tcp", "duration_s": 30, "repetitions": 2}
    assert cost(clients=clients, **kept).repetition_s - 30 == pytest.approx(measured_s, rel=0.2)


def test_a_variant_without_a_section_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'longer'") as caught:
        cost(variants="base,longr")
    assert caught.value.key == "variants"


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_width_is_that_of_students_interval(n: int) -> None:
    quantile = stats.t.ppf(0.975, n - 1)
    assert half_width_share(n, 0.05) == pytest.approx(math.expm1(quantile * 0.05 / math.sqrt(n)))


@pytest.mark.parametrize(("n", "is_paired"), [(5, False), (8, True), (5, True)])
def test_the_change_that_could_be_seen_is_seen_in_four_of_five_simulated_campaigns(
    n: int, is_paired: bool
) -> None:
    change = smallest_change(n, 0.08, is_paired=is_paired, figures=2)
    chance, times = np.random.default_rng(5), 4000
    a = chance.normal(0, 0.08, (times, n))
    b = chance.normal(math.log1p(change), 0.08, (times, n))
    test = stats.ttest_rel if is_paired else stats.ttest_ind
    found = (test(b, a, axis=1).pvalue < 0.025) & (b.mean(axis=1) > a.mean(axis=1))
    assert found.mean() == pytest.approx(0.8, abs=0.025)


def test_no_change_below_the_margin_is_promised() -> None:
    assert smallest_change(100, 0.01, is_paired=True, figures=1) == 0.05


def test_one_repetition_promises_nothing() -> None:
    assert "no interval and no verdict" in cost(clients="1,2", repetitions=1).outlook


def test_the_spread_is_that_of_an_earlier_campaign_of_the_same_provider(project: Path) -> None:
    kept = {"clients": "1,5", "repetitions": 3}
    assert "assumed, no earlier campaign" in cost(**kept).outlook
    run = make_campaign(
        project / "runs" / "earlier",
        clients=(1, 2),
        repetitions=4,
        spread=0.2,
        void=(),
        duration_s=5,
    )
    assert "assumed, no earlier campaign" in cost(**kept).outlook  # its hosts were others
    run.update_manifest({"parameters": {**run.manifest()["parameters"], "provider": "local"}})
    found = cost(**kept)
    assert found.spread.source == run.id
    assert 0.1 < found.spread.share < 0.3
    assert "as in earlier" in found.outlook
    assert not cost(**kept, tests="direct-tcp").spread.source  # it had others


def test_a_spread_of_too_few_blocks_is_not_taken(project: Path) -> None:
    run = make_campaign(
        project / "runs" / "short", clients=(1,), repetitions=3, spread=0.2, void=(), duration_s=5
    )
    run.update_manifest({"parameters": {**run.manifest()["parameters"], "provider": "local"}})
    assert cost(clients="1,5").spread.source == run.id
    frame = campaign_folder.cells_path(run)
    pd.read_parquet(frame).query("repetition < 3").to_parquet(frame)
    assert not cost(clients="1,5").spread.source


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"budget": "1min"}, "one repetition of all cells takes about"),
        ({"budget": "20usd"}, "cost nothing; give minutes"),
        ({"budget": "0.1min", "clients": 2}, "one repetition"),
    ],
)
def test_a_budget_below_one_repetition_is_refused_with_one_that_suffices(
    given: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        cost(**{"clients": "1,2,5", **given})
    assert caught.value.key == "budget"
    if "at least" in caught.value.remedy:
        enough = caught.value.remedy.split()[3].rstrip(",")
        assert cost(**{"clients": "1,2,5", **given, "budget": enough}).repetitions[0] == 1


def test_a_budget_of_money_is_held_against_the_price_of_the_fleet() -> None:
    given = {"clients": "1,9", "repetitions": 5}
    with pytest.raises(ConfigError, match=r"one repetition .* USD; give at least 0.03usd"):
        cost(Paid(), **given, budget="0.01usd")
    found = cost(Paid(), **given, budget="0.05usd")
    assert found.repetitions == (2, 2)
    assert "the budget ends it after about 2 of 5 repetitions" in found.lines
    assert found.usd_per_h * found.seconds[1] / 3600 <= 0.05


@pytest.mark.parametrize(
    ("budget", "worked_s", "next_s", "says"),
    [
        ({}, 1e9, 1e9, ""),
        ({"budget_min": 10}, 540, 60, ""),
        ({"budget_min": 10}, 541, 60, "9.0 of 10 minutes are spent"),
        ({"budget_usd": 2}, 0, 3600, ""),
        ({"budget_usd": 2}, 0, 3601, "1.00 of 2 USD are spent"),
        ({"budget_min": 10, "budget_usd": 2}, 0, 3601, "9 minutes"),
    ],
)
def test_a_block_is_begun_only_if_the_budget_has_it_in_minutes_and_in_dollars(
    budget: dict[str, float], worked_s: float, next_s: float, says: str
) -> None:
    plan = replace(plan_design(settings.load({"clients": "1,2"})), **budget)
    used = Spent(blocks=3, void=0, hosts=3, elapsed_s=3600, blocks_s=900, usd_per_h=1.0)
    why = why_over_budget(plan, used, worked_s=worked_s, next_s=next_s)
    assert why == says.replace("9 minutes", "0.0 of 10 minutes are spent")


def test_the_worst_case_is_the_longest_campaign_and_the_life_of_hosts_that_nobody_ends() -> None:
    short = cost(Paid(), clients="1,9", repetitions=2, expires_min=60)
    assert short.life_s == 3600
    long = cost(Paid(), clients="1,9", precision="5%", max_repetitions=100, expires_min=60)
    assert long.life_s == long.seconds[1] + 3600
    assert long.worst_usd == pytest.approx(long.usd_per_h * long.life_s / 3600)
    assert f"at most {long.worst_usd:.2f} USD" in long.money


def test_a_campaign_above_the_caps_is_refused_where_one_block_would_not_be(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: Paid())
    few = {"clients": 9, "expires_min": 30, "vpn": "none"}
    with sessions.open_new(settings.load(few)) as session:
        assert session.run.manifest()["usd_per_h"] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match=r"above the caps of memory\.conf: max_usd is 1"):
        sessions.open_new(settings.load({**few, "repetitions": 100}))
    with sessions.open_new(settings.load({**few, "repetitions": 100, "yes": True})) as session:
        assert any("100 blocks" in line for line in session.notices)


def test_hosts_whose_end_cannot_be_moved_bound_the_campaign() -> None:
    given = {"clients": "1,2", "precision": "5%", "expires_min": 10}
    found = cost(**given)
    assert found.repetitions[0] == 5
    assert found.seconds[1] <= 600
    assert any("the end of the hosts ends it after about" in line for line in found.lines)
    with pytest.raises(ConfigError, match=r"expires_min = 3\.0: the campaign takes") as caught:
        cost(**{**given, "expires_min": 3})
    enough = float(caught.value.remedy.split()[1])
    assert cost(**{**given, "expires_min": enough}).repetitions[0] == 5


def test_a_single_run_has_no_line_of_a_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "provider_for", lambda _settings: MemoryProvider())
    single = estimate.estimate(settings.load({"clients": 5}))
    assert single.campaign is None
    assert "cells" not in str(single)


def test_the_form_the_table_and_the_session_say_it_once(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: MemoryProvider())
    given = {"clients": "1,2", "repetitions": 2, "vpn": "none"}
    found = estimate.estimate(settings.load(given))
    assert str(found).count("in all") == 1
    assert str(found).count("costs nothing") == 1
    (row, *_) = estimate.by_provider(**given).rows
    assert not isinstance(row[1], str)
    assert "in all" not in " ".join(row[1].remarks)
    with sessions.open_new(settings.load(given)) as session:
        assert str(session).count("in all") == 1
        assert design.load(session.run).clients == (1, 2)


def test_a_single_run_has_no_design(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: MemoryProvider())
    with sessions.open_new(settings.load({"clients": 2, "vpn": "none"})) as session:
        with pytest.raises(Exception, match="single run, no campaign"):
            design.load(session.run)
        assert folder.list_runs(project / "runs") == [Run(session.run.root)]
