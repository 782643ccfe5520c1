"""A limit of an instance that was in the way of a test is said before its figures, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis import campaign_cells, network_limits
from perfkit.analysis.block_figures import block_rows
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.model import Window
from perfkit.report.answer import compose as compose_answer
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

Count = Callable[[float], int]
PLACE = {"block": 1, "repetition": 1, "clients": 3, "variant": "base"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", clients=3, duration_s=12, shared_cpu=False)


def count(run: Run, host: str, device: str = "eth0", **counters: Count) -> RunLogs:
    """Let a host's card have counted: of each counter, what it says so many seconds after T0."""
    logs = read_run(run)
    offset_s = logs.clocks[host].offset_s(logs.t0_utc_s) if host in logs.clocks else 0.0
    path = run.host_raw_dir(host) / "nic.csv"
    lines = [] if path.exists() else ["epoch,device,counter,count"]
    for second in range(-10, 60):
        epoch_s = logs.t0_utc_s + offset_s + second
        lines += [
            f"{epoch_s:.3f},{device},{name}_allowance_exceeded,{value(second)}"
            for name, value in counters.items()
        ]
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))
    return read_run(run)


def said(run: Run, slot: str) -> list[str]:
    findings = compose(run, with_plots=False).summary.findings
    return [f.text for f in findings if f.where == slot and f.level == "warning"]


def test_a_limit_exceeded_in_the_window_of_a_test_is_a_warning_of_that_test_with_its_figures(
    run: Run,
) -> None:
    first, second = read_run(run).slots
    count(
        run,
        "server",
        bw_out=lambda t: 1000 + 50 * round(np.clip(t - second.start_s, 0, 100)),
        bw_in=lambda t: 7,
        pps=lambda t: 0 if t < first.end_s + 1 else 900,  # between the tests
    )
    assert not [text for text in said(run, first.name) if "limits of instances" in text]
    (text,) = [text for text in said(run, second.name) if "limits of instances" in text]
    (row,) = [r for r in block_rows(run, PLACE) if r["test"] == "tunnel-tcp"]
    packets = 50 * row["window_s"]
    assert row["held_back_packets"] == pytest.approx(packets, abs=51)
    assert row["server_held_back_ratio"] == pytest.approx(1, abs=0.15)  # the edges are samples
    assert "server, bandwidth out: " in text
    assert f"{row['held_back_packets']:.0f} packets in " in text
    assert "the instance's shaper, not of the VPN or the network alone" in text
    assert "bandwidth in" not in text
    assert "packets a second" not in text


def test_the_counters_of_all_hosts_are_looked_at_and_the_worst_comes_first(run: Run) -> None:
    slot = read_run(run).slots[1]
    grow = slot.start_s
    count(run, "client-002", pps=lambda t: 3 * round(max(0, t - grow)))
    count(run, "server", "ens6", bw_in=lambda t: 9 * round(max(0, t - grow)))
    (text,) = [text for text in said(run, slot.name) if "limits of instances" in text]
    assert text.index("server, bandwidth in") < text.index("client-002, packets a second")


def test_a_limit_of_a_client_alone_is_not_the_servers(run: Run) -> None:
    assert np.isnan(block_rows(run, PLACE)[0]["server_held_back_ratio"])
    count(run, "client-001", pps=lambda t: 3 * round(max(0, t)))
    assert np.isnan(block_rows(run, PLACE)[1]["server_held_back_ratio"])
    count(run, "server", pps=lambda t: 7)
    (tunnel,) = [r for r in block_rows(run, PLACE) if r["test"] == "tunnel-tcp"]
    assert tunnel["held_back_packets"] > 0
    assert tunnel["server_held_back_ratio"] == 0


def test_a_counter_that_did_not_grow_or_is_not_there_says_nothing(run: Run) -> None:
    assert np.isnan(block_rows(run, PLACE)[0]["held_back_packets"])
    logs = count(run, "server", bw_out=lambda t: 123456)
    nothing_sampled = Window(start_s=100, end_s=110)  # behind the last sample
    assert np.isnan(network_limits.held_back(logs.limits, nothing_sampled))
    assert "limits" not in str(said(run, read_run(run).slots[1].name))
    assert block_rows(run, PLACE)[0]["held_back_packets"] == 0


def test_traffic_to_the_clouds_own_services_is_a_note_and_no_part_of_the_figure(run: Run) -> None:
    slot = read_run(run).slots[1]
    count(run, "server", linklocal=lambda t: max(0, round(t)))
    assert "limits of instances" not in str(said(run, slot.name))
    findings = compose(run, with_plots=False).summary.findings
    notes = [f for f in findings if f.where == slot.name and f.level == "note"]
    assert "packets to the cloud's own services" in str(notes)
    assert block_rows(run, PLACE)[0]["held_back_packets"] == 0


def test_a_counter_that_begins_anew_counts_from_zero_and_two_cards_add_up(run: Run) -> None:
    count(run, "server", bw_out=lambda t: 5 * round(t + 10) if t < 15 else 5 * round(t - 14))
    logs = count(run, "server", "eth1", bw_out=lambda t: 2 * round(t + 10))
    (found,) = network_limits.exceeded(logs.limits, Window(start_s=10.5, end_s=20.5))
    assert (found.host, found.limit) == ("server", "bw_out")
    assert found.packets == pytest.approx(10 * 5 + 10 * 2, abs=7)
    assert found.seconds == found.samples == 10


def test_a_limit_is_said_as_well_where_the_counters_end_within_the_window(run: Run) -> None:
    logs = count(run, "server", pps=lambda t: round(t + 10))
    window = Window(start_s=10, end_s=20)
    early = logs.limits[logs.limits["t_s"] < 15]
    (found,) = network_limits.exceeded(early, window)
    assert 3 <= found.packets <= 6
    assert network_limits.exceeded(logs.limits[logs.limits["t_s"] > 21], window) == []


def test_the_answer_of_a_campaign_names_cells_in_which_a_limit_was_exceeded(tmp_path: Path) -> None:
    campaign = make_campaign(
        tmp_path / "campaign",
        clients=(2, 4),
        repetitions=2,
        void=(),
        duration_s=12,
        is_reduced=False,
    )
    for block in campaign_cells.finished_blocks(campaign):
        own = Run(campaign.root / block.folder)
        slots = read_run(own).slots
        if len(read_run(own).clients) == 4:
            begin = next(slot.start_s for slot in slots if slot.test == "tunnel-tcp")
            end = begin + 13
            count(
                own, "server", bw_out=lambda t, b=begin, e=end: round(100 * (np.clip(t, b, e) - b))
            )  # type: ignore[misc]
        else:
            count(own, "server", bw_out=lambda t: 0)
    (line,) = [line for line in compose_answer(campaign).warnings if "limits" in line]
    assert line.startswith(
        "tunnel-tcp, N = 4: the network limits of instances were exceeded in 2 of"
    )
    assert "the instance's shaper was measured, not the VPN alone" in line
