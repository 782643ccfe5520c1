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
    assert f"70 % busy while no test ran (median of {ticks} ticks)" in found.text


def test_the_load_of_the_tests_themselves_is_none(logs: RunLogs) -> None:
    busy = logs.monitor["cpu_busy_pct"]
    assert busy.max() > 40
    busy_pct, ticks = idle_busy_pct(logs, outcomes(logs))
    assert busy_pct < 5
    assert ticks >= 3
    assert findings(logs, outcomes(logs)) == []


def test_clients_that_ended_late_are_not_taken_for_something_else(logs: RunLogs) -> None:
    found = outcomes(logs)
    first = logs.slots[0]
    late = found.assign(end_s=found["end_s"].where(found["slot"] != first.name, first.end_s + 2))
    assert idle_busy_pct(logs, late)[1] == idle_busy_pct(logs, found)[1] - 2


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
    assert any("server: its processors were 80 % busy" in w for w in compose(run).warnings)
