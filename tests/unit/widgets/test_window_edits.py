"""Windows as a person changes them: undone, redone, merged with what others did."""

from __future__ import annotations

import pytest

from perfkit.errors import SegmentError
from perfkit.model import Segment, Window
from perfkit.widgets.window_edits import Change, WindowEdits, windows_of

NAN = float("nan")


def window(slot: str, start_s: float, who: str = "me") -> Segment:
    span = Window(start_s=start_s, end_s=start_s + 10)
    return Segment(slot=slot, test=slot[3:], outer=span, steady=span, chosen_by=who)


def choose(edits: WindowEdits, segment: Segment) -> None:
    edits.apply(Change(segment.slot, edits.find(segment.slot), segment))


def test_changes_are_undone_and_redone_in_order() -> None:
    edits = WindowEdits(["01-a", "02-b"])
    first, second = window("01-a", 0), window("01-a", 5)
    choose(edits, first)
    choose(edits, second)
    edits.undo()
    assert edits.windows == [first]
    edits.undo()
    assert edits.windows == []
    assert edits.next_undo() is None
    edits.redo()
    edits.redo()
    assert edits.windows == [second]
    assert edits.next_redo() is None


def test_something_new_ends_what_could_be_redone() -> None:
    edits = WindowEdits(["01-a"])
    choose(edits, window("01-a", 0))
    edits.undo()
    choose(edits, window("01-a", 3))
    assert edits.next_redo() is None


def test_windows_are_in_the_timetables_order_and_strange_ones_last() -> None:
    edits = WindowEdits(["02-b", "01-a"], [window("zz", 0), window("01-a", 1), window("02-b", 2)])
    assert [w.slot for w in edits.windows] == ["02-b", "01-a", "zz"]


def test_what_others_changed_is_adopted_and_can_no_longer_be_undone() -> None:
    edits = WindowEdits(["01-a", "02-b"])
    choose(edits, window("01-a", 0))
    choose(edits, window("02-b", 20))
    assert edits.adopt([window("01-a", 7, "other"), window("02-b", 20)]) == {"01-a"}
    change = edits.next_undo()
    assert change is not None
    assert change.slot == "02-b"
    edits.undo()
    assert edits.windows == [window("01-a", 7, "other")]
    assert edits.next_undo() is None


@pytest.mark.parametrize(
    ("outer", "steady", "says"),
    [
        ((5, 5), None, "its end must be after its start"),
        ((9, 5), None, "9 to 5 s"),
        ((NAN, 5), None, "not a valid outer window"),
        ((0, float("inf")), None, "not a valid outer window"),
        ((0, 10), (4, 3), "not a valid steady window"),
        ((0, 10), (4, 4.001), r"4 to 4.001 s is too short .* 0.001 s, at least 1 s"),
        ((0, 0.5), None, "0 to 0.5 s is too short for a window"),
        ((0, 10), (-1, 5), "must lie in the outer window 0 to 10 s"),
        ((0, 10), (1, 10.5), "must lie in the outer window"),
    ],
)
def test_what_is_no_window_is_refused_in_words(
    outer: tuple[float, float], steady: tuple[float, float] | None, says: str
) -> None:
    with pytest.raises(SegmentError, match=says):
        windows_of("01-a", outer, steady)


def test_borders_are_kept_to_the_millisecond() -> None:
    outer, steady = windows_of("01-a", (0.12345, 9.87654), (1.0, 2.00049))
    assert (outer.start_s, outer.end_s) == (0.123, 9.877)
    assert steady == Window(start_s=1.0, end_s=2.0)
