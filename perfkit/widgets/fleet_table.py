"""One live view of the fleet, host by state: a grid in a notebook, plain lines without one.

    with FleetView(session.inventory, session.journal, "configure", on_stop=session.fleet.release):
        …

The view is told of changes by the journal's observer, and drawn by its own thread at most
`DRAWS_PER_S` times a second, so it never holds up the engine or the kernel.

Its stop button interrupts the phase, then releases the hosts, and the block ends with a
`StoppedError`. A person's own interrupt ends the block with `KeyboardInterrupt`, and the hosts go
on: the same cell again takes up where it was.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from perfkit.errors import RunError, StoppedError
from perfkit.fleet.inventory import EVENT_KIND, Inventory
from perfkit.fleet.provider import ReleaseReport
from perfkit.runs.journal import Event, Journal
from perfkit.widgets.fleet_snapshot import Shown
from perfkit.widgets.stopping import Stop

if TYPE_CHECKING:
    from perfkit.widgets.fleet_grid import Screen

DRAWS_PER_S = 5
HEADLESS_INTERVAL_S = (2.0, 30.0)  # a tenth of the time that has passed, within these
RELEASING = "stopped by a person; releasing the hosts"

Release = Callable[[], ReleaseReport]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the views of a thread are shown, and how it is stopped, when somebody else decided."""

    screen: Screen | None
    stop: Stop


# What a thread in the background is doing to the hosts of an inventory.
in_use: dict[Inventory, str] = {}
_given: ContextVar[Place | None] = ContextVar("perfkit_place", default=None)


@contextlib.contextmanager
def shown_at(place: Place) -> Iterator[None]:
    """Show this thread's views there, one after the other, and leave the last one standing."""
    token = _given.set(place)
    try:
        yield
    finally:
        _given.reset(token)


def place_given() -> Place | None:
    """Where this thread's views are shown, if somebody else decided it."""
    return _given.get()


def refuse_if_in_use(inventory: Inventory) -> None:
    """Let only the thread in the background work on hosts it has.

    Raises:
        RunError: one has them, and it is not the calling thread.
    """
    if inventory in in_use and _given.get() is None:
        raise RunError(
            f"{in_use[inventory]} still runs in the background with these hosts: wait for its "
            "result(), or call its stop()"
        )


def is_interactive() -> bool:
    """A person watches: a Jupyter server or Voila started the kernel, not papermill or nbclient."""
    watched = "JPY_SESSION_NAME" in os.environ or "VOILA_BASE_URL" in os.environ
    return watched and os.environ.get("PERFKIT_PROGRESS") != "plain"


def stopped(stage: str, release: Release) -> StoppedError:
    """Release the hosts after a stop, and say what became of them."""
    report = release()
    return StoppedError(f"{stage}: stopped by a person; {report}", report.leaked)


class FleetView:
    """Shows the fleet for as long as the block lasts, and its last state afterwards.

    Args:
        on_stop: Releases the hosts, for the stop button; None: there is no button.
        expected_s: How long the block takes, as far as is known.
        out: Where plain lines go; None: standard output.
    """

    def __init__(
        self,
        inventory: Inventory,
        journal: Journal,
        stage: str,
        *,
        on_stop: Release | None = None,
        expected_s: float | None = None,
        out: TextIO | None = None,
    ) -> None:
        self._inventory, self._journal, self._stage = inventory, journal, stage
        self._release, self._expected_s, self._out = on_stop, expected_s, out
        self._changed, self._over = threading.Event(), threading.Event()
        self._drawing = threading.Lock()
        self._started = time.monotonic()
        self._note = ""
        self._last_line = ""
        self._screen: Screen | None = None
        self._thread = threading.Thread(target=self._draw_on_change, name="fleet-view", daemon=True)

    def __enter__(self) -> FleetView:
        self._forget = self._journal.observe(self._on_event)
        given = _given.get()
        self._is_guest = given is not None
        self._stop = given.stop if given is not None else Stop()
        if given is not None:
            self._screen = given.screen
        elif is_interactive():
            from perfkit.widgets.fleet_grid import Screen  # noqa: PLC0415 -- loads ipywidgets

            self._screen = Screen(self._stop.ask if self._release is not None else None)
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        try:
            if not self._is_guest:
                self._stop.close()
        except KeyboardInterrupt:  # the stop was asked for in the last moment
            interrupted = True
        try:
            if interrupted and self._stop.asked and self._release is not None:
                self.note(RELEASING)
                raise stopped(self._stage, self._release) from None
        finally:
            self._end()

    def _end(self) -> None:
        self._note = "" if self._note == RELEASING else self._note
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
        if self._screen is not None:
            return 1 / DRAWS_PER_S
        least_s, most_s = HEADLESS_INTERVAL_S
        return min(most_s, max(least_s, (time.monotonic() - self._started) / 10))

    def _draw(self, *, final: bool = False) -> None:
        now = Shown(
            stage=self._stage,
            note=self._note,
            records=self._inventory.records(),
            elapsed_s=time.monotonic() - self._started,
            expected_s=None if final else self._expected_s,
        )
        with self._drawing:
            if self._screen is None:
                self._print(now, final=final)
            elif final and not self._is_guest:
                self._screen.leave(now)
            else:
                self._screen.show(now)

    def _print(self, now: Shown, *, final: bool) -> None:
        if now.line != self._last_line or final:
            self._last_line = now.line
            clock = datetime.now(UTC).strftime("%H:%M:%S")
            print(
                f"{clock} {self._stage}: {now.line} ({now.time})",
                file=self._out or sys.stdout,
                flush=True,
            )
