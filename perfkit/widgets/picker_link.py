"""The kernel's side of the segment picker: it answers the messages of its front ends.

The front end is segment_picker.js. It asks by small messages (`do`), and is answered by small
messages (`say`): `state` after each change, `figures` of one window, `picture` with a PNG. They are
messages and no traits, so a saved notebook holds no picture and no window twice.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Callable, Mapping
from typing import Any

import anywidget

from perfkit.analysis.decimation import Floats, visible
from perfkit.analysis.timeline import Timeline
from perfkit.analysis.window_figures import Readings, Readout
from perfkit.errors import PerfkitError
from perfkit.model import SHORTEST_WINDOW_S, Segment, Window
from perfkit.report.sentences import observed
from perfkit.widgets import timeline_picture
from perfkit.widgets.timeline_picture import LEAST_WIDTH_PX, LEFT_PX, MOST_WIDTH_PX, View
from perfkit.widgets.window_editor import WindowEditor

MOST_SNAPS = 3000  # places to snap to, sent with a picture; where there are more, the kernel snaps
MOST_RATIO = 3.0
LEAST_SPAN_S = 1e-3

Message = Mapping[str, Any]


def _shipped(name: str) -> str:
    return importlib.resources.files("perfkit.widgets").joinpath(name).read_text(encoding="utf-8")


class PickerWidget(anywidget.AnyWidget):
    """The front end; all of its data comes by messages."""

    _esm = _shipped("segment_picker.js")
    _css = _shipped("segment_picker.css")


class PickerLink:
    """Answers what front ends ask of one editor; several pages may show it."""

    def __init__(
        self, editor: WindowEditor, line: Timeline, readings: Callable[[], Readings]
    ) -> None:
        self._editor, self._line, self._readings = editor, line, readings
        self._told: dict[str, Segment] = {}
        self._changes: Mapping[str, Callable[[Message], str | None]] = {
            "choose": lambda m: self._choose(m["slot"], m["outer"], m["steady"], m.get("snap", "")),
            "type": self._type,
            "new": lambda m: editor.draw(*m["span"], snap=m.get("snap", "")),
            "take": lambda m: editor.take(m["slot"]),
            "take-all": lambda _m: editor.take_all(),
            "delete": lambda m: editor.delete(m["slot"]),
            "undo": lambda _m: editor.undo(),
            "redo": lambda _m: editor.redo(),
            "insist": lambda _m: editor.insist(),
        }
        self.widget = PickerWidget()
        self.widget.on_msg(lambda _widget, message, _buffers: self.answer(message))

    def answer(self, message: Message) -> None:
        """Do what a front end asks, and tell it; what cannot be done is told as well."""
        asked = str(message.get("do"))
        if asked == "draw":
            self._send_picture(message)
        elif asked == "figures":
            self._send_figures(message)
        elif asked == "hello":
            self.tell_state(everything=True)
        elif asked == "look":
            if self._editor.look():
                self.tell_state()
        elif asked in self._changes:
            select = None
            try:
                select = self._changes[asked](message)
            except PerfkitError as exc:
                self._editor.complain(str(exc))
            self.tell_state(id=message.get("id"), select=select)

    def tell_state(self, *, everything: bool = False, **more: Any) -> None:
        """Tell all front ends which windows there are.

        Args:
            everything: Also to one that knows nothing yet.
            more: `id` of the change this answers, `select` the slot to be looked at.
        """
        editor, doubts = self._editor, self._editor.doubts()
        chosen = {segment.slot: segment for segment in editor.windows}
        proposed = {segment.slot: segment for segment in editor.proposals}
        now = proposed | chosen
        changed = {s for s in now.keys() | self._told.keys() if now.get(s) != self._told.get(s)}
        self._told = now
        windows = [
            {
                "slot": slot.name,
                "chosen": slot.name in chosen,
                **_borders(now.get(slot.name)),
                "by": _by(now.get(slot.name), is_chosen=slot.name in chosen),
                "doubts": doubts.get(slot.name, ()),
            }
            for slot in self._line.slots
        ]
        content = {
            "say": "state",
            "windows": windows,
            "range": [self._line.begin_s, self._line.end_s],
            "changed": [*now] if everything else sorted(changed),
            "canUndo": editor.can_undo,
            "canRedo": editor.can_redo,
            "least": SHORTEST_WINDOW_S,
            "message": editor.message.text,
            "isError": editor.message.is_error,
            "isRefused": editor.refused is not None,
        }
        self.widget.send(content | more)

    def _choose(self, slot: str, outer: Any, steady: Any, snap: str) -> None:
        self._editor.choose(slot, tuple(outer), tuple(steady) if steady else None, snap=snap)

    def _type(self, message: Message) -> None:
        """A row of the table: four borders, of which some may be empty.

        A steady window that is not there yet is the outer one; one half of it is none.
        """
        begin, steady_begin, steady_end, end = message["edges"]
        if begin is None or end is None:
            self._editor.complain(f"{message['slot']}: give the outer window's start and end")
            return
        is_new = message["slot"] not in self._told
        steady = [steady_begin, steady_end]
        if None in steady:
            steady = [begin, end] if is_new else []
        self._choose(message["slot"], (begin, end), steady, "")

    def _send_picture(self, message: Message) -> None:
        begin_s, end_s = float(message["begin"]), float(message["end"])
        view = View(
            begin_s=begin_s,
            end_s=max(end_s, begin_s + LEAST_SPAN_S),
            width_px=int(min(max(message["width"], LEAST_WIDTH_PX), MOST_WIDTH_PX)),
            ratio=min(max(float(message["ratio"]), 1.0), MOST_RATIO),
            dark=bool(message["dark"]),
        )
        picture = timeline_picture.draw(self._line, view)
        content = {
            "say": "picture",
            "view": message["view"],
            "begin": begin_s,
            "end": end_s,
            "width": view.width_px,
            "height": picture.height_px,
            "left": LEFT_PX,
            "right": view.right_px,
            "panels": picture.panels_px,
            "samples": _snaps(self._line.samples_s, view),
            "changes": _snaps(self._line.changes_s, view),
            "alt": picture.alt,
        }
        self.widget.send(content, [picture.png])

    def _send_figures(self, message: Message) -> None:
        slot, is_preview = message["slot"], bool(message.get("preview"))
        known = self._told.get(slot)
        steady = known.steady if known else None
        if is_preview and message["steady"]:
            steady = Window(start_s=message["steady"][0], end_s=message["steady"][1])
        edges = bool(message.get("edges"))
        found = None
        if steady is not None and steady.length_s > 0:
            found = self._readings().read(slot, steady, edges=edges)
        content = {
            "say": "figures",
            "view": message["view"],
            "slot": slot,
            "preview": is_preview,
            "edges": edges,
            "figure": _figure(found) if found else "",
            "entries": _entries(slot, found),
        }
        self.widget.send(content)


def _borders(segment: Segment | None) -> dict[str, Any]:
    spans = (segment.outer, segment.steady) if segment else (None, None)
    pairs = [[span.start_s, span.end_s] if span else None for span in spans]
    return dict(zip(("outer", "steady"), pairs, strict=True))


def _by(segment: Segment | None, *, is_chosen: bool) -> str:
    if segment is None:
        return "no window"
    when = f", {segment.chosen_utc:%H:%M:%S} UTC" if segment.chosen_utc else ""
    if is_chosen:
        return f"chosen by {segment.chosen_by}{when}"
    return f"proposed by {segment.chosen_by}, confidence {segment.confidence:.2f}"


def _entries(slot: str, found: Readout | None) -> list[tuple[str, str, str]]:
    """The read-out: name, value, and what is to be said about the value."""
    if found is None:
        return [(slot, "no steady window", "so there are no figures")]
    moved = "when edges move inwards by up to 2 s"
    cpu = f"{found.cpu_busy_pct:.1f} %" if math.isfinite(found.cpu_busy_pct) else "n/a"
    change = f"{_change(found.goodput_change_pct)} {moved}"
    figures = [(heading, value, "over all clients") for heading, value in observed(found.observed)]
    return [
        (slot, f"{found.window.length_s:.2f} s", "steady window"),
        *(figures or [("Total goodput", _figure(found), found.void or change)]),
        (
            "Clients active",
            f"{found.active_least} of {found.clients}",
            "throughout" if found.active_least == found.clients else "at the least",
        ),
        ("Server CPU", cpu, f"{_change(found.cpu_change_pct)} {moved}"),
    ]


def _figure(found: Readout) -> str:
    """The figure that stands beside a window."""
    if found.void:
        return "VOID"
    return next((value for _, value in observed(found.observed)), found.goodput)


def _change(pct: float) -> str:
    return f"± {pct:.1f} %" if math.isfinite(pct) else "± …"


def _snaps(places: Floats, view: View) -> list[float]:
    """Places to snap to in a view; none where there are more than anyone can tell apart."""
    shown = places[visible(places, view.begin_s, view.end_s)]
    return [float(place) for place in shown] if len(shown) <= MOST_SNAPS else []
