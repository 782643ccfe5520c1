"""What a person does to windows: choose, delete, undo, redo. Nothing here is shown or saved.

A slot has at most one window. A change is one slot's window before and after, so it can be taken
back also when other slots have changed in the meantime, and cannot when its own slot has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfkit.errors import SegmentError
from perfkit.model import SHORTEST_WINDOW_S, Segment, Window

Span = tuple[float, float]
DECIMALS = 3  # milliseconds: as fine as anything that was recorded


@dataclass(frozen=True, slots=True)
class Change:
    """One slot's window before and after; None: it had none, it has none."""

    slot: str
    before: Segment | None
    after: Segment | None

    @property
    def back(self) -> Change:
        """The change that undoes it."""
        return Change(self.slot, self.after, self.before)


class WindowEdits:
    """The chosen windows by slot, and the way back through what was done to them."""

    def __init__(self, slots: Sequence[str], chosen: Iterable[Segment] = ()) -> None:
        self._order = {slot: place for place, slot in enumerate(slots)}
        self._chosen = {segment.slot: segment for segment in chosen}
        self._done: list[Change] = []
        self._undone: list[Change] = []

    @property
    def windows(self) -> list[Segment]:
        """In the timetable's order; those of slots that it does not have come last."""
        last = len(self._order)
        return sorted(self._chosen.values(), key=lambda s: (self._order.get(s.slot, last), s.slot))

    def find(self, slot: str) -> Segment | None:
        """A slot's chosen window."""
        return self._chosen.get(slot)

    def apply(self, change: Change) -> None:
        """Do something new; what had been undone can no longer be redone."""
        self._put(change)
        self._done.append(change)
        self._undone.clear()

    def next_undo(self) -> Change | None:
        """What an undo would do, if there is something to undo."""
        return self._done[-1].back if self._done else None

    def next_redo(self) -> Change | None:
        """What a redo would do."""
        return self._undone[-1] if self._undone else None

    def undo(self) -> None:
        """Take the last change back."""
        change = self._done.pop()
        self._put(change.back)
        self._undone.append(change)

    def redo(self) -> None:
        """Do again what was undone last."""
        change = self._undone.pop()
        self._put(change)
        self._done.append(change)

    def adopt(self, segments: Iterable[Segment]) -> set[str]:
        """Take over what somebody else saved.

        Returns:
            The slots whose windows are others now. Changes of theirs can no longer be undone.
        """
        theirs = {segment.slot: segment for segment in segments}
        slots = theirs.keys() | self._chosen.keys()
        moved = {s for s in slots if not same(theirs.get(s), self._chosen.get(s))}
        self._chosen = theirs
        self._done = [change for change in self._done if change.slot not in moved]
        self._undone = [change for change in self._undone if change.slot not in moved]
        return moved

    def _put(self, change: Change) -> None:
        if change.after is None:
            self._chosen.pop(change.slot, None)
        else:
            self._chosen[change.slot] = change.after


def same(one: Segment | None, other: Segment | None) -> bool:
    """The same window, chosen by the same at the same time; notes are no part of it."""
    if one is None or other is None:
        return one is other
    return _identity(one) == _identity(other)


def _identity(segment: Segment) -> tuple[object, ...]:
    return segment.outer, segment.steady, segment.chosen_by, segment.chosen_utc


def windows_of(slot: str, outer: Span, steady: Span | None) -> tuple[Window, Window | None]:
    """Outer and steady window from their borders, to the millisecond.

    Raises:
        SegmentError: a border is no number, an end is not at least `SHORTEST_WINDOW_S` after its
            start, or the steady window is not inside the outer one.
    """
    whole = _window(slot, "outer", outer)
    if steady is None:
        return whole, None
    part = _window(slot, "steady", steady)
    if part.start_s < whole.start_s or part.end_s > whole.end_s:
        raise SegmentError(
            f"{slot}: the steady window {_said(part)} must lie in the outer window {_said(whole)}"
        )
    return whole, part


def _window(slot: str, which: str, span: Span) -> Window:
    start_s, end_s = (round(float(border), DECIMALS) for border in span)
    window = Window(start_s=start_s, end_s=end_s)
    if not (math.isfinite(start_s) and math.isfinite(end_s) and window.length_s > 0):
        raise SegmentError(
            f"{slot}: {_said(window)} is not a valid {which} window: its end must be after its start; "
            "to move both past each other, move the far one first"
        )
    if not window.is_long_enough:
        raise SegmentError(
            f"{slot}: {_said(window)} is too short for a window: {window.length_s:.3f} s, "
            f"at least {SHORTEST_WINDOW_S:g} s"
        )
    return window


def _said(window: Window) -> str:
    return f"{window.start_s:g} to {window.end_s:g} s"
