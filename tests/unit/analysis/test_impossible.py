"""Logs that say what cannot have happened void their test, and nothing else does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis.checks import nic_findings
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.run_summary import reduce_run
from perfkit.analysis.segments import from_events
from perfkit.analysis.stats import Summary, summarise
from perfkit.analysis.window_figures import Readings
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run, read_truth

DIRECT, TUNNEL = "01-direct-tcp", "02-tunnel-tcp"


def summary_of(logs: RunLogs) -> Summary:
    found = outcomes(logs)
    return summarise(logs, from_events(logs, found), found)


def voids(logs: RunLogs) -> dict[str, str]:
    tests = summary_of(logs).tests
    return {str(slot): str(why) for slot, why in zip(tests["slot"], tests["void"], strict=True)}


def with_traffic(logs: RunLogs, change: Callable[[pd.DataFrame], pd.DataFrame]) -> RunLogs:
    return replace(logs, traffic=change(logs.traffic.copy()))


def again(traffic: pd.DataFrame, rows: Any, **changes: Any) -> pd.DataFrame:
    """The same rows once more, as other streams."""
    more = traffic[np.asarray(rows)].assign(**changes)
    more["stream"] += 1000
    return pd.concat([traffic, more], ignore_index=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs") / "run", clients=6)


@pytest.fixture(scope="module")
def logs(run: Run) -> RunLogs:
    return read_run(run)


def at_server(traffic: pd.DataFrame, slot: str = DIRECT) -> pd.Series[bool]:
    return (traffic["slot"] == slot) & (traffic["log_host"] == "server")


def test_a_good_run_is_not_void(logs: RunLogs) -> None:
    assert voids(logs) == {DIRECT: "", TUNNEL: ""}


def test_a_servers_log_that_stands_twice_is_never_twice_the_goodput(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    log = run.host_raw_dir("server") / f"{DIRECT}.server.log"
    log.write_text(log.read_text() * 2)
    row = summary_of(read_run(run)).tests.iloc[0]
    truth = read_truth(run)["slots"][DIRECT]["goodput_bps"]
    # Void where the reader gives both copies, right where it takes one.
    assert (
        row["void"]
        if np.isnan(row["goodput_bps"])
        else row["goodput_bps"] == pytest.approx(truth, rel=0.01)
    )


def test_a_connection_twice_voids_the_test_and_no_other(logs: RunLogs) -> None:
    summary = summary_of(with_traffic(logs, lambda t: again(t, at_server(t))))
    direct, tunnel = summary.tests.to_dict("records")
    assert (
        "connections of 6 clients (of client-001, client-002, client-003 and 3 more)"
        in direct["void"]
    )
    assert np.isnan(direct["goodput_bps"])
    assert np.isfinite(direct["nic_bps"])  # what the monitor saw is not in doubt
    assert tunnel["void"] == ""
    assert tunnel["goodput_bps"] > 0
    assert np.isnan(tunnel["vs_direct"])
    assert summary.findings[0].where == DIRECT
    assert summary.findings[0].text.startswith("VOID: ")
    assert set(summary.sensitivity["slot"]) == {TUNNEL}
    of_direct = summary.clients[summary.clients["slot"] == DIRECT]
    assert of_direct["goodput_bps"].isna().all()


def test_a_connection_twice_is_void_also_where_no_interface_was_watched(logs: RunLogs) -> None:
    blind = replace(logs, monitor=logs.monitor.iloc[:0])
    assert voids(blind) == {DIRECT: "", TUNNEL: ""}
    assert (
        "in the logs twice" in voids(with_traffic(blind, lambda t: again(t, at_server(t))))[DIRECT]
    )


def test_one_connection_of_many_that_stands_twice_is_a_warning(tmp_path: Path) -> None:
    logs = read_run(make_run(tmp_path / "run", clients=150, tests=("direct-tcp",), duration_s=3))
    summary = summary_of(
        with_traffic(logs, lambda t: again(t, at_server(t) & (t["host"] == "client-007")))
    )
    assert summary.tests["void"].tolist() == [""]
    assert "1 connection (of client-007) stands in the logs twice" in summary.findings[0].text


def test_a_port_that_is_used_again_later_is_another_connection(logs: RunLogs) -> None:
    def later(traffic: pd.DataFrame) -> pd.DataFrame:
        rows = at_server(traffic)
        half = traffic[rows].assign(size_bytes=lambda t: t["size_bytes"] * 0.01)
        half[["t_start_s", "t_end_s"]] += 60.0
        half["stream"] += 1000
        return pd.concat([traffic, half], ignore_index=True)

    assert voids(with_traffic(logs, later))[DIRECT] == ""


def test_a_log_that_is_a_copy_of_another_tests_voids_both(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3, tests=("direct-tcp", "direct-tcp"))
    folder = run.host_raw_dir("server")
    shutil.copy(folder / f"{DIRECT}.server.log", folder / "02-direct-tcp.server.log")
    why = voids(read_run(run))
    assert "with the same figures in 02-direct-tcp" in why[DIRECT]
    assert f"with the same figures in {DIRECT}" in why["02-direct-tcp"]


def test_two_tests_on_the_same_ports_with_other_figures_are_two_tests(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3, tests=("direct-tcp", "direct-tcp"))
    assert set(voids(read_run(run)).values()) == {""}


def test_intervals_of_one_stream_that_overlap_are_void(logs: RunLogs) -> None:
    def over(traffic: pd.DataFrame) -> pd.DataFrame:
        rows = at_server(traffic) & (traffic["kind"] == "interval") & (traffic["start_s"] > 0)
        traffic.loc[rows, "start_s"] -= 0.5
        return traffic

    blind = replace(logs, monitor=logs.monitor.iloc[:0])
    assert "intervals of one stream overlap, by" in voids(with_traffic(blind, over))[DIRECT]


def scaled(slot: str, factor: float, **rows: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def scale(traffic: pd.DataFrame) -> pd.DataFrame:
        own = at_server(traffic, slot)
        for column, value in rows.items():
            own &= traffic[column] == value
        traffic.loc[own, "size_bytes"] *= factor
        return traffic

    return scale


@pytest.mark.parametrize(
    ("slot", "what"), [(DIRECT, "network interface"), (TUNNEL, "tunnel device")]
)
def test_more_than_the_interface_counted_is_void(logs: RunLogs, slot: str, what: str) -> None:
    assert f"server's {what} counted" in voids(with_traffic(logs, scaled(slot, 1.3)))[slot]
    one = scaled(slot, 20.0, host="client-003")  # a line with an absurd size
    assert f"server's {what} counted" in voids(with_traffic(logs, one))[slot]
    assert voids(with_traffic(logs, scaled(slot, 1.05)))[slot] == ""  # within headers


def only(monitor: pd.DataFrame, *names: str) -> pd.DataFrame:
    """A monitor that watched no interface but these."""
    drop = [c for c in monitor if str(c).startswith("net_") and not any(n in str(c) for n in names)]
    return monitor.drop(columns=drop)


def test_an_interface_that_was_not_watched_or_did_not_carry_the_test_voids_nothing(
    logs: RunLogs,
) -> None:
    assert voids(replace(logs, monitor=only(logs.monitor)))[DIRECT] == ""
    idle = logs.monitor.copy()
    idle["net_eth0_recv_bps"] *= 0.001
    assert voids(replace(logs, monitor=idle))[DIRECT] == ""


def test_a_vpn_that_compresses_sends_less_than_arrives_and_is_not_void(logs: RunLogs) -> None:
    squeezed = logs.monitor.copy()
    squeezed["net_eth0_recv_bps"] *= 0.3
    why = voids(replace(logs, monitor=squeezed))
    assert why[DIRECT]
    assert why[TUNNEL] == ""


def test_datagrams_that_were_lost_before_the_server_void_nothing(logs: RunLogs) -> None:
    def lost(traffic: pd.DataFrame) -> pd.DataFrame:
        traffic["protocol"] = "udp"
        traffic.loc[at_server(traffic), "size_bytes"] *= 0.4
        return traffic

    assert voids(with_traffic(logs, lost))[DIRECT] == ""
    # Without the receiver's log, what was sent may be more than what arrived.
    sent = with_traffic(logs, lambda t: lost(t)[~at_server(t)])
    fewer = logs.monitor.copy()
    fewer["net_eth0_recv_bps"] *= 0.5
    assert voids(replace(sent, monitor=fewer))[DIRECT] == ""


def test_traffic_to_the_clients_is_held_against_what_the_server_sent(logs: RunLogs) -> None:
    monitor = logs.monitor.copy()
    monitor[["net_eth0_recv_bps", "net_eth0_send_bps"]] = monitor[
        ["net_eth0_send_bps", "net_eth0_recv_bps"]
    ].to_numpy()

    def reverse(traffic: pd.DataFrame) -> pd.DataFrame:
        # As iperf's -R: the server sends, and each client's own log says what arrived.
        server = (traffic["log_host"] == "server").to_numpy()
        sides = np.where(server, "sender", "receiver")
        return traffic.assign(
            side=pd.Categorical(sides, categories=["sender", "receiver", "unknown"])
        )

    back = replace(with_traffic(logs, reverse), monitor=monitor)
    summary = summary_of(back)
    assert summary.tests["ways"].tolist() == ["send", "send"]
    assert summary.tests["void"].tolist()[0] == ""
    twice = with_traffic(back, lambda t: t.assign(size_bytes=t["size_bytes"] * 2))
    assert "network interface counted" in voids(twice)[DIRECT]


def test_a_monitor_that_was_away_for_part_of_the_test_voids_nothing(logs: RunLogs) -> None:
    half = logs.monitor[(logs.monitor["t_s"] < 9).to_numpy()]
    assert voids(replace(logs, monitor=half))[DIRECT] == ""


def test_a_comparison_and_the_picker_have_no_figure_of_a_void_test(run: Run, logs: RunLogs) -> None:
    twice = with_traffic(logs, lambda t: again(t, at_server(t)))
    found = outcomes(twice)
    (segment, *_) = from_events(twice, found)
    assert segment.steady is not None
    readout = Readings(twice, found).read(DIRECT, segment.steady, edges=True)
    assert str(readout).startswith("VOID (connections of 6 clients")
    assert np.isnan(readout.goodput_bps)


def test_the_report_says_first_that_a_test_is_void_and_shows_no_figure_of_it(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=4)
    path = run.host_raw_dir("server") / "monitor.csv"
    lines = path.read_text().splitlines()
    cut = [re.sub(r"^([\d.]+,(?:[^,]*,){9})([\d.]+),", _halved, line) for line in lines]
    path.write_text("\n".join(cut) + "\n")
    report = compose(run)
    tests = report.tables["tests"].to_frame()
    assert tests["is_void"].tolist() == ["see warnings", "no"]
    assert tests["goodput_bps"].isna().tolist() == [True, False]
    first, *rest = report.text().splitlines()
    assert first.startswith(f"{DIRECT}: void: its logs say what cannot have happened")
    assert any(line.startswith(f"WARNING {DIRECT}: VOID: the logs say that 1.9") for line in rest)
    reduced = reduce_run(run)
    assert not reduced.tests[0].spread
    assert np.isnan(reduced.tests[0].figure("goodput_bps"))
    json.dumps(dict(reduced.tests[1].figures), default=str)


def _halved(match: re.Match[str]) -> str:
    return f"{match[1]}{float(match[2]) / 2:.3f},"


def test_seconds_that_are_placed_otherwise_than_ticks_are_not_said_to_be_missing() -> None:
    (apart,) = nic_findings("a", 0.88, np.nan, np.nan, whole=1.001)
    assert (apart.level, "nothing is missing" in apart.text) == ("note", True)
    for whole in (np.nan, 0.9):
        (missing,) = nic_findings("a", 0.88, np.nan, np.nan, whole=whole)
        assert (missing.level, "was not counted" in missing.text) == ("warning", True)


def test_over_a_whole_test_the_interface_counted_headers_and_no_more(logs: RunLogs) -> None:
    tests = summary_of(logs).tests
    assert tests["nic_ratio_whole"].tolist()[0] == pytest.approx(1.052, abs=0.002)
    assert np.isnan(tests["nic_ratio_whole"].tolist()[1])
