"""A machine that was busy while no test ran is said to have been: its figures are of what was left."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from perfkit.analysis.background_load import findings, idle_busy_pct
from perfkit.analysis.outcomes import outcomes
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.report.page import compose
from perfkit.testing.runs import make_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> RunLogs:
    return read_run(make_run(tmp_path_factory.mktemp("runs") / "run", clients=3))


def with_load(logs: RunLogs, busy_pct: float) -> RunLogs:
    """Something that takes so much of the processors all the time."""
    busy = logs.monitor["cpu_busy_pct"].clip(lower=busy_pct)
    return replace(logs, monitor=logs.monitor.assign(cpu_busy_pct=busy))


def test_a_load_beside_the_tests_is_a_warning_with_its_size_and_how_it_is_known(
    logs: RunLogs,
) -> None:
    busy = with_load(logs, 70.0)
    _, ticks = idle_busy_pct(busy, outcomes(busy))
    (found,) = findings(busy, outcomes(busy))
    assert (found.where, found.level) == ("server", "warning")
    assert f"70 % busy while no test ran (median of {ticks} ticks, the quietest)" in found.text


def test_the_load_of_the_tests_themselves_is_none(logs: RunLogs) -> None:
    busy = logs.monitor["cpu_busy_pct"]
    assert busy.max() > 40
    busy_pct, ticks = idle_busy_pct(logs, outcomes(logs))
    assert busy_pct < 5
    assert ticks >= 3
    assert findings(logs, outcomes(logs)) == []


def test_clients_that_ended_late_are_not_taken_for_something_else(logs: RunLogs) -> None:
    first, second = logs.slots
    between = logs.monitor["t_s"].between(first.end_s - 5, second.start_s)
    slots = (replace(first, duration_s=first.duration_s - 5), second)
    gap = replace(logs, monitor=logs.monitor[between.to_numpy()], slots=slots)
    ticks = [
        idle_busy_pct(
            gap, found.assign(end_s=found["end_s"].where(found["slot"] != first.name, end_s))
        )[1]
        for found in (outcomes(logs),)
        for end_s in (first.end_s - 5, first.end_s - 3, first.end_s + 1)
    ]
    assert ticks[0] - 2 == ticks[1] >= 3
    assert ticks[2] == 0  # fewer than say anything


def test_what_the_run_itself_does_between_its_tests_is_not_something_else(logs: RunLogs) -> None:
    """1,000 hosts: arming them, and their processes that end, take all processors for half a minute."""
    start_s = logs.slots[0].start_s
    quiet = logs.monitor["t_s"].between(start_s - 8, start_s - 1)
    busy = logs.monitor["cpu_busy_pct"].where(quiet, 99.0)
    worked = replace(logs, monitor=logs.monitor.assign(cpu_busy_pct=busy))
    assert findings(worked, outcomes(worked)) == []


def test_where_nobody_looked_between_the_tests_nothing_is_said(logs: RunLogs) -> None:
    during = logs.monitor["t_s"].between(logs.slots[0].start_s, logs.slots[0].end_s)
    blind = replace(with_load(logs, 90.0), monitor=logs.monitor[during.to_numpy()])
    busy_pct, ticks = idle_busy_pct(blind, outcomes(blind))
    assert (math.isnan(busy_pct), ticks) == (True, 0)
    assert findings(blind, outcomes(blind)) == []
    unseen = replace(logs, monitor=logs.monitor.drop(columns="cpu_busy_pct"))
    assert findings(unseen, outcomes(unseen)) == []


def test_the_report_says_it_before_every_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=2)
    log = run.host_raw_dir("server") / "monitor.csv"
    lines = log.read_text().splitlines()
    head = next(n for n, line in enumerate(lines) if line[:1].isdigit())
    for number in range(head, len(lines)):
        cells = lines[number].split(",")
        cells[1:4] = ["50", "30", "20"]
        lines[number] = ",".join(cells)
    log.write_text("\n".join(lines) + "\n")
    assert any(
        "server: its processors were 80 % busy" in w
        for w in compose(run, with_plots=False).warnings
    )


def test_the_time_in_which_clients_connect_is_no_quiet_time(logs: RunLogs) -> None:
    """Before the first test, and before the second one."""
    first, second = logs.slots
    early = replace(logs, slots=(replace(first, connect_s=2.0), replace(second, connect_s=2.0)))
    busy = early.monitor["cpu_busy_pct"].copy()
    for slot in early.slots:  # they take all processors to connect
        busy = busy.mask(early.monitor["t_s"].between(slot.start_s - 3.0, slot.start_s), 100.0)
    loaded = replace(early, monitor=early.monitor.assign(cpu_busy_pct=busy))
    last_s = max(slot.end_s for slot in logs.slots)
    before = loaded.monitor["t_s"] < last_s
    assert idle_busy_pct(replace(loaded, monitor=loaded.monitor[before]), outcomes(loaded))[0] < 5
