"""Clients held against the plan: scripts that end early, late or beside their traffic."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from perfkit.analysis.durations import TrafficTime, traffic_times, why_short
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.reader import read_run
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

SLOT = "01-direct-tcp"


def change_records(run: Run, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Every client's record of the first test."""
    for path in run.raw_dir.glob(f"client-*/{SLOT}.events.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, **change(record)}))


def keep_seconds(run: Run, seconds: int) -> None:
    """Logs of the first test as of a tool that was told to run for so many seconds."""
    for path in run.raw_dir.glob(f"*/{SLOT}*.log"):
        kept = []
        for line in path.read_text().splitlines():
            span = re.search(r"(\d+\.\d+)-(\d+\.\d+) sec", line)
            if span is None or float(span[2]) <= seconds:
                kept.append(line)
            elif float(span[1]) == 0.0:
                kept.append(line.replace(span[2], f"{seconds:.4f}"))
        path.write_text("\n".join(kept) + "\n")


def judged(run: Run) -> tuple[pd.DataFrame, Summary]:
    logs = read_run(run)
    found = outcomes(logs)
    return found[found["slot"] == SLOT], summarise(logs, from_events(logs, found), found)


def texts(summary: Summary) -> list[str]:
    return [f.text for f in summary.findings if f.where == SLOT]


def test_traffic_in_the_background_of_every_script_is_no_figure_and_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    change_records(run, lambda r: {"end_utc_s": r["start_utc_s"] + 0.02})
    found, summary = judged(run)
    assert not found["ok"].any()
    assert (
        found["reason"]
        .str.fullmatch(
            r"ended after 0\.0 s of the planned 10 s, but its traffic went on for 10\.\d s: "
            "the script puts it into the background"
        )
        .all()
    )
    row = summary.tests.iloc[0]
    assert row["clients_failed"] == 4
    assert pd.isna(row["goodput_bps"])
    assert any("end the script with `wait`" in text for text in texts(summary))


def test_clients_that_all_ended_early_fail_by_the_plan(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    keep_seconds(run, 3)
    change_records(run, lambda r: {"end_utc_s": r["start_utc_s"] + 3.1})
    found, summary = judged(run)
    assert (found["reason"] == "ended after 3.1 s of the planned 10 s").all()
    assert any("$PERFKIT_DURATION_S" in text for text in texts(summary))
    assert not any("background" in text for text in texts(summary))


def test_a_script_that_waits_much_longer_than_its_tool_ran_fails(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    keep_seconds(run, 3)
    found, _ = judged(run)
    assert found["reason"].str.startswith("its traffic lasted 3.0 s of the planned 10 s").all()


def test_traffic_that_lacks_part_of_the_planned_time_is_a_warning(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    keep_seconds(run, 7)
    found, summary = judged(run)
    assert found["ok"].all()
    assert any("4 clients lasted 7.0 s at the least" in text for text in texts(summary))


def test_traffic_that_outlasts_a_script_which_ran_long_enough_is_a_warning(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    change_records(run, lambda r: {"end_utc_s": r["start_utc_s"] + 6.0})
    found, summary = judged(run)
    assert found["ok"].all()
    assert any("traffic of 4 clients went on when" in text for text in texts(summary))


def test_clients_that_all_start_late_and_run_their_time_count_and_are_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4)
    change_records(
        run,
        lambda r: (
            {"start_utc_s": r["start_utc_s"] + 4, "end_utc_s": r["end_utc_s"] + 4}
            | {"last_output_utc_s": r["last_output_utc_s"] + 4}
        ),
    )
    found, summary = judged(run)
    assert found["ok"].all()
    assert any("a client started 4.2 s late" in text for text in texts(summary))


def test_a_good_run_says_nothing_of_durations(tmp_path: Path) -> None:
    _, summary = judged(make_run(tmp_path / "run", clients=4))
    assert summary.findings == ()


@pytest.mark.parametrize(
    ("spans", "longest_s", "total_s"),
    [
        ([(10.0, 5, 20), (10.0, 6, 21)], 10.0, 10.0),  # lines mixed: at the same time
        ([(5.0, 5, 10), (5.0, 11, 16)], 5.0, 10.0),  # one after the other
        ([(5.0, 5, 10), (4.0, 6, 9), (3.0, 12, 16)], 5.0, 8.0),
    ],
)
def test_streams_one_after_the_other_add_up(
    tmp_path: Path, spans: list[tuple[float, int, int]], longest_s: float, total_s: float
) -> None:
    logs = read_run(make_run(tmp_path / "run", clients=1))
    row = logs.traffic.iloc[[0]]
    rows = [
        row.assign(
            host="client-001", log_host="client-001", stream=number, end_s=end_s, line_no=line
        )
        for number, (end_s, first, last) in enumerate(spans)
        for line in (first, last)
    ]
    object.__setattr__(logs, "traffic", pd.concat(rows, ignore_index=True))
    (found,) = traffic_times(logs, logs.slots[0]).values()
    assert found == TrafficTime(longest_s, total_s)
    assert why_short(10.1, found, 10.0) == ""


def test_what_no_log_says_is_held_against_nobody() -> None:
    assert why_short(9.9, TrafficTime(), 10.0) == ""
    assert why_short(2.0, TrafficTime(), 10.0) == "ended after 2.0 s of the planned 10 s"
