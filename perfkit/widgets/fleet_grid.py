"""The fleet as a grid in a notebook: live as a widget, and as plain HTML when the phase is over.

A host is one letter of a string, so a change of 1,000 hosts is 1 kB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import DisplayHandle

from perfkit.report.document import plain
from perfkit.widgets.fleet_snapshot import LOOKS, Shown, failed_html, to_html

_HERE = Path(__file__).parent


class FleetGrid(anywidget.AnyWidget):
    """The widget. `on_stop` is called, in the thread that hears the click, when it is confirmed."""

    _esm = _HERE / "fleet_grid.js"
    _css = _HERE / "fleet_grid.css"

    looks: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    names: traitlets.List[str] = traitlets.List().tag(sync=True)
    states = traitlets.Unicode().tag(sync=True)
    reasons = traitlets.Dict().tag(sync=True)
    stage = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    elapsed_s = traitlets.Float().tag(sync=True)
    expected_s = traitlets.Float(0.0).tag(sync=True)
    live = traitlets.Bool(default_value=True).tag(sync=True)
    can_stop = traitlets.Bool().tag(sync=True)
    stop_asked = traitlets.Bool().tag(sync=True)

    def __init__(self, on_stop: Callable[[], object] | None = None) -> None:
        looks = [[look[0], str(state), *look[1:]] for state, look in LOOKS.items()]
        super().__init__(looks=looks, can_stop=on_stop is not None)
        self._on_stop = on_stop
        hear_beside_a_cell(self.comm)
        self.on_msg(lambda _widget, _content, _buffers: self.send({"kind": "yes"}))
        self.observe(self._heard_stop, "stop_asked")

    def _heard_stop(self, change: Any) -> None:
        if change["new"] and self._on_stop is not None:
            self._on_stop()

    def show(self, now: Shown) -> None:
        """Send what has changed, in one message."""
        with self.hold_sync():
            self.names = [record.name for record in now.records]
            self.states = "".join(LOOKS[record.state][0] for record in now.records)
            self.reasons = {r.name: plain(r.reason) for r in now.failed}
            self.stage, self.note = now.stage, plain(now.note)
            self.elapsed_s, self.expected_s = now.elapsed_s, now.expected_s or 0.0


def hear_beside_a_cell(comm: Any) -> None:
    """Let the kernel take the widget's messages in the thread that the front end asks for.

    JupyterLab from 4.4 on sends them to a thread of their own (a subshell, ipykernel 7), so that
    they are heard while a cell runs. ipykernel 7.4 gives them to the thread that last wrote to the
    widget instead, which is the one that the cell keeps busy. It does so by this method of the
    widget's comm, and not where there is none. Where all of this fails, the view says how else to
    stop.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = None  # there is no public way


class Screen:
    """The place in a notebook's output where the fleet is shown; made in the cell's own thread."""

    def __init__(self, on_stop: Callable[[], object] | None = None) -> None:
        self._grid = FleetGrid(on_stop)
        self._place, self._below = DisplayHandle(), DisplayHandle()
        self._failed = ""
        self._place.display(self._grid)
        self._below.display({"text/html": "", "text/plain": ""}, raw=True)

    def show(self, now: Shown) -> None:
        """Bring the widget up to date; failed hosts stand below it, with links to their logs."""
        self._grid.show(now)
        failed = failed_html(now.failed)
        if failed != self._failed:
            self._failed = failed
            self._below.update({"text/html": failed, "text/plain": ""}, raw=True)

    def leave(self, now: Shown) -> None:
        """Put plain HTML where the widget was: it is still there when the notebook is opened again."""
        bundle = {"text/html": to_html(now), "text/plain": f"{now.stage}: {now.line}"}
        self.show(now)
        self._place.update(bundle, raw=True)
        self._grid.close()
