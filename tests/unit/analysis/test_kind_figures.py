"""Figures of kinds of tests, from samples and traffic of which the truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis import kind_figures, segments
from perfkit.analysis.offered import packet_figures
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.logs.reader import read_run
from perfkit.model import TestKind
from perfkit.runs.folder import Run
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import rows, sampled_run


def figures(run: Run) -> dict[str, float]:
    logs = read_run(run)
    found = outcomes(logs)
    (row,) = summarise(logs, segments.current(run, logs, found), found).tests.to_dict("records")
    return {str(key): value for key, value in row.items()}


def latency_log(load_from_s: float, until_s: float, *, lost: int = 0, load: float = 1e6) -> str:
    """A round trip of 1 to 100 ms before load, all of 0.5 s under it."""
    free = [
        (5.3 + 0.01 * n, "rtt_s", None if n < lost else (n + 1) / 1000, "unloaded")
        for n in range(100)
    ]
    busy = [(t, "rtt_s", 0.5, "loaded") for t in np.arange(load_from_s, until_s, 0.25).tolist()]
    return rows(T0_UTC_S, *free, *busy, (until_s, "load_bps", load, "loaded"))


def test_latency_is_told_without_load_with_it_and_by_how_much_it_rises(tmp_path: Path) -> None:
    logs = {f"client-00{n}": latency_log(10.0, 14.0) for n in (1, 2)}
    found = figures(sampled_run(tmp_path / "run", TestKind.LATENCY, logs))
    assert found["rtt_median_s"] == pytest.approx(0.0505)
    assert found["rtt_p99_s"] == pytest.approx(
        np.quantile(np.repeat(np.arange(1, 101), 2), 0.99) / 1000
    )
    assert found["rtt_loaded_median_s"] == 0.5
    assert found["rtt_added_s"] == pytest.approx(0.5 - 0.0505)
    assert found["rtt_lost_ratio"] == 0.0
    assert found["load_bps"] == 2e6


def test_lost_round_trips_are_in_no_quantile_but_in_the_ratio_of_all(tmp_path: Path) -> None:
    logs = {"client-001": latency_log(10.0, 14.0, lost=29)}
    found = figures(sampled_run(tmp_path / "run", TestKind.LATENCY, logs))
    assert found["rtt_median_s"] == pytest.approx(0.065)
    assert found["rtt_lost_ratio"] == pytest.approx(29 / (100 + 16))
    run = read_run(Run(tmp_path / "run"))
    (warning,) = kind_figures.findings(run, run.slots[0])
    assert warning.text.startswith("29% of the round trips without load did not come back")


def test_streams_that_carried_nothing_are_named_and_without_any_nothing_was_loaded(
    tmp_path: Path,
) -> None:
    free, busy = latency_log(10.0, 14.0, load=0.0), latency_log(10.0, 14.0)
    one = sampled_run(tmp_path / "one", TestKind.LATENCY, {"client-001": busy, "client-002": free})
    logs = read_run(one)
    (warning,) = kind_figures.findings(logs, logs.slots[0])
    assert "of 1 of 2 clients carried nothing (client-002)" in warning.text
    assert figures(one)["rtt_loaded_median_s"] == 0.5
    none = sampled_run(tmp_path / "none", TestKind.LATENCY, {"client-001": free})
    logs = read_run(none)
    (warning,) = kind_figures.findings(logs, logs.slots[0])
    assert warning.text.startswith("no client's TCP stream carried anything")
    assert np.isnan(figures(none)["rtt_loaded_median_s"])
    assert figures(none)["rtt_median_s"] == pytest.approx(0.0505)


def test_a_phase_ends_for_all_when_the_first_client_goes_on_to_the_next(tmp_path: Path) -> None:
    # The second client loads from 5.8 s on, so what the first saw from there on was not without load;
    # and what it saw under load before the first one loads was not yet with all of it.
    early = latency_log(5.8, 14.0).replace(",0.5,loaded", ",0.25,loaded", 16)
    logs = {"client-001": latency_log(10.0, 14.0), "client-002": early}
    found = figures(sampled_run(tmp_path / "run", TestKind.LATENCY, logs))
    assert found["rtt_p99_s"] < 0.052
    assert found["rtt_loaded_median_s"] == 0.5


def test_requests_are_counted_in_the_window_and_failures_beside_them(tmp_path: Path) -> None:
    made = [(t, "request_s", 0.002, "") for t in np.arange(5.0, 16.0, 0.01).tolist()]
    made[500:550] = [(t, "request_s", None, "timed out") for t, *_ in made[500:550]]
    found = figures(
        sampled_run(tmp_path / "run", TestKind.REQUESTS, {"client-001": rows(T0_UTC_S, *made)})
    )
    whole = 100 * found["window_s"]
    assert found["requests_per_s"] * found["window_s"] == pytest.approx(whole - 50, abs=1.5)
    assert found["requests_failed_ratio"] == pytest.approx(50 / whole, rel=0.01)
    assert found["request_p99_s"] == 0.002


def test_loss_is_a_ratio_of_sums_and_packets_follow_from_goodput_and_their_size() -> None:
    known = {"udp_lost": 5.0, "udp_datagrams": 1000.0, "udp_payload_bytes": 64.0}
    known |= {"goodput_bps": 51_200.0, "vpn_cpu_s_per_gbit": 100.0}
    found = packet_figures(known, TestKind.PPS)
    assert found["loss_ratio"] == 0.005
    assert found["pps"] == 100.0
    # 100 s for 10^9 bits are 51.2 us for 512.
    assert found["vpn_cpu_us_per_packet"] == pytest.approx(51.2)
    assert set(packet_figures(known, TestKind.UDP)) == {"loss_ratio"}
    assert packet_figures({"goodput_bps": 1e6}, TestKind.PPS) == {}
