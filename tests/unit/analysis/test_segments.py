from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perfkit.analysis import segments
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.stats import summarise
from perfkit.errors import RunError, SegmentError
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.model import Segment, Window
from perfkit.runs.folder import Run
from perfkit.testing.runs import make_run, read_truth


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", clients=4, failed={"client-002": "killed"})


def read(run: Run) -> tuple[RunLogs, pd.DataFrame]:
    logs = read_run(run)
    return logs, outcomes(logs)


def test_windows_reach_over_and_within_the_clients_that_count(run: Run) -> None:
    for segment in segments.from_events(*read(run)):
        known = read_truth(run)["slots"][segment.slot]
        assert segment.steady is not None
        assert [segment.steady.start_s, segment.steady.end_s] == pytest.approx(
            known["steady_s"], abs=2e-3
        )
        assert [segment.outer.start_s, segment.outer.end_s] == pytest.approx(
            known["outer_s"], abs=2e-3
        )
        assert segment.chosen_by == "events"


def test_clients_that_were_never_active_together_have_no_steady_window(run: Run) -> None:
    logs, found = read(run)
    late = found["host"] == "client-003"
    found.loc[late, ["start_s", "end_s"]] += 100.0
    first = segments.from_events(logs, found)[0]
    assert first.steady is None
    assert "never all active" in first.notes[0]


def test_segments_survive_saving_and_loading(run: Run) -> None:
    logs, found = read(run)
    chosen = segments.from_events(logs, found, segments.hash_logs(run, ["01-direct-tcp"]))
    segments.save(run, chosen)
    assert segments.load(run) == chosen


def test_a_window_whose_log_changed_is_stale(run: Run) -> None:
    segments.current(run, *read(run))
    path = run.host_raw_dir("server") / "01-direct-tcp.server.log"
    path.write_text(path.read_text() + "\n")
    stale = {segment.slot: segments.STALE in segment.notes for segment in segments.load(run)}
    assert stale == {"01-direct-tcp": True, "02-tunnel-tcp": False}


def test_events_choose_again_when_the_log_changed_and_a_persons_choice_stays(run: Run) -> None:
    first, second = segments.current(run, *read(run))
    mine = replace(second, chosen_by="anna", outer=Window(start_s=1.0, end_s=2.0))
    segments.save(run, [first, mine])
    for slot in ("01-direct-tcp", "02-tunnel-tcp"):
        path = run.host_raw_dir("server") / f"{slot}.server.log"
        path.write_text(path.read_text() + "\n")
    again, kept = segments.current(run, *read(run))
    assert again.log_sha256 != first.log_sha256
    assert segments.STALE not in again.notes
    assert (kept.chosen_by, kept.outer) == ("anna", mine.outer)
    assert segments.STALE in kept.notes


def test_choosing_twice_without_a_change_writes_once(run: Run) -> None:
    segments.current(run, *read(run))
    before = run.segments_path.stat().st_mtime_ns, run.segments_path.stat().st_ino
    segments.current(run, *read(run))
    assert (run.segments_path.stat().st_mtime_ns, run.segments_path.stat().st_ino) == before


def test_without_a_file_there_is_nothing_to_load(run: Run) -> None:
    with pytest.raises(RunError, match=r"segments\.json: not there"):
        segments.load(run)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"segments": [{"slot": "a"}]},
        *(
            {"segments": [{"slot": "a", "test": "a", "outer_s": outer_s, "chosen_by": "x"}]}
            for outer_s in ([5, 5], ["1_0", 20], [True, 20], [0, float("inf")], [float("nan"), 9])
        ),
    ],
)
def test_a_damaged_file_is_a_segment_error_that_says_what_to_do(run: Run, document: object) -> None:
    run.segments_path.write_text(json.dumps(document))
    with pytest.raises(SegmentError, match="perfkit segment"):
        segments.load(run)


def test_a_slot_without_a_client_that_counts_has_no_segment(run: Run) -> None:
    logs, found = read(run)
    found.loc[found["slot"] == "02-tunnel-tcp", "ok"] = False
    assert [s.slot for s in segments.from_events(logs, found)] == ["01-direct-tcp"]
    assert isinstance(segments.from_events(logs, found)[0], Segment)


def test_clients_together_for_less_than_a_window_have_no_steady_window(run: Run) -> None:
    logs, found = read(run)
    late = (found["host"] == "client-003") & (found["slot"] == "01-direct-tcp")
    others = found[(found["slot"] == "01-direct-tcp") & found["ok"] & ~late]
    first_end_s = float(np.minimum(others["end_s"], others["start_s"] + 10).min())
    by_s = first_end_s - 0.04 - float(found.loc[late, "start_s"].iloc[0])
    found.loc[late, ["start_s", "end_s"]] += by_s
    first = segments.from_events(logs, found)[0]
    assert first.steady is None
    assert "together for only 0.04 s, and a window has at least 1 s" in first.notes[0]


def test_a_window_that_is_too_short_is_neither_saved_nor_counted(run: Run) -> None:
    first, second = segments.from_events(*read(run))
    assert first.steady is not None
    begin_s = first.steady.start_s
    crushed = replace(
        first, steady=Window(start_s=begin_s, end_s=begin_s + 0.001), chosen_by="anna"
    )
    with pytest.raises(SegmentError, match=r"01-direct-tcp: a steady window of 0\.001 s"):
        segments.save(run, [crushed, second])
    segments.save(run, [first, second])
    # As an earlier version, or a hand, wrote it.
    document = json.loads(run.segments_path.read_text())
    document["segments"][0] |= {"steady_s": [begin_s, begin_s + 0.001], "chosen_by": "anna"}
    run.segments_path.write_text(json.dumps(document))
    logs, found = read(run)
    summary = summarise(logs, segments.current(run, logs, found), found)
    assert pd.isna(summary.tests["goodput_bps"].iloc[0])
    texts = [f.text for f in summary.findings if f.where == "01-direct-tcp"]
    assert any("that anna chose has 0.001 s and is none" in text for text in texts)
    assert not any("all clients were active together" in text for text in texts)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("events", "all clients were active together for only 3.0 s of the planned 10.0 s"),
        ("stamps", "together for only 3.0 s of the planned 10.0 s, by their tools' stamps"),
        ("change-points", "the window guessed from the NIC's rate has only 3.0 s"),
        ("anna", "anna chose a steady window of only 3.0 s of the planned 10.0 s"),
    ],
)
def test_a_short_window_is_told_by_who_chose_it(run: Run, who: str, says: str) -> None:
    logs, found = read(run)
    first, second = segments.from_events(logs, found)
    short = replace(first, steady=Window(start_s=7.0, end_s=10.0), chosen_by=who)
    texts = [f.text for f in summarise(logs, [short, second], found).findings]
    assert any(says in text for text in texts)
    assert any(f"chosen by {who}, is only 3.0 s long" in text for text in texts)
    if who != "events":
        assert "all clients were active together for only 3.0 s of the planned 10.0 s" not in texts
