"""A test in which all clients connect at once: times, failures, what the server's VPN worked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis import connecting, kind_figures
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Notice, RunLogs
from perfkit.model import TestKind
from perfkit.runs.folder import write_json
from perfkit.testing.logtext import T0_UTC_S
from tests.sampled_runs import rows, sampled_run

NAN = float("nan")
BEGIN_S, SERVER_S = 2.0, 6.0  # when clients start, and the server again, from T0


def client(first: float | None, restart: float | None, why: str = "no reply within 3.0 s") -> str:
    """A client's log; times from the start that was planned."""
    found = [(BEGIN_S, "late_s", 0.0, "first")]
    for since_s, wait_s, phase in ((BEGIN_S, first, "first"), (SERVER_S, restart, "restart")):
        moment_s = since_s + (3.0 if wait_s is None else wait_s)
        note = f"{phase}: {why}" if wait_s is None else phase
        found.append((moment_s, "connect_s", wait_s, note))
    return rows(T0_UTC_S, *found)


def storm(
    folder: Path,
    *logs: str,
    server_s: float | None = SERVER_S,
    cpu: str = "",
    stop: str | None = "restart",
) -> RunLogs:
    """A run of one connect-storm; the server's VPN was started at `server_s`.

    Args:
        stop: What its log notes at the stop; None: no line of it.
    """
    named = {f"client-{number:03d}": text for number, text in enumerate(logs, start=1)}
    run = sampled_run(folder / "run", TestKind.CONNECT_STORM, named, "connect-storm")
    if server_s is not None:
        timetable = json.loads(run.timetable_path.read_text())
        timetable["slots"][0] |= {"server_script": True}
        write_json(run.timetable_path, timetable)
        stopped = [(5.0, "vpn_stop_s", 0.2, stop)] if stop is not None else []
        started = rows(T0_UTC_S, *stopped)
        started += rows(T0_UTC_S, (server_s, "vpn_start_s", 0.1, "restart")).partition("\n")[2]
        (run.host_raw_dir("server") / "01-connect-storm.server.log").write_text(started)
    if cpu:
        (run.host_raw_dir("server") / "procstat.csv").write_text(cpu)
    return read_run(run)


def figures_of(logs: RunLogs) -> dict[str, float]:
    return connecting.figures(logs, logs.slots[0])


def test_times_are_the_medians_of_each_phase_and_the_rate_ends_with_the_last(
    tmp_path: Path,
) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(0.3, 2.0), client(0.5, 3.0))
    found = figures_of(logs)
    assert found["connect_median_s"] == pytest.approx(0.3)
    assert found["connects_per_s"] == pytest.approx(3 / 0.5)
    assert found["reconnect_median_s"] == pytest.approx(2.0)
    assert found["reconnects_per_s"] == pytest.approx(3 / 3.0)
    assert found["connect_failed"] == found["reconnect_failed"] == 0
    assert np.isnan(found["connect_p99_s"])  # of three clients there is none


def test_a_client_that_did_not_connect_counts_as_slow_and_its_reason_is_named(
    tmp_path: Path,
) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(0.3, None), client(None, None, "start: no key"))
    found = figures_of(logs)
    assert found["connect_median_s"] == pytest.approx(0.3)
    assert found["connect_failed"] == 1
    assert np.isnan(found["connect_max_s"])
    assert np.isnan(found["reconnect_median_s"])  # two of three never did
    assert found["reconnect_failed"] == 2
    said = " ".join(finding.text for finding in connecting.findings(logs, logs.slots[0]))
    assert "1 of 3 clients did not connect: client-003 (start: no key" in said
    assert "2 of 3 clients did not connect after the restart: client-002 (no reply" in said


def test_a_client_that_did_not_connect_has_done_the_test(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(None, None))
    assert outcomes(logs)["ok"].tolist() == [True, True]


def test_a_server_that_started_late_makes_no_client_slow(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 1.5), client(0.1, 2.5), server_s=SERVER_S + 1.0)
    assert figures_of(logs)["reconnect_median_s"] == pytest.approx((0.5 + 1.5) / 2)


def test_a_reply_of_the_vpn_that_was_about_to_end_is_no_time(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 0.001), client(0.1, 2.5), server_s=SERVER_S + 1.0)
    found = figures_of(logs)
    assert found["reconnect_median_s"] == pytest.approx(1.5)
    assert found["reconnect_failed"] == 0
    (finding,) = connecting.findings(logs, logs.slots[0])
    assert "1 clients were answered before the server's VPN had ended" in finding.text
    assert "client-001" in finding.text


