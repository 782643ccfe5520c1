"""Segments sent again, datagrams lost, the busiest core, and what the NIC may count."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from udp_runs import say_of_whole, udp_run

from perfkit.analysis import checks, offered, server_load, transport
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.reader import read, read_run
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

DATA = Path(__file__).parents[2] / "data"


def summary_of(run: Run) -> Summary:
    logs = read_run(run)
    found = outcomes(logs)
    return summarise(logs, from_events(logs, found), found)


def lines(protocol: str, **columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    frame = pd.DataFrame({"kind": "summary", "protocol": protocol, **columns})
    frame["side"] = "sender" if protocol == "tcp" else "receiver"
    return frame.assign(slot="s", log_host="server", stream=range(count), stream_id="1")


def test_retransmits_and_efficiency_come_from_the_senders_summaries() -> None:
    placed = lines(
        "tcp",
        host=["a", "a", "b", "failed"],
        size_bytes=[1e9, 1e9, 2e9, 9e9],
        retransmits=[1000.0, 0.0, 3000.0, 1e6],
    )
    again = placed.assign(kind="interval")  # intervals repeat the summary's count
    figures = transport.tcp_figures(pd.concat([placed, again]), ["a", "b"])
    assert figures["retransmits"] == 4000
    assert figures["retransmits_per_gb"] == 1000
    sent_again = 4000 * 1448
    # RFC 6349: (transmitted - retransmitted) / transmitted, and what is sent again is transmitted.
    assert figures["tcp_efficiency_pct"] == pytest.approx(100 * 4e9 / (4e9 + sent_again))
    assert figures["tcp_senders"] == 2
    assert transport.retransmits_by_host(placed) == {"a": 1000, "b": 3000, "failed": 1e6}


def test_an_unknown_count_of_retransmits_is_not_zero() -> None:
    placed = lines("tcp", host=["a"], size_bytes=[1e9], retransmits=[np.nan])
    assert transport.tcp_figures(placed, ["a"]) == {}
    assert transport.tcp_figures(placed.drop(columns="retransmits"), ["a"]) == {}


def test_loss_is_a_sum_over_a_sum_and_jitter_is_never_added() -> None:
    arrived = lines(
        "udp",
        host=["a", "b", "c"],
        lost=[1.0, 0.0, 5.0],
        datagrams=[10.0, 990.0, 5.0],
        jitter_s=[0.001, 0.002, 0.9],
    )
    figures = transport.udp_figures(arrived, ["a", "b"])
    assert figures["udp_loss_pct"] == pytest.approx(0.1)  # a mean of percentages would say 5
    assert figures["jitter_median_s"] == pytest.approx(0.0015)
    assert figures["jitter_max_s"] == pytest.approx(0.002)
    assert "udp_out_of_order" not in figures
    assert transport.udp_figures(arrived.assign(out_of_order=2.0), ["a"])["udp_out_of_order"] == 2


def test_a_udp_report_that_cannot_be_is_counted_and_in_no_figure() -> None:
    arrived = lines("udp", host=["a", "b"], lost=[-1000.0, 3.0], datagrams=[0.0, 100.0])
    figures = transport.udp_figures(arrived, ["a", "b"])
    assert (figures["udp_loss_pct"], figures["udp_reports_unusable"]) == (3.0, 1)
    assert transport.udp_figures(arrived, ["c"]) == {}


def test_a_stream_without_a_summary_is_the_sum_of_its_intervals() -> None:
    # The client's last word was lost, so the server waits for it and prints no summary.
    arrived = lines(
        "udp",
        host=["a", "a", "b", "b"],
        kind=["interval", "summary", "interval", "interval"],
        lost=[1.0, 2.0, 3.0, 4.0],
        datagrams=[50.0, 100.0, 50.0, 50.0],
        jitter_s=[0.9, 0.001, 0.9, 0.003],
    ).assign(stream=[1, 1, 2, 2])
    figures = transport.udp_figures(arrived, ["a", "b"])
    assert (figures["udp_lost"], figures["udp_datagrams"]) == (9, 200)
    assert figures["jitter_max_s"] == 0.003


@pytest.mark.parametrize(
    ("name", "lost", "datagrams"),
    [
        ("iperf2/udp-server.log", 1, 569),  # 514 and a stream of two intervals without a summary
        ("iperf2_csv/2.2.n-udp-e.server.csv", 1, 264),
    ],
)
def test_loss_in_the_tools_own_words(name: str, lost: int, datagrams: int) -> None:
    frame = read(DATA / name).frame.assign(host="a", slot="s", log_host="server")
    figures = transport.udp_figures(frame, ["a"])
    assert (figures["udp_lost"], figures["udp_datagrams"]) == (lost, datagrams)
    assert 0 < figures["jitter_median_s"] < 1e-4


@pytest.mark.parametrize("whole", ["1211/2381", "39/1209"])
def test_what_a_receiver_counts_beyond_what_was_sent_is_not_lost(
    tmp_path: Path, whole: str
) -> None:
    """iperf took the last datagram, sent again, for others, or for one far ahead."""
    lost = {"client-001": [0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0], "client-002": [1] * 12}
    run = udp_run(tmp_path / "run", lost)
    say_of_whole(run, "30/1200", whole)
    (row,) = summary_of(run).tests.to_dict("records")
    assert (row["udp_lost"], row["udp_datagrams"]) == (42, 2400)
    assert row["loss_ratio"] == 42 / 2400


def test_of_traffic_from_the_server_too_the_clients_count_is_no_bound() -> None:
    placed = lines("udp", host=["a", "a"], lost=[np.nan, 5.0], datagrams=[np.nan, 100.0],
                   size_bytes=[1e4, 95e3]).assign(side=["sender", "receiver"], log_host="a")  # fmt: skip
    arrived = placed.iloc[1:]
    for up, sent in ((True, [10.0]), (False, [])):
        assert offered.datagrams_sent(placed, arrived.assign(up=up)).to_list() == sent


def test_of_a_test_in_which_nothing_arrived_the_loss_is_known_and_the_jitter_is_not() -> None:
    arrived = lines("udp", host=["a"], lost=[7.0], datagrams=[7.0], jitter_s=[0.0])
    figures = transport.udp_figures(arrived, ["a"])
    assert figures["udp_loss_pct"] == 100.0
    assert np.isnan(figures["jitter_max_s"])
    assert transport.udp_figures(arrived.drop(columns="lost"), ["a"]) == {}


def test_the_busiest_core_is_the_one_that_is_busy_over_the_whole_window() -> None:
    ticks = pd.DataFrame(
        {
            "dt_s": [1.0, 1.0],
            "cpu0_idle_pct": [0.0, 100.0],
            "cpu1_idle_pct": [30.0, 20.0],
            "cpu1_wait_pct": [10.0, 10.0],
        }
    )
    found = server_load.busiest_core(ticks)
    assert (found["busiest_core"], found["busiest_core_pct"]) == (1, 65.0)
    assert server_load.busiest_core(ticks[["dt_s"]]) == {}


def test_a_process_that_moves_from_core_to_core_keeps_a_core_busy_in_every_tick() -> None:
    cores = {"cpu0_idle_pct": [0.0, 98.0], "cpu0_user_pct": [100.0, 2.0]}
    cores |= {"cpu1_idle_pct": [96.0, 2.0], "cpu1_user_pct": [4.0, 98.0]}
    ticks = pd.DataFrame({"dt_s": [1.0, 1.0], **cores})
    found = server_load.busiest_core(ticks)
    assert (found["busiest_core_pct"], found["busiest_core_tick_pct"]) == (51.0, 99.0)


def test_a_core_whose_clock_did_not_move_is_not_taken_for_a_full_one() -> None:
    shares = {"cpu0_idle_pct": [90.0, 90.0], "cpu0_user_pct": [10.0, 10.0]}
    still = {"cpu1_idle_pct": [0.0, 95.0], "cpu1_user_pct": [0.0, 5.0]}
    ticks = pd.DataFrame({"dt_s": [1.0, 1.0], **shares, **still})
    found = server_load.busiest_core(ticks)
    assert (found["busiest_core"], found["busiest_core_tick_pct"]) == (0, 10.0)


def with_nic_and_retransmits(run: Run, nic_factor: float, retransmits: str) -> Run:
    """The same run, its NIC counting so many times as much, each client so many retransmits."""
    monitor = run.host_raw_dir("server") / "monitor.csv"
    text = monitor.read_text().splitlines()
    for place, line in enumerate(text):
        cells = line.split(",")
        if cells[0][:1].isdigit():
            cells[10] = f"{float(cells[10]) * nic_factor:.3f}"
            text[place] = ",".join(cells)
    monitor.write_text("\n".join(text) + "\n")
    for log in run.raw_dir.glob("client-*/02-tunnel-tcp.log"):
        changed = re.sub(r"20/0( +)2 ", rf"20/0\g<1>{retransmits} ", log.read_text())
        log.write_text(changed)
    return run


def nic_findings(run: Run) -> list[tuple[str, str]]:
    found = summary_of(run).findings
    return [(f.level, f.text) for f in found if f.where == "02-tunnel-tcp" and "NIC" in f.text]


def test_a_saturated_tunnel_whose_segments_were_sent_again_does_not_cry_wolf(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=2, rate_mbps=400.0)
    # Each client moves 100 Mbit/s for 10 s, 125 MB: 30,000 segments of 1448 bytes are a third.
    ((level, text),) = nic_findings(with_nic_and_retransmits(run, 1.25, "30000"))
    assert level == "note"
    assert re.search(
        r"counted 1\.3\d times the goodput: headers explain up to 1\.15, segments sent again up to "
        r"0\.[34]\d more$",
        text,
    )


def test_what_retransmits_do_not_explain_stays_a_warning_that_says_how_much(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=2, rate_mbps=400.0)
    ((level, text),) = nic_findings(with_nic_and_retransmits(run, 1.9, "3000"))
    assert level == "warning"
    assert re.search(r"again up to 0\.0\d more, and at least 0\.9\d is not explained$", text)


def test_datagrams_lost_behind_the_nic_explain_what_it_counted() -> None:
    (said,) = checks.nic_findings("02-tunnel-udp", 3.82, np.nan, 0.775)
    assert said.level == "note"
    assert said.text.endswith(
        "UDP lost 77.5% of its datagrams, some after the NIC had counted them"
    )
    (said,) = checks.nic_findings("02-tunnel-udp", 3.82, np.nan, 0.2)
    assert said.level == "warning"
    assert said.text.endswith("and that UDP lost 20.0% of them not the rest")


def test_a_healthy_run_says_nothing_of_its_nic(tmp_path: Path) -> None:
    assert nic_findings(make_run(tmp_path / "run", clients=2)) == []
