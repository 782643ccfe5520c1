"""Choose the windows that count, on the picture of a run.

    picker = SegmentPicker(run)
    picker                      the last expression of a cell
    picker.windows              what was chosen so far

In front of a person the windows are dragged, typed or moved by keys, and each change is in
segments.json at once. Without one (papermill) the same picture is shown as PNG, with the saved
windows or those that the run's policy chooses, and a line of text for each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import click
from IPython.display import display

from perfkit.analysis import propose, segments
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.segments import Policy
from perfkit.analysis.timeline import timeline
from perfkit.analysis.window_figures import Readings
from perfkit.analysis.window_rules import whoever
from perfkit.logs.reader import read_run
from perfkit.model import Segment
from perfkit.runs.folder import Run
from perfkit.widgets import timeline_picture
from perfkit.widgets.fleet_table import is_interactive
from perfkit.widgets.picker_link import PickerLink
from perfkit.widgets.timeline_picture import Picture, View
from perfkit.widgets.window_editor import WindowEditor
from perfkit.widgets.window_edits import Span
from perfkit.widgets.window_file import WindowFile

STILL_WIDTH_PX, STILL_RATIO = 960, 1.5


class SegmentPicker:
    """The windows of a run, to be looked at and changed.

    Args:
        run: Needs its logs; segments.json is read if it is there, and written at each change.
        who: Who chooses; None: $JUPYTERHUB_USER, or the user's name.
        policy: What chooses where nobody is at the picture; None: as the run's manifest says.
        now: The clock.

    Raises:
        RunError: the run measured nothing. SegmentError: its segments.json is damaged.
    """

    def __init__(
        self,
        run: Run,
        *,
        who: str | None = None,
        policy: Policy | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.run = run
        self.is_watched = is_interactive()
        self._logs = read_run(run)
        self._outcomes = outcomes(self._logs)
        self.line = timeline(self._logs, self._outcomes)
        if not self.is_watched:
            segments.current(run, self._logs, self._outcomes, policy)
        slots = [slot.name for slot in self._logs.slots]
        hashes = segments.hash_logs(run, slots, with_monitor=True)
        recorded = [
            segments.without_warm_up(self._logs, self._outcomes, segment)
            for segment in segments.from_events(self._logs, self._outcomes, hashes)
        ]
        self.editor = WindowEditor(
            self.line,
            WindowFile(run),
            proposals=[*recorded, *propose.propose(self._logs, hashes)],
            log_sha256=hashes,
            who=who or whoever(),
            now=now,
        )

    # -- what there is ---------------------------------------------------------------------------

    @property
    def windows(self) -> list[Segment]:
        """The chosen windows, as they are in segments.json, in the timetable's order."""
        return self.editor.windows

    @property
    def proposals(self) -> list[Segment]:
        """What recorded events or a guess would choose for tests that have no chosen window."""
        return self.editor.proposals

    # -- what is done ----------------------------------------------------------------------------

    def choose(self, slot: str, outer: Span, steady: Span | None = None) -> None:
        """Choose a test's window, in seconds from T0; saved at once.

        Args:
            steady: Where all clients are active; None: the outer window.

        Raises:
            SegmentError: no such test, or no such window.
        """
        self.editor.choose(slot, outer, steady or outer)
        self._tell()

    def take(self) -> None:
        """Choose every proposed window."""
        self.editor.take_all()
        self._tell()

    def delete(self, slot: str) -> None:
        """Choose no window for a test; the run's policy decides again."""
        self.editor.delete(slot)
        self._tell()

    def undo(self) -> None:
        """Take the last change back."""
        self.editor.undo()
        self._tell()

    def redo(self) -> None:
        """Do again what was undone last."""
        self.editor.redo()
        self._tell()

    def _tell(self) -> None:
        """Pages that show the picker follow."""
        if "link" in self.__dict__:
            self.link.tell_state()

    # -- how it is shown -------------------------------------------------------------------------

    @cached_property
    def _readings(self) -> Readings:
        return Readings(self._logs, self._outcomes)

    @cached_property
    def link(self) -> PickerLink:
        """What answers the front ends that show it."""
        return PickerLink(self.editor, self.line, lambda: self._readings)

    def _all(self) -> list[tuple[Segment, str]]:
        both = [(s, "chosen") for s in self.windows] + [(s, "proposed") for s in self.proposals]
        order = [slot.name for slot in self.line.slots]
        known = {slot: place for place, slot in enumerate(order)}
        return sorted(both, key=lambda pair: known.get(pair[0].slot, len(order)))

    def picture(self) -> Picture:
        """The whole run with its windows, as PNG."""
        begin_s, end_s = self.line.begin_s, self.line.end_s
        view = View(begin_s=begin_s, end_s=end_s, width_px=STILL_WIDTH_PX, ratio=STILL_RATIO)
        return timeline_picture.draw(
            self.line, view, chosen=self.windows, proposed=self.proposals, opaque=True
        )

    def __str__(self) -> str:
        """A line for each test."""
        doubts, lines = self.editor.doubts(), []
        shown = {segment.slot: (segment, state) for segment, state in self._all()}
        for slot in self.line.slots:
            if slot.name in shown:
                lines.append(self._line_of(*shown[slot.name], doubts.get(slot.name, ())))
            else:
                lines.append(f"{slot.name}: no window")
        return "\n".join(lines) or f"{self.run.id}: no test was planned"

    def __repr__(self) -> str:
        return f"<SegmentPicker {self.run.id}: {len(self.windows)} chosen, {len(self.proposals)} proposed>"

    def _line_of(self, segment: Segment, state: str, doubts: Sequence[str]) -> str:
        outer, steady = segment.outer, segment.steady
        text = f"{segment.slot}: {state} by {segment.chosen_by}"
        text += f", outer {outer.start_s:.3f} to {outer.end_s:.3f} s"
        if steady is not None:
            found = self._readings.read(segment.slot, steady, edges=False)
            text += f", steady {steady.start_s:.3f} to {steady.end_s:.3f} s: {found}"
        return text + "".join(f"; WARNING: {doubt}" for doubt in doubts)

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """PNG and text; in front of a person also the live view of them."""
        del include, exclude  # IPython's filter; all of it belongs together
        picture = self.picture()
        data: dict[str, Any] = {
            "text/plain": str(self),
            "image/png": base64.b64encode(picture.png).decode(),
        }
        size = {"width": picture.view.width_px, "height": picture.height_px}
        metadata = {"image/png": {**size, "alt": picture.alt}}
        if self.is_watched:
            live = self.link.widget._repr_mimebundle_()
            data = live[0] | data if live else data
        return data, metadata

    def _ipython_display_(self) -> None:
        """Where nobody watches, the lines are printed as well: a log shows no pictures."""
        if not self.is_watched:
            click.echo(str(self))
        data, metadata = self._repr_mimebundle_()
        display(data, raw=True, metadata=metadata)
