"""The picker without a browser: the editor, its file, what a front end asks, what papermill sees."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfkit.analysis import segments
from perfkit.analysis.window_warnings import doubts as window_doubts
from perfkit.campaign.phases import segment
from perfkit.errors import SegmentError
from perfkit.model import TestKind, Window
from perfkit.report.page import compose
from perfkit.runs.folder import Run
from perfkit.testing.logtext import T0_UTC_S
from perfkit.testing.runs import make_run
from perfkit.widgets.segment_picker import SegmentPicker
from tests.sampled_runs import rows, sampled_run

DIRECT, TUNNEL = "01-direct-tcp", "02-tunnel-tcp"
VIEW = {"begin": 0.0, "end": 60.0, "width": 700, "ratio": 1.0, "dark": False}
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("made") / "picked", clients=3, duration_s=12)


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.root, tmp_path / "picked")
    return Run(tmp_path / "picked")


@pytest.fixture
def open_picker(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SegmentPicker]:
    """A picker as a person has it, or as papermill has."""

    def open_it(*, watched: bool = True, who: str = "me", **more: Any) -> SegmentPicker:
        monkeypatch.delenv("VOILA_BASE_URL", raising=False)
        monkeypatch.delenv("PERFKIT_PROGRESS", raising=False)
        monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
        if watched:
            monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
        return SegmentPicker(run, who=who, now=lambda: NOON, **more)

    return open_it


def saved(run: Run) -> dict[str, dict[str, Any]]:
    return {s["slot"]: s for s in json.loads(run.segments_path.read_text())["segments"]}


class Page:
    """A front end that writes down what it is told."""

    def __init__(self, picker: SegmentPicker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[dict[str, Any]] = []
        self.buffers: list[Any] = []
        self._link = picker.link

        def send(content: dict[str, Any], buffers: Any = None) -> None:
            self.told.append(json.loads(json.dumps(content)))  # as it goes over the wire
            self.buffers.append(buffers)

        monkeypatch.setattr(self._link.widget, "send", send)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self._link.answer({"do": do, "view": "v", **more})
        return self.told[-1]


def test_in_front_of_a_person_nothing_is_saved_until_it_is_chosen(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    picker = open_picker()
    assert [w.slot for w in picker.proposals] == [DIRECT, TUNNEL]
    assert picker.windows == []
    assert not run.segments_path.exists()
    picker.take()
    assert [w.slot for w in picker.windows] == [DIRECT, TUNNEL]
    assert picker.proposals == []


def test_a_choice_is_saved_with_who_when_and_the_hash_of_the_log(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    picker = open_picker()
    picker.choose(DIRECT, (5.0, 16.0), (6.0, 15.0))
    record = saved(run)[DIRECT]
    assert (record["outer_s"], record["steady_s"]) == ([5.0, 16.0], [6.0, 15.0])
    assert (record["chosen_by"], record["chosen_utc"]) == ("me", NOON.isoformat())
    assert record["log_sha256"] == segments.hash_logs(run, [DIRECT], with_monitor=True)[DIRECT]
    assert segments.load(run) == picker.windows == open_picker().windows


def test_a_window_of_a_log_that_changed_since_says_so_and_is_not_written_twice(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    open_picker().choose(DIRECT, (5.0, 16.0))
    log = next(run.raw_dir.glob(f"client-001/{DIRECT}.log"))
    log.write_text(log.read_text() + "\n")
    picker = open_picker()
    assert segments.STALE in picker.windows[0].notes
    assert "stale" in str(picker)
    picker.choose(TUNNEL, (25.0, 36.0))
    assert saved(run)[DIRECT]["notes"] == []


def test_deleting_brings_the_proposal_back_and_undo_the_window(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    picker = open_picker()
    picker.choose(DIRECT, (5.0, 16.0))
    picker.delete(DIRECT)
    assert saved(run) == {}
    assert DIRECT in [w.slot for w in picker.proposals]
    picker.undo()
    assert list(saved(run)) == [DIRECT]
    picker.undo()
    picker.redo()
    assert list(saved(run)) == [DIRECT]


def test_unknown_tests_and_machines_names_are_refused(
    open_picker: Callable[..., SegmentPicker],
) -> None:
    with pytest.raises(SegmentError, match=f"did you mean '{DIRECT}'"):
        open_picker().choose("01-direct", (5.0, 16.0))
    with pytest.raises(SegmentError, match="reserved for automatic choices"):
        open_picker(who="events")


def test_of_two_writers_neither_loses_the_others_change(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    mine, yours = open_picker(), open_picker(who="you")
    mine.choose(DIRECT, (5.0, 16.0))
    yours.choose(TUNNEL, (25.0, 36.0))  # another window: both are kept, and it is said
    assert list(saved(run)) == [DIRECT, TUNNEL]
    assert f"{DIRECT} (by me at 12:00:00 UTC)" in yours.editor.message.text
    yours.choose(DIRECT, (5.0, 15.0))
    mine.choose(DIRECT, (6.0, 14.0))  # the same window: shown first
    assert saved(run)[DIRECT]["outer_s"] == [5.0, 15.0]
    assert mine.windows == segments.load(run)
    assert mine.editor.message.is_error
    assert "your change of 01-direct-tcp was not saved" in mine.editor.message.text
    mine.editor.insist()
    assert saved(run)[DIRECT]["outer_s"] == [6.0, 14.0]


def test_what_a_policy_chose_meanwhile_does_not_stand_in_a_persons_way(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    mine = open_picker()
    segment(run)  # the cell below the picker: both windows, by the recorded events
    mine.choose(DIRECT, (6.0, 14.0))
    assert saved(run)[DIRECT]["chosen_by"] == "me"
    assert saved(run)[TUNNEL]["chosen_by"] == "events"
    mine.undo()
    assert saved(run)[DIRECT]["chosen_by"] == "events"


def test_a_run_that_cannot_be_written_says_so_and_keeps_the_old_windows(
    open_picker: Callable[..., SegmentPicker], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    picker = open_picker()
    picker.choose(DIRECT, (5.0, 16.0))
    before = picker.windows

    def full(*_: Any, **__: Any) -> None:
        raise segments.RunError("no space left")

    monkeypatch.setattr(segments, "write_json", full)
    picker.choose(DIRECT, (6.0, 16.0))
    assert picker.windows == before == segments.load(run)
    assert "not saved: no space left" in picker.editor.message.text


def test_a_page_gets_state_picture_and_figures(
    open_picker: Callable[..., SegmentPicker], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(open_picker(), monkeypatch)
    state = page.ask("hello")
    assert [w["slot"] for w in state["windows"]] == [DIRECT, TUNNEL]
    assert not any(w["chosen"] for w in state["windows"])
    picture = page.ask("draw", begin=0.0, end=20.0, width=700, ratio=2.0, dark=True)
    ((png,),) = [b for b in page.buffers[-1:] if b]
    assert struct.unpack(">II", png[16:24]) == (1400, 2 * picture["height"])
    assert picture["alt"].startswith("The server from 0.0 to 20.0 s")
    figures = page.ask("figures", slot=DIRECT, edges=True)
    assert re.fullmatch(r"\d+\.\d Mbit/s", figures["figure"])
    assert [entry[1] for entry in figures["entries"]][2] == "3 of 3"
    preview = page.ask("figures", slot=DIRECT, steady=[8.0, 9.0], preview=True)
    assert preview["entries"][0][1] == "1.00 s"


def test_picker_and_report_say_one_figure_in_one_unit(
    open_picker: Callable[..., SegmentPicker], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(open_picker(watched=False), monkeypatch)
    page.ask("hello")
    (tests,) = (t for t in compose(run, with_plots=False).tables.values() if t.name == "tests")
    place = [column.label for column in tests.columns].index("Total goodput (Mbit/s)")
    for slot, row in zip((DIRECT, TUNNEL), tests.shown(), strict=True):
        assert page.ask("figures", slot=slot)["figure"] == f"{row[place]} Mbit/s"
    assert re.search(r"NIC: up to \d+\.\d Mbit/s", page.ask("draw", **VIEW)["alt"])


def test_a_void_test_has_no_goodput_in_the_picker(
    open_picker: Callable[..., SegmentPicker], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.host_raw_dir("server") / "monitor.csv"
    cells = [line.split(",") for line in path.read_text().splitlines()]
    halved = [
        [*row[:10], f"{float(row[10]) / 2:.3f}", *row[11:]] if row[0][:1].isdigit() else row
        for row in cells
    ]
    path.write_text("\n".join(map(",".join, halved)) + "\n")
    page = Page(open_picker(watched=False), monkeypatch)
    page.ask("hello")
    figures = page.ask("figures", slot=DIRECT, edges=True)
    assert figures["figure"] == "VOID"
    assert "times as much arrived" in figures["entries"][1][2]


def test_a_page_is_told_of_what_cannot_be_done(
    open_picker: Callable[..., SegmentPicker], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(open_picker(), monkeypatch)
    page.ask("hello")
    state = page.ask("choose", id="v:1", slot=DIRECT, outer=[9.0, 5.0], steady=None)
    assert (state["id"], state["isError"]) == ("v:1", True)
    assert "its end must be after its start" in state["message"]
    state = page.ask("type", slot=DIRECT, edges=[None, None, None, 5.0])
    assert "give the outer window's start and end" in state["message"]
    for asked in (
        page.ask("choose", slot=DIRECT, outer=[5.0, 15.0], steady=[9.0, 9.001]),
        page.ask("type", slot=DIRECT, edges=[5.0, 9.0, 9.001, 15.0]),
        page.ask("new", span=[9.0, 9.5]),
    ):
        assert asked["isError"]
        assert "is too short for a window" in asked["message"]
    assert not run.segments_path.exists()
    page.ask("take-all")
    state = page.ask("new", span=[1.0, 4.0], snap="samples")
    assert "every test has a window" in state["message"]
    assert saved(run)[DIRECT]["chosen_by"] == "me"


def test_borders_snap_to_samples_or_to_changes_and_a_dragged_body_keeps_its_length(
    open_picker: Callable[..., SegmentPicker], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    picker = open_picker()
    page = Page(picker, monkeypatch)
    page.ask("hello")
    own = picker.proposals[0]
    outer = [own.outer.start_s, own.outer.end_s]
    assert own.steady is not None
    page.ask("choose", slot=DIRECT, outer=outer, steady=[8.1, own.steady.end_s], snap="samples")
    record = saved(run)[DIRECT]
    assert record["outer_s"] == outer
    assert record["steady_s"][0] in picker.line.samples_s
    moved = [edge + 2.1 for edge in record["outer_s"]]
    steady = [edge + 2.1 for edge in record["steady_s"]]
    page.ask("choose", slot=DIRECT, outer=moved, steady=steady, snap="samples")
    shifted = saved(run)[DIRECT]
    assert shifted["outer_s"][0] in picker.line.samples_s
    length_s = outer[1] - outer[0]
    assert shifted["outer_s"][1] - shifted["outer_s"][0] == pytest.approx(length_s, abs=0.002)


def test_doubts_name_overlap_missing_data_and_short_windows(
    open_picker: Callable[..., SegmentPicker],
) -> None:
    picker = open_picker()
    picker.choose(DIRECT, (5.0, 400.0), (6.0, 7.0))
    picker.choose(TUNNEL, (20.0, 36.0))
    doubts = picker.editor.doubts()
    text = "; ".join(doubts[DIRECT])
    assert f"overlaps the window of {TUNNEL}" in text
    assert "reaches out of the data" in text
    assert "too short: 1.0 s" in text
    assert f"overlaps the window of {DIRECT}" in doubts[TUNNEL]
    coarse = replace(picker.line, samples_s=np.arange(0.0, 60.0, 10.0))
    assert "shorter than a tick of the monitor, 10.0 s" in str(
        window_doubts(picker.windows, coarse)
    )


def test_without_a_person_the_policys_windows_are_shown_as_picture_and_lines(
    open_picker: Callable[..., SegmentPicker],
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picker = open_picker(watched=False)
    assert (
        [w.chosen_by for w in picker.windows]
        == ["events", "events"]
        == [record["chosen_by"] for record in saved(run).values()]
    )
    data, metadata = picker._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"}
    assert [line.split(":")[0] for line in data["text/plain"].splitlines()] == [DIRECT, TUNNEL]
    assert "2 windows chosen" in metadata["image/png"]["alt"]
    assert "_link" not in picker.__dict__  # no front end, so none in the notebook
    monkeypatch.setattr("perfkit.widgets.segment_picker.display", lambda *_, **__: None)
    picker._ipython_display_()
    assert capsys.readouterr().out.splitlines() == data["text/plain"].splitlines()


def test_without_a_person_saved_windows_stay(open_picker: Callable[..., SegmentPicker]) -> None:
    open_picker().choose(DIRECT, (6.0, 14.0))
    assert open_picker(watched=False).windows[0].outer == Window(start_s=6.0, end_s=14.0)


def test_a_person_gets_the_live_view_and_a_picture_for_readers_without_one(
    open_picker: Callable[..., SegmentPicker],
) -> None:
    data, _ = open_picker()._repr_mimebundle_()
    assert {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"} == set(data)


def test_a_run_that_left_nothing_is_a_picture_too(
    open_picker: Callable[..., SegmentPicker], run: Run
) -> None:
    shutil.rmtree(run.raw_dir)
    run.raw_dir.mkdir()
    picker = open_picker()
    assert picker.windows == picker.proposals == []
    assert picker.picture().png.startswith(b"\x89PNG")
    assert str(picker) == f"{DIRECT}: no window\n{TUNNEL}: no window"


def test_a_test_of_samples_shows_the_headline_figure_of_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = rows(T0_UTC_S, (6.25, "rtt_s", 0.5, ""), (8.0, "rtt_s", 0.7, ""))
    probed = sampled_run(tmp_path / "probed", TestKind.LATENCY, {"client-001": samples})
    page = Page(SegmentPicker(probed), monkeypatch)
    page.ask("hello")
    shown = page.ask("figures", slot="01-tunnel-probe")
    assert shown["figure"] == "600.000 ms"
    assert ["RTT without load", "600.000 ms", "over all clients"] in shown["entries"]
