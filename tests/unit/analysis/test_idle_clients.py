"""Memory and traffic of clients that do nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis import idle_clients
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.model import TestKind
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import rows, sampled_run

BEGIN_S, LENGTH_S = 5.0, 10.0  # of the test that `sampled_run` makes


def client(recv_bytes: float, send_bytes: float, idle_s: float = 5.0) -> str:
    found = {
        "tunnel_recv_bytes": 0.0,
        "tunnel_send_bytes": 100.0,
        "outer_recv_bytes": recv_bytes,
        "outer_send_bytes": send_bytes,
        "idle_s": idle_s,
    }
    return rows(T0_UTC_S, *((15.0, name, value, "idle") for name, value in found.items()))


def idle(folder: Path, memory: list[tuple[float, int, int]], *logs: str) -> RunLogs:
    """A run of one idle test.

    Args:
        memory: (seconds from the test's start, pid, RSS in byte) of the server's VPN; its PSS is half of it.
    """
    named = {f"client-{number:03d}": text for number, text in enumerate(logs, start=1)}
    run = sampled_run(folder / "run", TestKind.IDLE, named, "idle")
    lines = [f"{T0_UTC_S + BEGIN_S + t_s},{pid},0.5,{rss},{rss // 2}" for t_s, pid, rss in memory]
    text = "\n".join(["epoch,pid,cpu_s,rss_bytes,pss_bytes", *lines, ""])
    (run.host_raw_dir("server") / "procstat.csv").write_text(text)
    return read_run(run)


def figures_of(logs: RunLogs) -> dict[str, float]:
    assert (logs.slots[0].start_s, logs.slots[0].duration_s) == (BEGIN_S, LENGTH_S)
    return idle_clients.figures(logs, logs.slots[0], logs.clients)


GROWN = [(-1.0, 6, 90_000), (0.5, 7, 1000), (1.5, 7, 1200), (3.0, 7, 5000), (4.0, 7, 7000)]
QUIET = [(5.0, 7, 9000), (7.0, 7, 9200), (9.9, 7, 9400), (10.0, 7, 50_000)]


def test_memory_is_that_of_the_idle_time_and_per_client_what_came_with_clients(
    tmp_path: Path,
) -> None:
    found = figures_of(idle(tmp_path, GROWN + QUIET, client(500, 500), client(500, 500)))
    assert found["vpn_rss_bytes"] == 9200
    assert found["vpn_pss_bytes"] == 4600
    assert found["vpn_rss_empty_bytes"] == 1200
    assert found["vpn_rss_per_client_bytes"] == 4000


def test_a_vpn_that_was_started_anew_in_the_idle_time_has_no_memory_and_is_named(
    tmp_path: Path,
) -> None:
    logs = idle(tmp_path, [*GROWN, *QUIET[:2], (9.0, 8, 2000)], client(500, 500))
    assert np.isnan(figures_of(logs)["vpn_rss_bytes"])
    texts = [it.text for it in idle_clients.findings(logs, logs.slots[0])]
    assert any("started anew 1 times while nothing was done" in text for text in texts)


def test_memory_without_clients_is_unknown_when_the_process_is_a_later_one(tmp_path: Path) -> None:
    logs = idle(tmp_path, [(0.5, 6, 1000), *QUIET], client(500, 500))
    found = figures_of(logs)
    assert found["vpn_rss_bytes"] == 9200
    assert np.isnan(found["vpn_rss_per_client_bytes"])


def test_a_vpn_without_a_process_has_no_memory(tmp_path: Path) -> None:
    assert np.isnan(figures_of(idle(tmp_path, [], client(500, 500)))["vpn_rss_bytes"])


def test_idle_traffic_is_the_median_client_both_ways(tmp_path: Path) -> None:
    logs = idle(tmp_path, QUIET, client(500, 500), client(100, 100), client(90_000, 1))
    found = figures_of(logs)
    assert found["idle_bps"] == pytest.approx(1000 * 8 / 5)
    assert found["idle_tunnel_bps"] == pytest.approx(100 * 8 / 5)


def test_memory_that_still_grows_is_named(tmp_path: Path) -> None:
    logs = idle(tmp_path, GROWN + QUIET, client(500, 500))
    assert any("changed by" in it.text for it in idle_clients.findings(logs, logs.slots[0]))
    steady = [(5.0, 7, 9000), (9.0, 7, 9001)]
    logs = idle(tmp_path / "steady", steady, client(500, 500))
    assert idle_clients.findings(logs, logs.slots[0]) == []


def test_memory_per_client_is_unknown_where_one_of_the_clients_does_not_count(
    tmp_path: Path,
) -> None:
    logs = idle(tmp_path, [*GROWN, *QUIET], client(0.0, 0.0), client(0.0, 0.0))
    found = idle_clients.figures(logs, logs.slots[0], logs.clients[:1])
    assert np.isfinite(found["vpn_rss_bytes"])
    assert np.isnan(found["vpn_rss_per_client_bytes"])  # the other one may hold memory, too