def test_without_the_servers_log_times_count_from_the_start_that_was_planned(
    tmp_path: Path,
) -> None:
    logs = storm(tmp_path, client(0.1, 1.5), client(0.1, 2.5), server_s=None)
    assert figures_of(logs)["reconnect_median_s"] == pytest.approx(2.0)


def test_cpu_is_of_the_process_of_each_phase_also_of_one_that_began_in_it(tmp_path: Path) -> None:
    samples = {1: (7, 1.0), 2: (7, 1.0), 3: (7, 1.4), 4: (7, 1.4), 5: (7, 1.4), 7: (8, 0.5)}
    samples |= {8: (8, 0.9), 9: (8, 2.9)}
    cpu = "epoch,pid,cpu_s,rss_bytes\n" + "".join(
        f"{T0_UTC_S + t_s},{pid},{cpu_s},4096\n" for t_s, (pid, cpu_s) in samples.items()
    )
    found = figures_of(storm(tmp_path, client(0.1, 1.0), client(0.9, 2.0), cpu=cpu))
    assert found["connect_cpu_s"] == pytest.approx(0.4 / 2)
    assert found["reconnect_cpu_s"] == pytest.approx(0.9 / 2)


def test_cpu_is_unknown_where_nobody_looked_until_the_end(tmp_path: Path) -> None:
    cpu = f"epoch,pid,cpu_s,rss_bytes\n{T0_UTC_S + 1},7,1.0,1\n{T0_UTC_S + 4},7,2.0,1\n"
    found = figures_of(storm(tmp_path, client(0.1, 1.0), client(0.9, 2.0), cpu=cpu))
    assert found["connect_cpu_s"] == pytest.approx(1.0 / 2)
    assert np.isnan(found["reconnect_cpu_s"])


def test_the_figures_are_in_the_runs_statistics(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(0.3, None))
    summary = summarise(logs, [], outcomes(logs))
    (row,) = summary.tests.to_dict("records")
    assert row[kind_figures.HEADLINE[TestKind.CONNECT_STORM]] == pytest.approx(0.2)
    assert any("did not connect after the restart" in f.text for f in summary.findings)


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        ("restart: stop: sudo: a password is required", "stop: sudo: a password is required"),
        (None, "its log says nothing of the stop"),
    ],
)
def test_a_restart_that_did_not_surely_happen_has_no_times_and_is_named(
    tmp_path: Path, stop: str | None, why: str
) -> None:
    logs = storm(tmp_path, client(0.1, 0.008), client(0.2, 0.009), stop=stop)
    found = figures_of(logs)
    assert found["connect_median_s"] == pytest.approx(0.15)
    assert not [name for name in found if name.startswith("reconnect")]
    (finding,) = connecting.findings(logs, logs.slots[0])
    assert finding.text == (
        f"the server's VPN was not surely started anew ({why}): no times after a restart"
    )


def test_a_client_that_ran_the_test_and_printed_nothing_did_not_connect(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(0.2, 1.0), *[rows(T0_UTC_S)] * 3)
    found = figures_of(logs)
    assert found["connect_failed"] == found["reconnect_failed"] == 3
    assert np.isnan(found["connect_median_s"])  # most never did
    said = connecting.findings(logs, logs.slots[0])[0].text
    assert said.startswith("3 of 5 clients did not connect: client-003 (it printed nothing of it)")


def test_a_client_that_was_taken_back_is_none_that_did_not_connect(tmp_path: Path) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(0.2, 1.0), rows(T0_UTC_S), client(None, None))
    notice = Notice(reason="spot", noticed_utc_s=T0_UTC_S + 5.5)
    assert figures_of(logs)["connect_failed"] == 2
    taken = dict.fromkeys(("client-003", "client-004"), notice)
    assert figures_of(replace(logs, interrupted=taken))["connect_failed"] == 0


def test_what_a_vpn_said_before_the_test_is_not_why_its_client_did_not_connect(
    tmp_path: Path,
) -> None:
    logs = storm(tmp_path, client(0.1, 1.0), client(None, 1.0))
    events = pd.DataFrame(
        [("client-002", logs.slots[0].start_s - 1.0, "tls-error", "an old error")],
        columns=["host", "t_s", "event", "text"],
    )
    told = replace(logs, vpn=replace(logs.vpn, events=events))
    assert "an old error" not in connecting.findings(told, told.slots[0])[0].text
