"""The fleet as a grid in a notebook: live as a widget, and as plain HTML when the phase is over.

A host is one letter of a string, so a change of 1,000 hosts is 1 kB. Text that came from a host
goes into the page as text only, without its terminal escapes.
"""

from __future__ import annotations

import html
import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anywidget
import traitlets
from IPython.display import DisplayHandle

from perfkit.fleet.inventory import HostRecord
from perfkit.model import HostState
from perfkit.report.document import plain
from perfkit.units import format_duration

_HERE = Path(__file__).parent

# Letter, colour, ink. Okabe and Ito's colours can be told apart by colour-blind people; the letter
# says the same, and a failed host is round as well.
LOOKS: dict[HostState, tuple[str, str, str]] = {
    HostState.REQUESTED: ("·", "transparent", "inherit"),
    HostState.RUNNING: ("r", "#56b4e9", "#000"),
    HostState.REACHABLE: ("R", "#0072b2", "#fff"),
    HostState.CONFIGURED: ("c", "#f0e442", "#000"),
    HostState.ARMED: ("a", "#e69f00", "#000"),
    HostState.DONE: ("d", "#009e73", "#000"),
    HostState.RELEASED: ("-", "transparent", "inherit"),
    HostState.FAILED: ("X", "#d55e00", "#000"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is to be seen at one moment; `expected_s` is None where nobody knows."""

    stage: str
    note: str
    records: Sequence[HostRecord]
    elapsed_s: float
    expected_s: float | None = None

    @property
    def line(self) -> str:
        """Hosts by state, and the note."""
        counts = {s: sum(r.state is s for r in self.records) for s in HostState}
        parts = [f"{count} {state}" for state, count in counts.items() if count]
        return ", ".join(parts or ["no hosts"]) + (f"; {self.note}" if self.note else "")

    @property
    def time(self) -> str:
        """Elapsed, and expected where it is known."""
        about = f" of about {format_duration(self.expected_s)}" if self.expected_s else ""
        return f"{format_duration(self.elapsed_s)}{about}"

    @property
    def failed(self) -> list[HostRecord]:
        """Hosts that failed."""
        return [record for record in self.records if record.state is HostState.FAILED]


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

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
        looks = [[look[0], str(state), *look[1:]] for state, look in LOOKS.items()]
        super().__init__(looks=looks, can_stop=on_stop is not None)
        self._on_stop = on_stop
        _hear_beside_a_cell(self.comm)
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


def _hear_beside_a_cell(comm: Any) -> None:
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

    def __init__(self, on_stop: Callable[[], None] | None = None) -> None:
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


def to_html(now: Shown) -> str:
    """The grid without a widget: cells with titles, counts, and who is in which state."""
    cells = "".join(_cell(record) for record in now.records)
    small = " small" if len(now.records) >= 150 else ""
    listed = "".join(
        f"<li>{state}: {html.escape(ranges([r.name for r in now.records if r.state is state]))}</li>"
        for state in HostState
        if any(r.state is state for r in now.records)
    )
    return (
        f"<style>{_stylesheet()}</style><div class='perfkit-fleet'>"
        f"<div class='head'><b>{html.escape(now.stage)}</b> <span class='time'>{now.time}</span>"
        f"<span>{html.escape(plain(now.line))}</span></div>"
        f"<div class='hosts{small}' aria-hidden='true'>{cells}</div>"
        f"<details><summary>Hosts by state</summary><ul>{listed}</ul></details></div>"
    )


def _cell(record: HostRecord) -> str:
    letter, colour, ink = LOOKS[record.state]
    title = f"{record.name}: {record.state}"
    title += f", {plain(record.reason)}" if record.state is HostState.FAILED else ""
    return (
        f'<span class="{record.state}" title="{html.escape(title, quote=True)}" '
        f'style="background:{colour};color:{ink}">{letter}</span>'
    )


def failed_html(failed: Sequence[HostRecord]) -> str:
    """A table of failed hosts, each with its reason and a link to its log; empty without any.

    A link is relative to the notebook's folder: Jupyter opens what lies below its own.
    """
    if not failed:
        return ""
    left = "<td style='text-align:left'>"  # Jupyter's own style sheet has them at the right
    rows = "".join(
        f"<tr>{left}{html.escape(r.name)}</td>{left}{html.escape(plain(r.reason))}</td>"
        f"{left}{_link(r.log)}</td></tr>"
        for r in failed
    )
    names = ("Failed host", "Reason", "Log")
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in names)
    return f"<div class='perfkit-fleet'><table><tr>{head}</tr>{rows}</table></div>"


def _link(log: str) -> str:
    if not log:
        return ""
    address = quote(os.path.relpath(log))
    return f'<a href="{address}">{html.escape(Path(log).name)}</a>'


_NUMBERED = re.compile(r"(.*?)(\d+)")


def ranges(names: Sequence[str]) -> str:
    """Names in short: `server, client-001 to client-040, client-042`."""
    parts = []
    for _, group in itertools.groupby(enumerate(names), key=_run_of):
        run = [name for _, name in group]
        parts.append(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return ", ".join(parts)


def _run_of(pair: tuple[int, str]) -> tuple[str, int]:
    """The same for names that follow each other."""
    place, name = pair
    numbered = _NUMBERED.fullmatch(name)
    return (numbered[1], int(numbered[2]) - place) if numbered else (name, -1)


@cache
def _stylesheet() -> str:
    return (_HERE / "fleet_grid.css").read_text(encoding="utf-8")
