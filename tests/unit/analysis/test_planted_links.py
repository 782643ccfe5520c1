"""Links as planted and as counted: one line a group, an interval, and a warning where they differ."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from perfkit.analysis import campaign_cells, campaign_links, links
from perfkit.analysis.block_figures import block_rows
from perfkit.errors import ParseError
from perfkit.logs.links import LinkLog, read_links
from perfkit.logs.reader import read_run
from perfkit.report import link_tables
from perfkit.report.export import to_markdown
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", clients=3, duration_s=12, tests=["direct-tcp"])


def counted(lost: int, passed: int, **more: int) -> dict[str, int]:
    return {"lost_packets": lost, "passed_packets": passed, **more}


def plant(run: Run, hosts: dict[str, Any], not_read: str = "") -> None:
    run.links_path.parent.mkdir(parents=True, exist_ok=True)
    run.links_path.write_text(json.dumps({"hosts": hosts, "not_read": not_read}))


def lossy(ratio: float, to: dict[str, int], back: dict[str, int]) -> dict[str, Any]:
    return {"link": f"loss {ratio}", "loss_ratio": ratio, "to_host": to, "from_host": back}


def test_hosts_of_one_role_with_the_same_link_are_one_row_a_direction(run: Run) -> None:
    same = lossy(0.01, counted(10, 990), counted(0, 0))
    other = lossy(0.01, counted(30, 970), counted(1, 99, queue_drops=7))
    plant(run, {"client-001": same, "client-002": other, "server": lossy(0.1, {}, {})})
    rows = links.link_rows(read_run(run))
    whole = {(row["whose"], row["direction"]): row for row in rows}
    assert len(whole) == 4
    to_clients = whole["2 clients", "to the host"]
    assert to_clients["loss_ratio"] == 0.02  # sum over sum
    assert to_clients["loss_low"] < 0.02 < to_clients["loss_high"]
    assert whole["2 clients", "from the host"]["queue_drops"] == 7
    assert np.isnan(whole["server", "to the host"]["loss_ratio"])


def test_the_interval_of_a_loss_is_clopper_and_pearsons() -> None:
    # 10 of 100: the textbook's 0.0490 to 0.1762.
    assert links.loss_interval(10, 100) == pytest.approx((0.0490, 0.1762), abs=1e-4)
    assert links.loss_interval(0, 100) == pytest.approx((0.0, 0.0362), abs=1e-4)
    assert links.loss_interval(100, 100)[1] == 1.0
    assert all(map(np.isnan, links.loss_interval(0, 0)))


def test_a_loss_that_chance_does_not_explain_is_a_warning_and_chance_is_none(run: Run) -> None:
    chance = Random(1)
    for planted in (0.001, 0.01, 0.05):
        lost = sum(chance.random() < planted for _ in range(20_000))
        plant(run, {"server": lossy(planted, counted(lost, 20_000 - lost), counted(0, 10))})
        assert links.findings(read_run(run)) == []
        plant(run, {"server": lossy(planted, counted(lost * 2, 20_000), counted(0, 10))})
        (finding,) = links.findings(read_run(run))
        assert (finding.where, finding.level) == ("link of server, to the host", "warning")
        assert f"a loss of {100 * planted:g} % was asked for" in finding.text


def test_a_link_that_somebody_on_the_host_has_taken_off_is_a_warning(run: Run) -> None:
    there = counted(0, 100, carried_bytes=9, carried_packets=1, queue_drops=0)
    server = {"link": "50mbit", "rate_bps": 5e7, "to_host": there, "from_host": counted(0, 9)}
    plant(run, {"server": server})
    (warning,) = links.findings(read_run(run))
    assert warning.where == "link of server, from the host"
    assert "rate or delay was not in force any more" in warning.text


def test_a_link_that_carried_more_than_it_was_to_is_a_warning(run: Run) -> None:
    manifest = json.loads(run.manifest_path.read_text())
    manifest["provider_traits"]["can_link"] = True
    run.manifest_path.write_text(json.dumps(manifest))
    logs = read_run(run)
    carried = float(logs.monitor["net_eth0_recv_bps"].max())
    for rate_bps, warnings in ((carried, 0), (carried / 2, 1)):
        link = {"link": "slow", "rate_bps": rate_bps}
        there = {"carried_bytes": 9, "carried_packets": 1, "queue_drops": 0}
        plant(run, {"server": {**link, "to_host": there, "from_host": there}})
        found = links.findings(read_run(run))
        assert len(found) == warnings
        (row, _) = links.link_rows(read_run(run))
        assert row["busiest_bps"] == carried
    manifest["provider_traits"]["can_link"] = False  # it waits in the host, behind its interface
    run.manifest_path.write_text(json.dumps(manifest))
    assert links.findings(read_run(run)) == []


def test_the_planted_rate_is_the_capacity_of_the_servers_link(run: Run) -> None:
    path = run.host_raw_dir("server") / "facts.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "link_speeds_mbps": "eth0=1000"}))
    place = {"block": 1, "repetition": 1, "clients": 3, "variant": "base"}
    plant(run, {"client-001": {"link": "1mbit", "rate_bps": 1e6}})
    assert block_rows(run, place)[0]["link_bps"] == 1e9
    plant(run, {"server": {"link": "50mbit", "rate_bps": 50e6}})
    assert block_rows(run, place)[0]["link_bps"] == 50e6


def test_drops_of_queues_in_the_window_are_those_of_all_devices_that_were_watched(
    run: Run,
) -> None:
    place = {"block": 1, "repetition": 1, "clients": 3, "variant": "base"}
    assert np.isnan(block_rows(run, place)[0].get("queue_drops", np.nan))
    logs = read_run(run)
    offset_s = logs.clocks["server"].offset_s(logs.t0_utc_s)
    lines = ["epoch,device,drops"]
    for second in range(-5, 40):
        epoch_s = logs.t0_utc_s + offset_s + second
        lines.append(f"{epoch_s:.3f},eth0,{1000 + 10 * second}")
        lines.append(f"{epoch_s:.3f},tun0,{5 * (second if second < 6 else second - 6)}")  # anew
    row_slot = logs.slots[0].name
    (run.host_raw_dir("server") / "queues.csv").write_text("\n".join([*lines, ""]))
    (row,) = block_rows(run, place)
    assert row["queue_drops"] == pytest.approx(15 * row["window_s"], abs=5)
    after = {"00-before": {"to_host": {"queue_drops": 100}}}
    after[row_slot] = {"to_host": {"queue_drops": 700}, "from_host": {"queue_drops": 9}}
    run.links_path.parent.mkdir(parents=True, exist_ok=True)
    run.links_path.write_text(
        json.dumps({"hosts": {"server": {"link": "1gbit"}}, "server_after": after})
    )
    (more,) = block_rows(run, place)
    assert more["queue_drops"] == row["queue_drops"] + 600


def test_the_report_has_a_table_of_links_where_there_are_some(run: Run) -> None:
    assert "links" not in compose(run, with_plots=False).tables
    plant(run, {"server": lossy(0.01, counted(100, 9900), counted(1, 99))}, "half of it")
    report = compose(run, with_plots=False)
    assert "1.0000" in to_markdown(report.tables["links"])
    assert "what the links counted was not read: half of it" in str(report.summary.findings)


def test_a_campaigns_links_are_summed_over_the_blocks_that_count(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "campaign",
        clients=(2,),
        repetitions=2,
        void=(1,),
        duration_s=12,
        is_reduced=False,
    )
    assert not link_tables.of_campaign(run).rows
    blocks = campaign_cells.finished_blocks(run)
    counting = [block for block in blocks if not block.void]
    assert 0 < len(counting) < len(blocks)
    for block in blocks:
        lost = 1000 if block.void else 10
        plant(Run(run.root / block.folder), {"server": lossy(0.01, counted(lost, 990), {})})
    (to_server, _) = campaign_links.link_rows(run)
    assert (to_server["whose"], to_server["blocks"]) == ("server", len(counting))
    assert (to_server["lost_packets"], to_server["loss_ratio"]) == (10 * len(counting), 0.01)
    table = link_tables.of_campaign(run)
    assert "1.0000" in to_markdown(table)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"hosts": {"server": {}}}',
        '{"hosts": {"server": {"link": "x", "rate_bps": "NaN"}}}',
        '{"hosts": {"server": {"link": "x", "to_host": {"lost_packets": -1}}}}',
        '{"hosts": {"server": {"link": "x", "to_host": {"lost_packets": 1e30}}}}',
        '{"hosts": {"server": {"link": "x", "loss_ratio": 1.2}}}',
        '{"hosts": {"server": {"link": "x"}}',
    ],
)
def test_a_damaged_record_of_links_is_said_and_the_run_is_read(run: Run, text: str) -> None:
    run.links_path.parent.mkdir(parents=True, exist_ok=True)
    run.links_path.write_text(text)
    with pytest.raises(ParseError, match=r"links\.json"):
        read_links(run.links_path)
    logs = read_run(run)
    assert logs.links.hosts == {}
    assert "no record of links" in logs.links.not_read
    assert len(logs.traffic)


def test_every_cut_of_a_record_of_links_is_an_error_or_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "links.json"
    text = json.dumps({"hosts": {"server": lossy(0.01, counted(1, 9), counted(1, 9))}})
    for end in range(len(text) + 1):
        path.write_text(text[:end])
        if end < len(text):
            with pytest.raises(ParseError):
                read_links(path)
    assert read_links(path) == LinkLog.model_validate_json(text)


def test_what_a_link_without_a_queue_carried_is_not_known_and_not_nothing(run: Run) -> None:
    plant(run, {"server": lossy(0.01, counted(10, 990), counted(0, 10))})
    for row in links.link_rows(read_run(run)):
        assert np.isnan(row["carried_bytes"])
        assert np.isnan(row["queue_drops"])
