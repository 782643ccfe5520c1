"""The editor of a run's windows: each change is checked, saved at once, and can be undone.

The editor holds the chosen windows, the proposed ones, and the file they are saved in. When somebody
else has changed a window meanwhile, that change is shown and named, and a change of one's own to the
same window is made only on request (`insist`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from perfkit.analysis.decimation import Floats
from perfkit.analysis.segments import MACHINES
from perfkit.analysis.timeline import Timeline
from perfkit.analysis.window_warnings import doubts
from perfkit.errors import RunError, SegmentError, did_you_mean
from perfkit.logs.run_logs import SlotPlan
from perfkit.model import Segment, Window
from perfkit.widgets.window_edits import Change, Span, WindowEdits, windows_of
from perfkit.widgets.window_file import WindowFile


@dataclass(frozen=True, slots=True)
class Message:
    """What a person is told; an `error` means that something was not done."""

    text: str
    is_error: bool = False


class WindowEditor:
    """The windows of one run, as one person works on them.

    Args:
        proposals: What a machine would choose, at most one a slot.
        log_sha256: Hash of each slot's logs, which a chosen window carries.
        who: The person's name.
        now: The clock.
    """

    def __init__(
        self,
        line: Timeline,
        file: WindowFile,
        *,
        proposals: Sequence[Segment],
        log_sha256: dict[str, str],
        who: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if who in MACHINES:
            raise SegmentError(f"{who!r} is reserved for automatic choices: give another name")
        self._line, self._file, self._who, self._now = line, file, who, now
        self._slots = {slot.name: slot for slot in line.slots}
        self._log_sha256 = log_sha256
        self._proposals = {segment.slot: segment for segment in proposals}
        self._edits = WindowEdits(list(self._slots), file.read())
        self._refused: Change | None = None
        self.message = Message("")

    # -- what there is ---------------------------------------------------------------------------

    @property
    def windows(self) -> list[Segment]:
        """Chosen and saved, in the timetable's order."""
        return self._edits.windows

    @property
    def proposals(self) -> list[Segment]:
        """What a machine proposes for slots that have no chosen window."""
        names = [name for name in self._slots if self._edits.find(name) is None]
        return [self._proposals[name] for name in names if name in self._proposals]

    @property
    def can_undo(self) -> bool:
        """There is something to take back."""
        return self._edits.next_undo() is not None

    @property
    def can_redo(self) -> bool:
        """There is something to do again."""
        return self._edits.next_redo() is not None

    @property
    def refused(self) -> Change | None:
        """A change that met somebody else's; `insist` does it all the same."""
        return self._refused

    def doubts(self) -> dict[str, tuple[str, ...]]:
        """What speaks against the windows, by slot."""
        return doubts([*self.windows, *self.proposals], self._line)

    # -- what is done ----------------------------------------------------------------------------

    def choose(self, slot: str, outer: Span, steady: Span | None, *, snap: str = "") -> None:
        """Choose a slot's window.

        Args:
            snap: Move the borders that changed to the nearest of the monitor's `samples` or of
                the `changes` of the load; empty: leave them.

        Raises:
            SegmentError: no such slot, or no such window.
        """
        plan = self._plan(slot)
        if snap:
            outer, steady = self._snapped(slot, outer, steady, snap)
        whole, part = windows_of(slot, outer, steady)
        self._do(slot, self._signed(plan, whole, part))

    def draw(self, begin_s: float, end_s: float, *, snap: str = "") -> str:
        """Choose a window for the slot it fits best among those that have none.

        Returns:
            The slot.

        Raises:
            SegmentError: every slot has a window.
        """
        if snap:
            begin_s, end_s = (self._nearest(moment, snap) for moment in (begin_s, end_s))
        free = [slot for slot in self._slots.values() if self._edits.find(slot.name) is None]
        if not free:
            raise SegmentError("every test has a window: delete one before you draw another")
        slot = max(free, key=lambda s: min(s.end_s, end_s) - max(s.start_s, begin_s))
        self.choose(slot.name, (begin_s, end_s), (begin_s, end_s))
        return slot.name

    def take(self, slot: str) -> None:
        """Choose what a machine proposed.

        Raises:
            SegmentError: nothing is proposed for the slot.
        """
        plan, proposal = self._plan(slot), self._proposals.get(slot)
        if proposal is None:
            raise SegmentError(f"{slot}: nothing is proposed; draw its window, or type it")
        self._do(slot, self._signed(plan, proposal.outer, proposal.steady))

    def take_all(self) -> None:
        """Choose every proposed window."""
        for proposal in self.proposals:
            self.take(proposal.slot)
        if not self.message.is_error:
            self.message = Message(f"every proposal chosen, saved {self._now():%H:%M:%S} UTC")

    def delete(self, slot: str) -> None:
        """Choose none; what a machine proposes is a proposal again."""
        self._plan(slot)
        if self._edits.find(slot) is not None:
            self._do(slot, None)

    def undo(self) -> None:
        """Take the last change back, and save that."""
        self._step(self._edits.next_undo(), self._edits.undo, "undone")

    def redo(self) -> None:
        """Do again what was undone last, and save that."""
        self._step(self._edits.next_redo(), self._edits.redo, "done again")

    def insist(self) -> None:
        """Do what was refused because somebody else had changed the same window."""
        if self._refused is not None:
            self._do(self._refused.slot, self._refused.after)

    def look(self) -> bool:
        """Take over what somebody else has saved since; True when there was something."""
        if self._file.is_current:
            return False
        self._told_of_others(self._edits.adopt(self._file.read()))
        return True

    def complain(self, text: str) -> None:
        """Say that something was not done."""
        self.message = Message(text, is_error=True)

    # -- how -------------------------------------------------------------------------------------

    def _do(self, slot: str, after: Segment | None) -> None:
        def act() -> None:
            self._edits.apply(Change(slot, self._edits.find(slot), after))

        change = Change(slot, self._edits.find(slot), after)
        what = f"{slot}: {'deleted' if after is None else 'saved'}"
        self._save(change, act, self._edits.undo, what, outranks_machines=True)

    def _step(self, change: Change | None, act: Callable[[], None], word: str) -> None:
        if change is None:
            self.message = Message(f"nothing to be {word}")
            return
        back = self._edits.redo if word == "undone" else self._edits.undo
        self._save(change, act, back, f"{change.slot}: {word}")

    def _save(
        self,
        change: Change,
        act: Callable[[], None],
        back: Callable[[], None],
        what: str,
        *,
        outranks_machines: bool = False,
    ) -> None:
        """Do a change and write it, unless somebody has changed the same window elsewhere.

        A window that a policy has chosen meanwhile, as the cell below the picker does, is nobody's.
        """
        with self._file.held():
            others: set[str] = set()
            if not self._file.is_current:
                others = self._edits.adopt(self._file.read())
            theirs = self._edits.find(change.slot)
            if outranks_machines and theirs is not None and theirs.chosen_by in MACHINES:
                others.discard(change.slot)
            if change.slot in others:
                self._refused = change
                self._told_of_others(others)
                return
            act()
            try:
                self._file.write(self._edits.windows)
            except RunError as exc:
                back()
                self.message = Message(f"{change.slot}: not saved: {exc}", is_error=True)
                return
        self._refused = None
        self.message = Message(f"{what} {self._now():%H:%M:%S} UTC")
        if others:
            self._told_of_others(others, before=f"{self.message.text}. ")

    def _told_of_others(self, slots: set[str], before: str = "") -> None:
        told = []
        for slot in sorted(slots):
            theirs = self._edits.find(slot)
            told.append(f"{slot} ({_by(theirs) if theirs else 'deleted'})")
        own = f"; your change of {self._refused.slot} was not saved" if self._refused else ""
        text = f"{before}Changed elsewhere and shown here now: {', '.join(told) or 'nothing'}{own}"
        self.message = Message(text, is_error=bool(slots))

    def _signed(self, plan: SlotPlan, outer: Window, steady: Window | None) -> Segment:
        return Segment(
            slot=plan.name,
            test=plan.test,
            outer=outer,
            steady=steady,
            chosen_by=self._who,
            log_sha256=self._log_sha256.get(plan.name, ""),
            chosen_utc=self._now(),
        )

    def _plan(self, slot: str) -> SlotPlan:
        try:
            return self._slots[slot]
        except KeyError as exc:
            raise SegmentError(
                f"the timetable has no {slot!r}; {did_you_mean(slot, self._slots)}"
            ) from exc

    def _snapped(
        self, slot: str, outer: Span, steady: Span | None, snap: str
    ) -> tuple[Span, Span | None]:
        """Borders that were moved, at the nearest sample or change; a whole window keeps its length."""
        known = self._edits.find(slot) or self._proposals.get(slot)
        if known is None:
            return outer, steady
        was, now = _borders(known.outer, known.steady), _borders_of(outer, steady)
        shifts = {round(b - a, 6) for a, b in zip(was, now, strict=False)}
        if len(was) == len(now) and len(shifts) == 1:  # the body was dragged
            by_s = self._nearest(outer[0], snap) - outer[0]
            now = [moment + by_s for moment in now]
        else:
            now = [m if m in was else self._nearest(m, snap) for m in now]
        if steady is None:
            return (now[0], now[1]), None
        return (min(now[0], now[2]), max(now[1], now[3])), (now[2], now[3])

    def _nearest(self, moment_s: float, snap: str) -> float:
        places: Floats = self._line.changes_s if snap == "changes" else self._line.samples_s
        if not len(places):
            return moment_s
        after = int(np.searchsorted(places, moment_s))
        near = places[max(after - 1, 0) : after + 1]
        return float(near[np.abs(near - moment_s).argmin()])


def _borders(outer: Window, steady: Window | None) -> list[float]:
    inner = [steady.start_s, steady.end_s] if steady else []
    return [outer.start_s, outer.end_s, *inner]


def _borders_of(outer: Span, steady: Span | None) -> list[float]:
    return [*outer, *(steady or ())]


def _by(segment: Segment) -> str:
    when = f" at {segment.chosen_utc:%H:%M:%S} UTC" if segment.chosen_utc else ""
    return f"by {segment.chosen_by}{when}"
