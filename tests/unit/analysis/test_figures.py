"""Rates, counters, outcomes and statistics against figures that are known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.analysis import confidence, counters, rates
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.slot_figures import quantiles
from perfkit.analysis.stats import Summary, summarise, unequal_clients, with_ratio_to_direct
from perfkit.logs.reader import read_run
from perfkit.model import Window
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run, read_truth

W = Window(start_s=10.0, end_s=20.0)


def intervals(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["host", "t_start_s", "t_end_s", "size_bytes"])


def summary_of(run: Run) -> Summary:
    logs = read_run(run)
    found = outcomes(logs)
    return summarise(logs, from_events(logs, found), found)


def test_an_interval_that_a_border_cuts_gives_its_share() -> None:
    got = rates.bytes_by_host(
        intervals(("a", 9, 11, 100), ("a", 19.5, 20.5, 40), ("b", 0, 9, 7)), W
    )
    assert got.to_dict() == {"a": 70.0, "b": 0.0}


@given(
    st.lists(
        st.tuples(st.floats(5, 24), st.floats(0.01, 4), st.floats(0, 1e9)), min_size=1, max_size=30
    )
)
def test_the_sum_over_hosts_and_the_integral_over_time_agree(
    rows: list[tuple[float, float, float]],
) -> None:
    frame = intervals(*(("a", begin, begin + length, size) for begin, length, size in rows))
    by_host = rates.bytes_by_host(frame, W).sum()
    by_time = rates.bytes_in(frame, np.array([W.start_s]), np.array([W.end_s]))[0]
    assert by_time == pytest.approx(by_host, rel=1e-6, abs=1.0)


def test_rates_of_unaligned_streams_are_added_only_where_they_overlap() -> None:
    # Two streams of 80 bit/s, five seconds apart: each averages 80, together 160 only half the time.
    frame = intervals(("a", 5, 15, 100), ("a", 10, 20, 100))
    (per_second,) = rates.per_second_bps(frame, W, ["a"])
    assert per_second.tolist() == pytest.approx([160.0] * 5 + [80.0] * 5)


def test_each_host_has_a_row_of_its_own_in_the_order_asked_for() -> None:
    rows = [("b", 10, 15, 100), ("a", 5, 15, 100), ("b", 14, 20, 60), ("a", 12, 16, 32)]
    frame = intervals(*rows).astype({"host": "category"})
    of_all = rates.per_second_bps(frame, W, ["a", "silent", "b"])
    alone = [rates.per_second_bps(frame[frame["host"] == host], W, [host])[0] for host in "ab"]
    assert of_all[[0, 2]].tolist() == [it.tolist() for it in alone]
    assert of_all[0].tolist() == pytest.approx([80.0, 80.0, 144.0, 144.0, 144.0, 64.0, 0, 0, 0, 0])
    assert not of_all[1].any()


def test_jains_index_is_one_over_n_when_one_takes_all_and_keeps_clients_at_zero() -> None:
    assert rates.jain_index(np.array([5.0, 5.0, 5.0])) == pytest.approx(1.0)
    assert rates.jain_index(np.array([9.0, 0.0, 0.0])) == pytest.approx(1 / 3)
    assert np.isnan(rates.jain_index(np.zeros(3)))


def test_batch_means_see_that_neighbours_are_alike() -> None:
    chance = np.random.default_rng(1)
    walk = np.repeat(chance.normal(100, 10, 30), 30)  # thirty seconds alike each
    naive = walk.std(ddof=1) / np.sqrt(len(walk))
    assert confidence.choose_batches(walk).error(walk) > 3 * naive
    independent = chance.normal(100, 10, 900)
    found = confidence.choose_batches(independent).error(independent)
    assert found == pytest.approx(10 / 30, rel=0.5)


def test_only_whole_ticks_in_the_window_count() -> None:
    monitor = pd.DataFrame(
        {"t_s": [10.5, 11.5, 20.0, 20.5], "dt_s": [1, 1, 8.5, 0.5], "x": [9, 1.0, 3.0, 9]}
    )
    rows = counters.in_window(monitor, W)
    assert rows["x"].tolist() == [1.0, 3.0]
    mean, _ = counters.mean_and_sd(rows, "x")
    assert mean == pytest.approx((1 * 1 + 3 * 8.5) / 9.5)  # weighted by time, not by row
    assert counters.coverage(monitor, W) == 1.0
    assert np.isnan(counters.mean_and_sd(rows, "no such column")[0])


def test_how_many_ticks_a_mean_stands_on_is_known_also_where_some_were_missed(
    tmp_path: Path,
) -> None:
    whole = summary_of(make_run(tmp_path / "whole", clients=2)).tests.iloc[0]
    holed = summary_of(make_run(tmp_path / "holed", clients=2, missed_ticks=[9, 10])).tests.iloc[0]
    assert whole["monitor_ticks"] - holed["monitor_ticks"] == 2
    assert holed["nic_bps"] == pytest.approx(whole["nic_bps"], rel=1e-3)


def test_the_spread_over_ticks_is_the_samples_and_of_both_ways_together() -> None:
    ticks = pd.DataFrame(
        {"dt_s": [1.0] * 4, "up": [1.0, 2.0, 4.0, 9.0], "down": [9.0, 8.0, 6.0, 1.0]}
    )
    assert counters.mean_and_sd(ticks, "up") == pytest.approx((4.0, ticks["up"].std(ddof=1)))
    assert counters.mean_and_sd(ticks, "up", "down") == pytest.approx((10.0, 0.0))
    mean, sd = counters.mean_and_sd(ticks[:1], "up")
    assert mean == 1.0
    assert np.isnan(sd)  # one tick has no spread, which is not the same as none


def test_cpu_seconds_are_interpolated_and_survive_a_restart() -> None:
    process = pd.DataFrame(
        {
            "t_s": [9.0, 11.0, 14.0, 16.0, 21.0],
            "pid": [1, 1, 1, 2, 2],
            "cpu_s": [1.0, 3.0, 6.0, 0.0, 5.0],
        }
    )
    assert counters.cpu_seconds(process, W) == pytest.approx((6 - 2) + (4 - 0))
    assert np.isnan(counters.cpu_seconds(process, Window(start_s=0.0, end_s=20.0)))


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Summary, dict[str, Any]]:
    run = make_run(
        tmp_path_factory.mktemp("runs") / "sick",
        clients=12,
        seed=7,
        failed={
            "client-002": "refused",
            "client-003": "absent",
            "client-004": "killed",
            "client-005": "quiet",
        },
        clock_offset_s={"client-001": 2.5, "client-006": -3.0, "server": -0.7},
        missed_ticks=[9, 10],
    )
    return run, summary_of(run), read_truth(run)["slots"]


def test_known_totals_come_out(sick: tuple[Run, Summary, dict[str, Any]]) -> None:
    _, summary, truth = sick
    for row in summary.tests.to_dict("records"):
        known = truth[row["slot"]]
        assert row["goodput_bps"] == pytest.approx(known["goodput_bps"], rel=3e-4)
        assert row["window_start_s"] == pytest.approx(known["steady_s"][0], abs=2e-3)
        assert row["window_end_s"] == pytest.approx(known["steady_s"][1], abs=2e-3)
        assert row["nic_ratio"] == pytest.approx(known["nic_ratio"], rel=3e-3)


def test_known_figures_of_each_client_come_out(sick: tuple[Run, Summary, dict[str, Any]]) -> None:
    _, summary, truth = sick
    for slot, known in truth.items():
        own = summary.clients[(summary.clients["slot"] == slot) & summary.clients["ok"]]
        got = dict(zip(own["host"], own["goodput_bps"], strict=True))
        assert got == pytest.approx(known["per_client_bps"], rel=2e-3)
        assert own["share"].sum() == pytest.approx(1.0)


def test_the_cpu_cost_of_the_tunnel_comes_out(sick: tuple[Run, Summary, dict[str, Any]]) -> None:
    _, summary, truth = sick
    tunnel = summary.tests.set_index("slot").loc["02-tunnel-tcp"]
    known = truth["02-tunnel-tcp"]["cpu_s_per_gbit"]
    # A killed client's bytes cost CPU too, and are in this divisor.
    assert tunnel["vpn_cpu_s_per_gbit"] == pytest.approx(known, rel=5e-3)
    assert 0.4 < tunnel["vs_direct"] < 0.6
    assert tunnel["direct_slot"] == "01-direct-tcp"


def test_every_client_is_in_the_table_and_the_failed_ones_say_why(
    sick: tuple[Run, Summary, dict[str, Any]],
) -> None:
    _, summary, _ = sick
    last = summary.clients[summary.clients["slot"] == "02-tunnel-tcp"].set_index("host")
    assert len(last) == 12
    assert last.index[~last["ok"]].tolist() == [f"client-00{i}" for i in (2, 3, 4, 5)]
    assert (
        last.loc["client-002", "reason"] == "exit status 1: tcp connect failed: Connection refused"
    )
    assert last.loc["client-003", "reason"] == "UnreachableError: no answer"
    assert "killed or lost" in last.loc["client-004", "reason"]
    assert "receiver saw no traffic" in last.loc["client-005", "reason"]
    first = summary.tests.iloc[0]
    assert (first["clients_expected"], first["clients_seen"], first["clients_failed"]) == (12, 9, 3)


def test_the_distribution_is_over_the_clients_that_count(
    sick: tuple[Run, Summary, dict[str, Any]],
) -> None:
    _, summary, truth = sick
    for row in summary.tests.to_dict("records"):
        values = np.array(list(truth[row["slot"]]["per_client_bps"].values()))
        assert row["client_mean_bps"] == pytest.approx(values.mean(), rel=1e-3)
        assert row["client_median_bps"] == pytest.approx(np.quantile(values, 0.5), rel=2e-3)
        assert row["client_p25_bps"] == pytest.approx(np.quantile(values, 0.25), rel=2e-3)
        assert np.isnan(row["client_p5_bps"])  # of nine clients
        assert row["jain"] == pytest.approx(rates.jain_index(values), rel=1e-3)


@pytest.mark.parametrize(
    ("clients", "missing"),
    [
        (1, {"p5", "p25", "p75", "p95"}),
        (2, {"p5", "p25", "p75", "p95"}),
        (4, {"p5", "p95"}),
        (19, {"p5", "p95"}),
        (20, set()),
    ],
)
def test_a_quantile_is_shown_where_there_are_clients_enough_to_have_one(
    clients: int, missing: set[str]
) -> None:
    values = np.arange(1.0, clients + 1)
    found = quantiles(values)
    assert {name for name, value in found.items() if np.isnan(value)} == missing
    assert found["median"] == np.median(values)
    if clients == 20:
        assert found["p5"] == pytest.approx(np.quantile(values, 0.05))


def test_bytes_of_a_client_that_was_killed_are_reported_and_not_in_the_total(
    sick: tuple[Run, Summary, dict[str, Any]],
) -> None:
    _, summary, _ = sick
    texts = [f.text for f in summary.findings if f.where == "02-tunnel-tcp"]
    assert any(text.startswith("failed clients moved") for text in texts)
    assert any("4 of 12 clients failed: client-002 (exit status 1" in text for text in texts)


def test_without_the_servers_log_figures_are_the_senders_and_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    (run.host_raw_dir("server") / "01-direct-tcp.server.log").unlink()
    summary = summary_of(run)
    row = summary.tests.iloc[0]
    assert row["side"] == "sender"
    assert row["goodput_bps"] == pytest.approx(
        read_truth(run)["slots"]["01-direct-tcp"]["goodput_bps"], rel=1e-3
    )
    assert any("no receiver's log" in f.text for f in summary.findings)


def test_a_server_that_is_not_ours_has_no_load_and_needs_no_log(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    timetable = json.loads(run.timetable_path.read_text())
    timetable["slots"][0]["server"] = "192.0.2.1"
    run.timetable_path.write_text(json.dumps(timetable))
    (run.host_raw_dir("server") / "01-direct-tcp.server.log").unlink()
    summary = summary_of(run)
    row = summary.tests.iloc[0]
    assert row["side"] == "sender"
    assert np.isnan(row["nic_bps"])
    assert not any("server's log is missing" in f.text for f in summary.findings)


def test_bits_taken_for_bytes_are_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    path = run.host_raw_dir("server") / "monitor.csv"
    path.write_text(path.read_text().replace("--bytes ", ""))
    summary = summary_of(run)
    assert any("bits were taken for bytes" in f.text for f in summary.findings)


def test_a_run_in_which_nobody_counts_has_no_figures_and_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=3)
    records = run.raw_dir.glob("client*/*.events.json")
    for path in [*records, *run.raw_dir.glob("server/*.server.log")]:
        path.unlink()
    summary = summary_of(run)
    assert "goodput_bps" not in summary.tests or summary.tests["goodput_bps"].isna().all()
    assert any("no client counts" in f.text for f in summary.findings)


def test_a_client_that_stops_early_fails_instead_of_shrinking_the_window(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    path = run.host_raw_dir("client-002") / "01-direct-tcp.events.json"
    event = json.loads(path.read_text())
    path.write_text(json.dumps({**event, "end_utc_s": event["start_utc_s"] + 1.0}))
    logs = read_run(run)
    found = outcomes(logs).set_index(["slot", "host"])
    assert found.loc[("01-direct-tcp", "client-002"), "reason"].startswith("ended after 1.0 s")
    segment = from_events(logs, found.reset_index())[0]
    assert segment.steady is not None
    assert segment.steady.length_s > 9


def test_a_client_that_ran_as_long_as_planned_is_not_short_beside_those_that_lingered(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=3, duration_s=2)
    for name in ("client-002", "client-003"):
        path = run.host_raw_dir(name) / "01-direct-tcp.events.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "end_utc_s": record["end_utc_s"] + 4}))
    found = outcomes(read_run(run))
    assert found[found["slot"] == "01-direct-tcp"]["ok"].all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start_utc_s": None}, "never started"),
        ({"exit_status": None}, "no end was recorded"),
        ({"exit_status": 137}, "exit status 137"),
    ],
)
def test_a_record_says_why_a_client_failed(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    run = make_run(tmp_path / "run", clients=2)
    path = run.host_raw_dir("client-001") / "01-direct-tcp.events.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = outcomes(read_run(run)).set_index(["slot", "host"])
    assert reason in found.loc[("01-direct-tcp", "client-001"), "reason"]


def test_a_client_cut_off_at_its_limit_counts_if_it_had_sent_over_the_whole_time(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=4, failed={"client-004": "killed"})
    for host in ("client-001", "client-004"):
        path = run.host_raw_dir(host) / "02-tunnel-tcp.events.json"
        event = json.loads(path.read_text())
        end = event["planned_end_utc_s"] + 3.0
        path.write_text(json.dumps({**event, "timed_out": True, "end_utc_s": end}))
    found = outcomes(read_run(run)).set_index(["slot", "host"])
    whole, half = (found.loc[("02-tunnel-tcp", host)] for host in ("client-001", "client-004"))
    assert (whole["ok"], whole["cut_off"]) == (True, True)
    assert (half["ok"], half["cut_off"]) == (False, False)
    assert half["reason"] == "ended at its time limit"
    assert any(
        "1 of 4 clients still had data on the way" in f.text for f in summary_of(run).findings
    )


def test_a_udp_clients_server_report_is_not_counted_twice() -> None:
    rows = lines_of(
        ("server", 0, "1", "receiver", "interval", 5001, 30000),
        ("client", 0, "1", "sender", "interval", 30000, 5001),
        ("client", 0, "1", "receiver", "summary", 30000, 5001),
        ("client", 1, "2", "sender", "interval", 30001, 5001),
        ("client", 1, "*2", "receiver", "interval", 30001, 5001),
    )
    kept, side = rates.receiver_rows(rows, "server")
    assert side == "receiver"
    assert kept["stream_id"].tolist() == ["1", "*2"]
    assert kept["up"].tolist() == [True, False]
    alone, _ = rates.receiver_rows(rows.iloc[1:3], "server")
    assert alone["kind"].tolist() == ["summary"]
    assert alone["up"].tolist() == [True]


def lines_of(*rows: tuple[str, int, str, str, str, int, int]) -> pd.DataFrame:
    """Lines of one slot and one client."""
    columns = ["log_host", "stream", "stream_id", "side", "kind", "local_port", "peer_port"]
    return pd.DataFrame(rows, columns=columns).assign(slot="s", host="client")


def test_both_ways_at_once_each_way_counts_where_it_arrived_and_once() -> None:
    # iperf3 --bidir: the client's log has the server's total of what it sent as well.
    rows = lines_of(
        ("client", 0, "5", "sender", "interval", 30000, 5201),
        ("client", 0, "5", "receiver", "summary", 30000, 5201),
        ("client", 1, "7", "receiver", "interval", 30001, 5201),
        ("client", 1, "7", "sender", "summary", 30001, 5201),
        ("server", 0, "5", "receiver", "interval", 5201, 30000),
        ("server", 1, "6", "sender", "interval", 5201, 30001),
    )
    kept, _ = rates.receiver_rows(rows, "server")
    assert list(zip(kept["log_host"], kept["up"], strict=True)) == [
        ("client", False),
        ("server", True),
    ]
    without_server, _ = rates.receiver_rows(rows.iloc[:4], "server")
    assert without_server["up"].tolist() == [True, False]


def test_a_connection_whose_ports_one_log_lacks_is_counted_once() -> None:
    rows = lines_of(
        ("client", 0, "5", "sender", "interval", 0, 0),
        ("client", 0, "5", "receiver", "summary", 0, 0),
        ("server", 0, "5", "receiver", "interval", 5201, 30000),
    )
    kept, _ = rates.receiver_rows(rows, "server")
    assert kept["log_host"].tolist() == ["server"]


def test_where_nobody_says_what_arrived_the_senders_lines_are_taken() -> None:
    rows = lines_of(("client", 0, "5", "sender", "interval", 30000, 5201))
    kept, side = rates.receiver_rows(rows, "server")
    assert (side, kept["up"].tolist()) == ("sender", [True])


def test_the_resolution_is_the_length_that_half_of_the_bytes_come_in() -> None:
    fine = intervals(("a", 0, 1, 40), ("a", 1, 2, 40), ("b", 0, 10, 20))
    assert rates.resolution_s(fine) == 1.0
    assert rates.resolution_s(fine.assign(size_bytes=[1, 1, 90])) == 10.0
    assert np.isnan(rates.resolution_s(fine.iloc[:0]))


def test_clients_that_move_next_to_nothing_are_counted_in_a_warning(tmp_path: Path) -> None:
    logs = read_run(make_run(tmp_path / "run", clients=5, seed=3))
    traffic = logs.traffic.copy()
    starved = (traffic["host"] == "client-003").to_numpy()
    traffic.loc[starved, ["size_bytes", "throughput_bps"]] = 0.0
    logs = replace(logs, traffic=traffic)
    found = outcomes(logs)
    summary = summarise(logs, from_events(logs, found), found)
    assert set(summary.tests["clients_starved"]) == {1}
    assert sum(
        "1 client moved nothing in the steady window" in f.text for f in summary.findings
    ) == len(logs.slots)
    assert "Jain's index (client-003)" in str(summary.findings)
    assert "moved nothing" not in str(summary_of(make_run(tmp_path / "well", clients=5)).findings)


@pytest.mark.parametrize(
    ("shares", "dominant"),
    [
        ([5, 1, 1, 1, 1, 1], "c0"),  # half of all
        ([4.9, 1.1, 1, 1, 1, 1], ""),
        ([1, 1], ""),
        ([65, 35], ""),  # of two clients one has half
        ([9, 1], "c0"),
        ([50, 25, 25], ""),
        ([70, 15, 15], "c0"),
        ([300, *[2.9] * 999], "c0"),  # no half, but a hundred times the median
        ([1, 0, 0, 0, 0], "c0"),
        ([0, 0, 0], ""),
        ([7], ""),
    ],
)
def test_a_client_that_takes_most_of_the_goodput_is_named(
    shares: list[float], dominant: str
) -> None:
    names = [f"c{number}" for number in range(len(shares))]
    found = unequal_clients(pd.Series(np.array(shares, dtype=np.float64), index=names))
    assert found["dominant_named"] == dominant


def test_a_client_that_takes_half_is_a_warning_as_one_that_starves_is(tmp_path: Path) -> None:
    logs = read_run(make_run(tmp_path / "run", clients=5, seed=3))
    traffic = logs.traffic.copy()
    one = ((traffic["host"] == "client-003") & (traffic["slot"] == "01-direct-tcp")).to_numpy()
    traffic.loc[one, ["size_bytes", "throughput_bps"]] *= 8.0
    # Nobody watched the interface, which would say that so much cannot have arrived.
    logs = replace(logs, traffic=traffic, monitor=logs.monitor.iloc[:0])
    found = outcomes(logs)
    summary = summarise(logs, from_events(logs, found), found)
    (said,) = (f for f in summary.findings if "of the goodput of 5 clients" in f.text)
    assert (said.level, said.where) == ("warning", "01-direct-tcp")
    assert re.match(r"client-003 moved [67]\d% of the goodput", said.text)


def test_a_tunnel_is_held_against_the_direct_test_of_its_name_or_one_like_it() -> None:
    tests = pd.DataFrame(
        [
            ("01-direct-tcp", "direct-tcp", "direct", "tcp", "recv", 900.0),
            ("02-direct-udp", "direct-udp", "direct", "udp", "recv", 5.0),
            ("03-tunnel-udp", "tunnel-udp", "tunnel", "udp", "recv", 4.0),
            ("04-tunnel-tcp-p2", "tunnel-tcp-p2", "tunnel", "tcp", "recv", 450.0),
            ("05-tunnel-both", "tunnel-both", "tunnel", "tcp", "recv+send", 450.0),
        ],
        columns=["slot", "test", "path", "protocol", "ways", "goodput_bps"],
    ).assign(clients_counted=3)
    found = with_ratio_to_direct(tests)
    # Neither TCP over what UDP was told to send, nor two directions over one.
    partners = ["", "", "02-direct-udp", "01-direct-tcp", ""]
    assert found["direct_slot"].tolist() == partners
    assert found["vs_direct"].fillna(0).tolist() == [0, 0, 0.8, 0.5, 0]
    assert found["direct_clients"].fillna(0).tolist() == [0, 0, 3, 3, 0]


@pytest.mark.parametrize("late_s", [2.0, -3.0])
def test_a_client_without_traffic_in_part_of_the_steady_window_is_named(
    tmp_path: Path, late_s: float
) -> None:
    logs = read_run(make_run(tmp_path / "run", clients=5))
    traffic = logs.traffic.copy()
    # Its script ran from the first to the last second of the test; its iperf did not.
    other = ((traffic["host"] == "client-003") & (traffic["slot"] == "02-tunnel-tcp")).to_numpy()
    traffic.loc[other, ["t_start_s", "t_end_s"]] += late_s
    logs = replace(logs, traffic=traffic)
    found = outcomes(logs)
    summary = summarise(logs, from_events(logs, found), found)
    assert summary.tests["clients_part_time"].tolist() == ["", "client-003"]
    (said,) = (f for f in summary.findings if "active in the whole window" in f.text)
    assert (said.level, said.where) == ("warning", "02-tunnel-tcp")
    assert re.search(r"the traffic of client-003 began .* by up to [123]\.\d s;", said.text)


def test_a_client_whose_start_is_not_known_well_is_counted_and_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4, duration_s=6)
    events = run.host_raw_dir("client-002") / "01-direct-tcp.events.json"
    record = json.loads(events.read_text())
    # As iperf 2 does now and then, a second longer than its traffic; when it said its last was not
    # recorded by earlier versions. Before the traffic, or after it?
    del record["last_output_utc_s"]
    events.write_text(json.dumps({**record, "end_utc_s": record["end_utc_s"] + 1.0}))
    summary = summary_of(run)
    assert summary.tests["clients_unsure"].tolist() == [1, 0]
    said = [f.text for f in summary.findings if f.text.startswith("when the traffic of")]
    assert len(said) == 1
    assert "of 1 client began" in said[0]


@pytest.mark.parametrize(
    "lines", [["3.0000-4.0000"], ["2.0000-3.0000", "3.0000-4.0000", "7.0000-8.0000"]]
)
def test_bytes_of_a_line_that_was_lost_are_in_its_time_and_not_behind_the_test(
    tmp_path: Path, lines: list[str]
) -> None:
    run = make_run(tmp_path / "run", clients=4)
    truth = read_truth(run)["slots"]["01-direct-tcp"]["goodput_bps"]
    log = run.host_raw_dir("server") / "01-direct-tcp.server.log"
    kept = [t for t in log.read_text().splitlines() if not any(f"{n} sec" in t for n in lines)]
    log.write_text("\n".join(kept) + "\n")
    row = summary_of(run).tests.iloc[0]
    assert row["goodput_bps"] == pytest.approx(truth, rel=0.005)


def test_small_packets_are_not_held_against_a_direct_test_of_large_ones() -> None:
    tests = pd.DataFrame(
        [
            ("01-direct-udp", "direct-udp", "udp", "direct", 1e6),
            ("02-tunnel-pps", "tunnel-pps", "pps", "tunnel", 35e6),
            ("03-tunnel-udp-p2", "tunnel-udp-p2", "udp", "tunnel", 5e5),
        ],
        columns=["slot", "test", "kind", "path", "goodput_bps"],
    ).assign(protocol="udp", ways="recv", clients_counted=1)
    found = with_ratio_to_direct(tests)
    assert found["direct_slot"].tolist() == ["", "", "01-direct-udp"]
    assert found["vs_direct"].fillna(0).tolist() == [0, 0, 0.5]
