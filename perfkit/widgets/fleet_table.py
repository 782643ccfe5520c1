"""One live view of the fleet, host by state: a table in a notebook, plain lines without one.

    with FleetView(session.inventory, session.journal, "configure"):
        …

The view is told of changes by the journal's observer, and drawn by its own thread at most
`DRAWS_PER_S` times a second, so it never holds up the engine or the kernel.
"""

from __future__ import annotations

import html
import os
import sys
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from IPython.display import DisplayHandle

from perfkit.fleet.inventory import EVENT_KIND, HostRecord, Inventory, failed_lines
from perfkit.journal import Event, Journal
from perfkit.model import HostState
from perfkit.units import format_duration

DRAWS_PER_S = 5
HEADLESS_INTERVAL_S = (2.0, 30.0)  # a tenth of the time that has passed, within these

# Okabe and Ito's colours can be told apart by colour-blind people; each state has its letter too.
_LOOK = {
    HostState.REQUESTED: ("·", "#999999"),
    HostState.RUNNING: ("r", "#56b4e9"),
    HostState.REACHABLE: ("R", "#0072b2"),
    HostState.CONFIGURED: ("c", "#f0e442"),
    HostState.ARMED: ("a", "#e69f00"),
    HostState.DONE: ("d", "#009e73"),
    HostState.RELEASED: ("-", "#cccccc"),
    HostState.FAILED: ("X", "#d55e00"),
}


def is_interactive() -> bool:
    """A person watches: a Jupyter server or Voila started the kernel, not papermill or nbclient."""
    watched = "JPY_SESSION_NAME" in os.environ or "VOILA_BASE_URL" in os.environ
    return watched and os.environ.get("PERFKIT_PROGRESS") != "plain"


class FleetView:
    """Shows the fleet for as long as the block lasts, and its last state afterwards."""

    def __init__(
        self, inventory: Inventory, journal: Journal, stage: str, *, out: TextIO | None = None
    ) -> None:
        self._inventory, self._journal, self._stage = inventory, journal, stage
        self._out = out
        self._changed, self._over = threading.Event(), threading.Event()
        self._started = time.monotonic()
        self._note = ""
        self._last_line = ""
        self._display: DisplayHandle | None = None
        self._thread = threading.Thread(target=self._draw_on_change, name="fleet-view", daemon=True)

    def __enter__(self) -> FleetView:
        self._forget = self._journal.observe(self._on_event)
        if is_interactive():
            self._display = DisplayHandle()
            self._display.display(self._bundle(), raw=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget()
        self._over.set()
        self._changed.set()
        self._thread.join(2)
        self._draw(final=True)

    def note(self, text: str) -> None:
        """Show one line of what is going on, for example the time until the tests start."""
        self._note = text
        self._changed.set()

    def _on_event(self, event: Event) -> None:
        if event.kind == EVENT_KIND:
            self._changed.set()

    def _draw_on_change(self) -> None:
        while not self._over.wait(self._pause_s()):
            if self._changed.is_set():
                self._changed.clear()
                self._draw()

    def _pause_s(self) -> float:
        if self._display is not None:
            return 1 / DRAWS_PER_S
        least_s, most_s = HEADLESS_INTERVAL_S
        return min(most_s, max(least_s, (time.monotonic() - self._started) / 10))

    def _draw(self, *, final: bool = False) -> None:
        if self._display is not None:
            self._display.update(self._bundle(), raw=True)
            return
        line = self._line()
        if line != self._last_line or final:
            self._last_line = line
            clock = datetime.now(UTC).strftime("%H:%M:%S")
            print(
                f"{clock} {self._stage}: {line} ({self._elapsed()})",
                file=self._out or sys.stdout,
                flush=True,
            )

    def _elapsed(self) -> str:
        return format_duration(time.monotonic() - self._started)

    def _line(self) -> str:
        counts = self._inventory.counts()
        parts = [f"{counts[state]} {state}" for state in HostState if state in counts]
        return ", ".join(parts or ["no hosts"]) + (f"; {self._note}" if self._note else "")

    def _bundle(self) -> dict[str, str]:
        return {"text/html": self._html(), "text/plain": f"{self._stage}: {self._line()}"}

    def _html(self) -> str:
        records = self._inventory.records()
        cells = "".join(_cell(record) for record in records)
        failed = "".join(f"<li>{html.escape(line)}</li>" for line in failed_lines(records))
        return (
            f"<div><b>{html.escape(self._stage)}</b> {html.escape(self._line())} ({self._elapsed()})"
            f'<div style="line-height:1.1;font-family:monospace;margin-top:4px">{cells}</div>'
            f"{f'<ul>{failed}</ul>' if failed else ''}</div>"
        )


def _cell(record: HostRecord) -> str:
    letter, colour = _LOOK[record.state]
    title = html.escape(f"{record.name}: {record.state} {record.reason}".strip(), quote=True)
    return (
        f'<span title="{title}" style="display:inline-block;width:1.1em;text-align:center;'
        f'background:{colour};color:#000;margin:1px">{letter}</span>'
    )
