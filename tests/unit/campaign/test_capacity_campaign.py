"""A campaign of searches: each trial a block, killed anywhere, with trials that do not count."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from campaign_lab import Hosts, Killed, Lab, Writes
from campaign_lines import BEGAN
from synthetic_link import SyntheticLink, search_of
from udp_runs import udp_run

from perfkit.analysis.answers.capacity import Search, find_searches
from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.capacity_search import CLIENTS, GENERATOR, LIMITS, Trial, advance
from perfkit.campaign import blocks, campaign_run, trials, void_rules
from perfkit.campaign.baselines import measured
from perfkit.campaign.blocks import BlockLog, Claim
from perfkit.campaign.campaign_progress import grid
from perfkit.errors import CampaignError
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.runs import campaign_folder, design
from perfkit.runs.folder import Run
from perfkit.settings.capacity import load_bounds

CONF = "[direct-udp]\nkind = udp\nduration = 10\n"
CAPACITY_BPS = 47e6
STRIDE = 23  # of the places at which the process is killed


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path, monkeypatch)
    (tmp_path / "config" / "tests.conf").write_text(CONF)
    script = tmp_path / "resources" / "tests" / "direct-udp"
    script.write_text("#!/bin/sh\nexec iperf -b $PERFKIT_RATE_BPS\n")
    script.chmod(0o755)
    monkeypatch.setattr(void_rules, "why_void", lambda *_: None)
    put_in(monkeypatch, SyntheticLink(CAPACITY_BPS))
    return made


def put_in(monkeypatch: pytest.MonkeyPatch, link: SyntheticLink) -> None:
    """Have blocks be trials of a link."""

    def trial_of(_logs: RunLogs, attempts: Sequence[Claim], rule: str) -> Trial | None:
        load_bps = attempts[-1].load_bps
        assert load_bps is not None
        return link.trial(load_bps) if not rule else None

    monkeypatch.setattr(trials, "trial_of", trial_of)


def launched(lab: Lab, **chosen: object) -> Run:
    return lab.launch(
        **{"clients": "2", "repetitions": 1, "capacity": "0.5%", "vpn": "none"} | chosen
    )


def searches(run: Run) -> list[Search]:
    return find_searches(run, design.load(run))


def trial_loads(log: BlockLog) -> list[float | None]:
    """Of the trials that the searches know, in the order run."""
    return [it.load_bps for it in log.claims if it.is_known]


def test_each_trial_is_a_block_at_the_rate_that_the_search_asks_for(lab: Lab) -> None:
    run = launched(lab)
    log = lab.go_on(run)
    plan = design.load(run)
    assert plan.capacity is not None
    goal, bounds = plan.capacity, load_bounds(plan.capacity, 2)
    alone = search_of(
        lambda done: advance(goal, bounds, done).next_bps, SyntheticLink(CAPACITY_BPS)
    )
    assert trial_loads(log) == [it.load_bps for it in alone]
    assert log.stop == "repetitions"
    for block, trial in zip(campaign_folder.block_runs(run), alone, strict=True):
        manifest = block.manifest()
        assert manifest["load_bps"] == trial.load_bps
        (kept,) = (manifest["parameters"]["rate"],)
        assert kept == f"{round(trial.load_bps / 2) / 1e6:.12g}mbit"
        assert manifest["parameters"]["capacity"] == ""
    (search,) = searches(run)
    assert search.why_open == ""
    assert search.state.lower_bps is not None
    assert search.state.upper_bps is not None
    assert search.state.lower_bps <= CAPACITY_BPS / 0.995 * 1.001
    assert search.state.upper_bps >= CAPACITY_BPS / 0.995 * 0.999


def test_each_repetition_is_a_search_of_each_cell(lab: Lab) -> None:
    run = launched(lab, clients="1,2", repetitions=2)
    lab.go_on(run)
    found = searches(run)
    assert [(it.clients, it.repetition) for it in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert len({it.state.lower_bps for it in found}) == 1


def test_a_search_killed_wherever_it_writes_goes_on_with_the_trials_that_it_has(lab: Lab) -> None:
    run = launched(lab)
    kept = lab.root / "kept"
    shutil.copytree(run.root, kept)
    lab.writes = Writes()
    undisturbed = trial_loads(lab.go_on(run))
    (whole,) = searches(run)
    for place in range(1, 2 * lab.writes.seen + 1, STRIDE):
        shutil.rmtree(run.root)
        shutil.copytree(kept, run.root)
        lab.hosts, lab.writes = Hosts(), Writes(place)
        with pytest.raises(Killed):
            lab.go_on(run)
        lab.writes = Writes()
        log = lab.go_on(run)
        assert trial_loads(log) == undisturbed, place
        assert max(lab.hosts.begun.values()) == 1
        (search,) = searches(run)
        assert (search.state, search.why_open) == (whole.state, ""), place


def test_a_void_trial_is_repeated_at_the_same_load_and_then_the_search_ends_with_its_bounds(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(block: Run, *_: object) -> tuple[str, str] | None:
        number = int(block.root.name)
        return ("other-load", "something ran") if number == 2 or number > 6 else None

    monkeypatch.setattr(void_rules, "why_void", busy)
    run = launched(lab)
    log = lab.go_on(run)
    assert [it.end for it in log.claims] == ["done", "void", *["done"] * 4, *["void"] * 3]
    assert log.claims[1].load_bps == log.claims[2].load_bps
    assert len({it.load_bps for it in log.claims[6:]}) == 1
    assert len(blocks.given_up(design.load(run), log)) == 1
    (search,) = searches(run)
    assert "could not be measured" in search.why_open
    assert "something ran" in search.why_open
    assert (search.state.upper_bps or 0) > CAPACITY_BPS / 0.995 * 0.999


def test_trials_that_the_generator_cannot_offer_are_not_repeated_and_bound_it_by_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = SyntheticLink(1e12, most_bps=30e6)
    asked: list[float] = []

    def trial_of(_logs: RunLogs, attempts: Sequence[Claim], rule: str) -> Trial | None:
        trial = link.trial(attempts[-1].load_bps or 0.0)
        assert (rule == "offered-load") == bool(trial.limit)
        return trial

    def short(block: Run, *_: object) -> tuple[str, str] | None:
        load_bps = block.manifest()["load_bps"]
        asked.append(load_bps)
        return ("offered-load", "too slow") if load_bps * 0.95 > 30e6 else None

    monkeypatch.setattr(trials, "trial_of", trial_of)
    monkeypatch.setattr(void_rules, "why_void", short)
    run = launched(lab)
    log = lab.go_on(run)
    assert log.stop == "repetitions"
    assert len(log.claims) == len(link.loads) == len(asked)
    (search,) = searches(run)
    assert search.limit == GENERATOR
    assert search.why_open == ""
    assert any(LIMITS[GENERATOR] in line for line in lab.said)


def test_a_budget_ends_the_search_with_the_bounds_so_far(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch, SyntheticLink(CAPACITY_BPS, overload=0.5))
    monkeypatch.setattr(campaign_run, "_seconds", lambda *_: 15.0)  # private: what a block took
    run = launched(lab, budget="1min", capacity="0.5%, width 0.5%, trials 9")
    log = lab.go_on(run)
    assert log.stop == "budget"
    (search,) = searches(run)
    assert search.why_open == "the budget ended it"
    assert search.state.next_bps is not None


def test_the_live_grid_shows_the_bounds_of_each_search_so_far(lab: Lab) -> None:
    run = launched(lab)
    log = lab.go_on(run)
    plan = design.load(run)
    (row,) = grid(plan, log, cells_frame([]), "direct-udp")
    assert row.cells[0].startswith("between 4")
    assert row.cells[0].endswith(f"Mbit/s ({len(log.claims)})")
    assert "found: between" in lab.said[-2]
    assert "not carried" in lab.said[0]


def test_a_campaign_of_searches_is_no_baseline(lab: Lab) -> None:
    run = launched(lab)
    lab.go_on(run)
    with pytest.raises(CampaignError, match="searched for capacity"):
        measured([run])


@pytest.mark.parametrize(
    ("rule", "before", "limit"),
    [
        ("offered-load", [], GENERATOR),
        ("missing-clients", [], None),
        ("missing-clients", ["missing-clients", "missing-clients"], CLIENTS),
        ("missing-clients", ["missing-clients", "other-load"], None),
        ("other-load", ["other-load", "other-load"], None),
    ],
)
def test_what_says_nothing_of_the_load_is_no_trial(
    tmp_path: Path, rule: str, before: list[str], limit: str | None
) -> None:
    logs = read_run(udp_run(tmp_path / "run", {"client-001": [0] * 6}))
    claims = [claim(number, f"{why}: so it was") for number, why in enumerate(before, 1)]
    claims.append(claim(len(before) + 1, ""))
    found = trials.trial_of(logs, claims, rule)
    assert (found and found.limit) == limit


def claim(number: int, why: str) -> Claim:
    return Claim(
        block=number, repetition=1, clients=2, variant="base", attempt=number, folder="",
        hosts=(), claimed_utc=BEGAN, end="void" if why else "", why=why, load_bps=1e7,
    )  # fmt: skip
