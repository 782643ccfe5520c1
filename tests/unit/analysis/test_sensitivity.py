"""How much figures depend on the window, against streams whose rates are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfkit.analysis import slot_figures
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import from_events
from perfkit.analysis.sensitivity import FIGURES, inwards_change_pct, moved_windows, sensitivity
from perfkit.analysis.stats import summarise
from perfkit.analysis.window_figures import Readings
from perfkit.logs.reader import read_run
from perfkit.model import Window
from perfkit.report.page import compose
from perfkit.report.standard import standard_tables
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run

W = Window(start_s=10.0, end_s=20.0)
OF_ONE_WAY = [name for name in FIGURES if not name.endswith(("_up_bps", "_down_bps"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("runs") / "run", clients=6, duration_s=20)


@pytest.fixture(scope="module")
def prepared(run: Run) -> slot_figures.Prepared:
    logs = read_run(run)
    found = outcomes(logs)
    return slot_figures.prepare(logs, logs.slots[1], found[found["slot"] == logs.slots[1].name])


def steady(run: Run) -> Window:
    logs = read_run(run)
    window = from_events(logs, outcomes(logs))[1].steady
    assert window is not None
    return window


def test_each_edge_moves_alone_and_with_the_other_in_every_direction() -> None:
    moved = {(w.start_s, w.end_s) for w in moved_windows(W, 2.0, inwards=False)}
    assert moved == {
        (8, 20), (12, 20), (10, 18), (10, 22), (8, 18), (8, 22), (12, 18), (12, 22),
    }  # fmt: skip
    inside = {(w.start_s, w.end_s) for w in moved_windows(W, 2.0, inwards=True)}
    assert inside == {(12, 20), (10, 18), (12, 18)}


def test_a_window_is_never_moved_out_of_existence() -> None:
    short = Window(start_s=0.0, end_s=2.5)
    assert [(w.start_s, w.end_s) for w in moved_windows(short, 2.0, inwards=True)] == []
    assert [(w.start_s, w.end_s) for w in moved_windows(short, 1.0, inwards=True)] == [
        (0.0, 1.5),
        (1.0, 2.5),
    ]


def test_the_window_itself_gives_the_figures_of_the_summary(
    run: Run, prepared: slot_figures.Prepared
) -> None:
    logs = read_run(run)
    found = outcomes(logs)
    row = summarise(logs, from_events(logs, found), found).tests.iloc[1]
    figures = prepared.figures(steady(run))
    for name in OF_ONE_WAY:
        assert figures[name] == pytest.approx(row[name]), name


def test_the_largest_change_is_the_one_that_moving_by_hand_finds(
    run: Run, prepared: slot_figures.Prepared
) -> None:
    window = steady(run)
    table = sensitivity(prepared, window).set_index(["moved_s", "moves"])
    own = prepared.figures(window)
    for moves, starts, ends in (("any", (-2, 0, 2), (-2, 0, 2)), ("inwards", (0, 2), (-2, 0))):
        by_hand = [
            prepared.figures(Window(start_s=window.start_s + a, end_s=window.end_s + b))
            for a in starts for b in ends
        ]  # fmt: skip
        for name in OF_ONE_WAY:
            expected = 100 * max(abs(other[name] / own[name] - 1) for other in by_hand)
            assert table.loc[(2.0, moves), f"{name}_change_pct"] == pytest.approx(expected), name


def test_taking_in_the_idle_time_around_a_test_costs_its_share_of_the_goodput(
    run: Run, prepared: slot_figures.Prepared
) -> None:
    # Nothing is sent before the first second: a window 2 s longer at both ends has 20/24 the rate
    # (a little more, for the start spread and the tail are outside the steady window).
    table = sensitivity(prepared, steady(run)).set_index(["moved_s", "moves"])
    assert table.loc[(2.0, "any"), "goodput_bps_change_pct"] == pytest.approx(100 * 4 / 24, abs=1.5)
    assert table.loc[(2.0, "inwards"), "goodput_bps_change_pct"] < 1.5
    assert table.loc[(2.0, "any"), "windows"] == 8


def test_a_figure_that_is_not_known_has_no_sensitivity(run: Run) -> None:
    logs = read_run(run)
    found = outcomes(logs)
    direct = slot_figures.prepare(logs, logs.slots[0], found[found["slot"] == logs.slots[0].name])
    table = sensitivity(direct, Window(start_s=8.0, end_s=20.0))
    assert table["vpn_cpu_s_per_gbit_change_pct"].isna().all()
    nothing = sensitivity(direct, Window(start_s=8.0, end_s=8.5), samples=(1,))
    assert nothing.loc[nothing["moves"] == "inwards", "windows"].tolist() == [0]
    assert np.isnan(nothing.loc[nothing["moves"] == "inwards", "goodput_bps_change_pct"]).all()


@pytest.mark.parametrize(("moves", "named"), [("inwards", True), ("any", False)])
def test_the_report_names_tests_that_were_not_steady_and_not_those_that_were_short(
    run: Run, moves: str, *, named: bool
) -> None:
    logs = read_run(run)
    found = outcomes(logs)
    summary = summarise(logs, from_events(logs, found), found)
    moved = summary.sensitivity
    second = (moved["slot"] == logs.slots[1].name) & (moved["moves"] == moves)
    changes = moved["goodput_bps_change_pct"].where(~second, 5.1)
    moved = moved.assign(goodput_bps_change_pct=changes)
    largest = [
        inwards_change_pct(moved[moved["slot"] == slot.name], "goodput_bps") for slot in logs.slots
    ]
    tests = summary.tests.assign(goodput_change_pct=largest)
    summary = replace(summary, tests=tests, sensitivity=moved)
    tables = {table.name: table for table in standard_tables(logs, summary)}
    assert ("total goodput of 02-tunnel-tcp by more than 5 %" in tables["tests"].caption) is named
    assert len(tables["sensitivity"].rows) == 8


def test_the_read_out_of_a_window_says_the_change_that_the_reports_sentence_stands_on(
    run: Run,
) -> None:
    logs = read_run(run)
    found = outcomes(logs)
    segments = from_events(logs, found)
    summary = summarise(logs, segments, found)
    readings = Readings(logs, found)
    for segment, row in zip(segments, summary.tests.to_dict("records"), strict=True):
        assert segment.steady is not None
        shown = readings.read(segment.slot, segment.steady, edges=True)
        moved = summary.sensitivity[summary.sensitivity["slot"] == segment.slot]
        any_move = moved.loc[moved["moves"] == "any", "goodput_bps_change_pct"].max()
        assert shown.goodput_change_pct == pytest.approx(row["goodput_change_pct"])
        assert shown.goodput_change_pct < any_move / 2  # outwards there is nothing
        assert shown.cpu_change_pct == pytest.approx(inwards_change_pct(moved, "cpu_busy_pct"))


def test_a_steady_test_of_five_seconds_is_not_said_to_depend_on_its_window(tmp_path: Path) -> None:
    short = compose(make_run(tmp_path / "short", clients=2, duration_s=5), with_plots=False)
    assert "by more than" not in short.tables["tests"].caption
