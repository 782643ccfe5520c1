"""The loop over blocks: when it stops, and what it does where hosts or blocks fail."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from campaign_lab import Lab

from perfkit.analysis import campaign_cells
from perfkit.analysis.answers.frame import cells_frame
from perfkit.campaign import (
    block_session,
    blocks,
    campaign_run,
    offline,
    phases,
    switch,
    void_rules,
)
from perfkit.campaign import session as sessions
from perfkit.campaign.block_session import BlockSession, draw_hosts, open_new
from perfkit.campaign.blocks import BlockLog, Todo
from perfkit.campaign.campaign_view import CampaignView
from perfkit.errors import RunError, StageError
from perfkit.model import HostResult, HostState, Role, StageResult
from perfkit.runs import campaign_folder, design, folder, journal, progress
from perfkit.runs.folder import Run
from perfkit.settings import parameters as settings


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path, monkeypatch)
    monkeypatch.setattr(void_rules, "why_void", lambda *_: None)
    return made


def log_of(run: Run) -> BlockLog:
    return blocks.replay(journal.read(run.journal_path).events)


def cells_of(run: Run, goodput_mbps: Mapping[int, float]) -> Any:
    """Each block with the goodput of its count, a little other in each repetition."""
    return cells_frame(
        {
            "block": claim.block,
            "folder": claim.folder,
            "repetition": claim.repetition,
            "clients": claim.clients,
            "variant": claim.variant,
            "test": "direct-tcp",
            "path": "direct",
            "position": 1,
            "goodput_bps": 1e8 * (1 + goodput_mbps[claim.clients] * (claim.repetition % 2)),
        }
        for claim in log_of(run).claims
        if claim.end == "done"
    )


def test_a_count_that_is_precise_is_not_repeated_and_the_others_are(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = {1: 0.001, 2: 0.05}
    monkeypatch.setattr(campaign_cells, "refresh", lambda run: cells_of(run, spread))
    run = lab.launch(repetitions=0, precision="2%", max_repetitions=7)
    log = lab.go_on(run)
    assert log.repetitions == dict.fromkeys(range(1, 6), (1, 2)) | dict.fromkeys((6, 7), (2,))
    assert log.stop == "repetitions"


def test_a_campaign_stops_when_all_cells_are_precise(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_cells, "refresh", lambda run: cells_of(run, {1: 0.0, 2: 0.001}))
    log = lab.go_on(lab.launch(repetitions=0, precision="5%", max_repetitions=20))
    assert (log.stop, max(log.repetitions)) == ("precise", 5)


def test_a_stop_lets_the_block_under_way_end_and_begins_no_other(lab: Lab) -> None:
    run = lab.launch()
    with sessions.attach(run.root.parent, run.id) as session, session.phase("measure"):
        campaign = lab.campaign(session)

        def ask(_block: BlockSession) -> str:
            campaign.view.ask_stop()
            return ""

        lab.hosts.lost = ask
        log = campaign.run()
    assert log.stop == "stopped"
    assert [claim.end for claim in log.claims] == ["done"]


def test_the_first_interrupt_asks_for_the_end_and_the_second_one_interrupts(lab: Lab) -> None:
    run = lab.launch()
    with sessions.attach(run.root.parent, run.id) as session:
        before = signal.getsignal(signal.SIGINT)
        with CampaignView(session, design.load(run)) as view:
            os.kill(os.getpid(), signal.SIGINT)
            assert view.is_stop_asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before


def test_a_budget_that_is_spent_ends_the_campaign_with_what_is_known(lab: Lab) -> None:
    log = lab.go_on(lab.launch(budget="1min", repetitions=50))
    assert log.stop == "budget"
    assert 0 < len([claim for claim in log.claims if claim.end == "done"]) < 100


def test_a_place_where_clients_are_missing_is_tried_again_and_then_given_up(lab: Lab) -> None:
    def two_are_too_many(block: BlockSession) -> str:
        clients = len(block.inventory.records()) - 1
        return "client-002 has no clock" if clients == 2 else ""

    lab.hosts.lost = two_are_too_many
    run = lab.launch(repetitions=1)
    log = lab.go_on(run)
    failed = [claim for claim in log.claims if claim.clients == 2]
    assert [claim.end for claim in failed] == ["failed"] * blocks.MOST_ATTEMPTS
    (given_up,) = blocks.given_up(design.load(run), log)
    assert "client-002 has no clock" in given_up.why
    (said,) = (line for line in lab.said if line.startswith("GIVEN UP"))
    assert "2 clients base, repetition 1" in said
    assert "client-002 has no clock" in said
    assert log.stop == "repetitions"


def test_blocks_that_never_count_end_the_campaign_with_the_reason(lab: Lab) -> None:
    lab.hosts.lost = lambda _block: "no server"
    with pytest.raises(StageError, match=f"last {campaign_run.FRUITLESS} blocks .*no server"):
        lab.go_on(lab.launch())


def test_a_host_whose_orders_cannot_be_taken_back_is_made_anew_before_the_next_block(
    lab: Lab,
) -> None:
    def once(block: BlockSession) -> str:
        lab.hosts.deaf = {"client-001"} if block.run.root.name == "0001" else set()
        return "client-002 was late" if lab.hosts.deaf else ""

    lab.hosts.lost = once
    run = lab.launch(clients="2", repetitions=2)
    log = lab.go_on(run)
    assert [claim.end for claim in log.claims] == ["failed", "done", "done"]
    asked = [
        event.fields["names"]
        for event in journal.read(run.journal_path).events
        if event.kind == "launch-intent"
    ]
    assert asked == [["client-001"]]


def test_each_repetition_draws_its_clients_anew_and_always_the_same(lab: Lab) -> None:
    run = lab.launch(clients="1", repetitions=8)
    plan = design.load(run)
    with sessions.attach(run.root.parent, run.id) as session:
        drawn = [draw_hosts(session, plan, of_one[0]) for of_one in plan.order]
        assert drawn == [draw_hosts(session, plan, of_one[0]) for of_one in plan.order]
        assert {tuple(hosts) for hosts in drawn} == {
            ("server", "client-001"),
            ("server", "client-002"),
        }


def test_a_block_is_a_run_with_its_own_hosts_and_settings(lab: Lab) -> None:
    run = lab.launch()
    lab.go_on(run)
    for block in campaign_folder.block_runs(run):
        manifest = block.manifest()
        hosts = [row["name"] for row in block.load_json(block.hosts_path)]
        assert manifest["campaign"] == run.id
        assert manifest["parameters"]["clients"] == len(hosts) - 1
        assert manifest["parameters"]["on_shortfall"] == "fail"
        assert manifest["idle_hosts"] == 3 - len(hosts)
    with sessions.attach(run.root.parent, run.id) as session:
        states = session.inventory.names(HostState.CONFIGURED)
    assert states == {"server", "client-001", "client-002"}


def test_a_campaign_is_not_collected_before_its_blocks_were_run(lab: Lab) -> None:
    run = lab.launch()
    with (
        sessions.attach(run.root.parent, run.id) as session,
        pytest.raises(RunError, match="not all of its blocks were run"),
    ):
        phases.collect(session)
    assert "collect" not in progress.read(run).done


def test_a_campaign_that_cannot_go_on_answers_with_what_it_has_and_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        offline, "segment_and_report", lambda _run, executor: said.append("segment and report")
    )
    lab.hosts.lost = lambda block: "" if block.run.root.name == "0001" else "no server"
    run = lab.launch()
    with sessions.attach(run.root.parent, run.id) as session:
        for phase in ("launch", "configure"):
            session.journal.append("phase-done", phase=phase, elapsed_s=1.0)
        with pytest.raises(StageError, match="blocks do not count"):
            phases.run_all(session)
    assert said == ["segment and report"]
    assert lab.provider.hosts(run.id) == []


def test_a_host_that_is_being_taken_back_is_in_no_later_block(
    lab: Lab,
) -> None:
    run = lab.launch(clients="1", repetitions=2)
    with sessions.attach(run.root.parent, run.id) as session:
        plan = design.load(run)
        todo = Todo(planned=plan.order[0][0], number=1, attempt=1)
        block = open_new(session, todo, ["server", "client-002"], {})
        row = {"host": "client-002", "noticed_utc_s": 1.8e9, "reason": "spot"}
        folder.write_json(block.run.interruptions_path, [row])
        with block:
            lab.judge_hosts(session, block, Counter())
        assert session.inventory.get_record("client-002").reason == "taken back: spot"
        assert draw_hosts(session, plan, plan.order[0][0]) == ["server", "client-001"]


@pytest.mark.parametrize(("ticks", "busy_pct"), [(5, 1.5), (1, None)])
def test_each_block_records_how_busy_the_server_was_before_it_or_that_nobody_saw(
    lab: Lab, ticks: int, busy_pct: float | None
) -> None:
    lab.ticks = ticks
    run = lab.launch(clients="1", repetitions=2)
    lab.go_on(run)
    for block in campaign_folder.block_runs(run):
        events = journal.read(block.journal_path).events
        (control,) = (event for event in events if event.kind == "idle-control")
        assert control.fields == {"busy_pct": busy_pct, "ticks": ticks}
    assert any("nobody saw" in line for line in lab.said) == (busy_pct is None)


def test_a_block_that_was_collected_lacks_no_phase_and_one_that_was_not_says_which(
    lab: Lab,
) -> None:
    run = lab.launch()
    lab.go_on(run)
    for block in campaign_folder.block_runs(run):
        found = progress.read(block)
        assert progress.unfinished(found, progress.OF_A_BLOCK) == ""
        without = replace(found, done={"measure": 1.0})
        assert progress.unfinished(without, progress.OF_A_BLOCK) == "collect was not done"


def test_blocks_of_a_fleet_that_is_not_configured_are_refused_and_none_is_claimed(
    lab: Lab,
) -> None:
    with sessions.open_new(settings.load({"clients": "1,2", "name": "bare"})) as session:
        session.inventory.add("server", Role.SERVER)
        session.inventory.add("client-001", Role.CLIENT)
        with pytest.raises(RunError, match="no host is configured yet"):
            phases.measure(session)
        assert log_of(session.run).claims == ()
    assert lab.hosts.begun == {}


@pytest.mark.parametrize("is_of_all", [True, False])
def test_who_is_not_in_a_block_about_all_connected_clients_has_no_tunnel(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, is_of_all: bool
) -> None:
    asked: list[tuple[set[str], set[str]]] = []

    def switch_to(_session: Any, _variant: str, hosts: Any, idle: Any = ()) -> StageResult:
        asked.append(({h.name for h in hosts}, {h.name for h in idle}))
        return StageResult(stage="switch")

    monkeypatch.setattr(switch, "switch_to", switch_to)
    monkeypatch.setattr(block_session, "is_of_all_connected", lambda _session: is_of_all)
    run = lab.launch(repetitions=1)
    lab.go_on(run)
    everybody = {"server", "client-001", "client-002"}
    of_blocks = [set(claim.hosts) for claim in log_of(run).claims]
    assert {len(hosts) for hosts in of_blocks} == {2, 3}
    assert asked == ([(hosts, everybody - hosts) for hosts in of_blocks] if is_of_all else [])


def test_a_host_whose_tunnel_cannot_be_brought_down_is_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def switch_to(_session: Any, _variant: str, hosts: Any, idle: Any = ()) -> StageResult:
        return StageResult(
            stage="switch",
            results=[HostResult(host=h.name, ok=False, reason="stuck") for h in idle],
        )

    monkeypatch.setattr(switch, "switch_to", switch_to)
    monkeypatch.setattr(block_session, "is_of_all_connected", lambda _session: True)
    run = lab.launch(repetitions=1)
    with sessions.attach(run.root.parent, run.id) as session:
        # private: a block that comes so far is measured next, and here is nothing to measure
        lab.campaign(session)._connect_only("base", ["server", "client-001"])
        assert session.inventory.get_record("client-002").reason == "stuck"
