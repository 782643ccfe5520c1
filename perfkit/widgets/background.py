"""A phase in a thread of its own: the cell returns at once, and others run meanwhile.

    going = phases.in_background(phases.configure, session)   # the live view stays in this cell
    …                                                         # other cells
    going.result()                                            # waits, and returns what it returned

An interrupt of `result()` ends the waiting, not the phase; `going.stop()`, or the button in the
view, ends the phase and releases its hosts. Run All and papermill need none of this: called
plainly, a phase returns when it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import ReleaseReport
from perfkit.units import format_duration
from perfkit.widgets.fleet_snapshot import Shown
from perfkit.widgets.fleet_table import (
    Place,
    in_use,
    is_interactive,
    refuse_if_in_use,
    shown_at,
    stopped,
)
from perfkit.widgets.stopping import Stop

if TYPE_CHECKING:
    from perfkit.widgets.fleet_grid import Screen

Result = TypeVar("Result")


class _Fleet(Protocol):
    def release(self) -> ReleaseReport: ...


class Watchable(Protocol):
    """What a phase works on: `perfkit.campaign.session.Session`."""

    inventory: Inventory
    fleet: _Fleet


Work = TypeVar("Work", bound=Watchable)


class Background(Generic[Result]):
    """A phase under way, made by `in_background`."""

    def __init__(self, name: str, session: Watchable, act: Callable[[], Result]) -> None:
        self._name, self._session, self._act = name, session, act
        self._ready, self._over = threading.Event(), threading.Event()
        self._started = time.monotonic()
        self._value: Result | None = None
        self._error: BaseException | None = None
        self._screen: Screen | None = None
        if is_interactive():
            from perfkit.widgets.fleet_grid import Screen  # noqa: PLC0415 -- loads ipywidgets

            self._screen = Screen(self.stop)
        threading.Thread(target=self._run, name=f"background-{name}", daemon=True).start()
        self._ready.wait()

    def _run(self) -> None:
        self._stop = Stop()
        self._ready.set()
        try:
            with shown_at(Place(self._screen, self._stop)):
                self._value = self._act()
        except KeyboardInterrupt as exc:  # between two views
            self._error = exc
            if self._stop.asked:
                self._error = stopped(self._name, self._session.fleet.release)
        except BaseException as exc:  # noqa: BLE001 - `result` raises it where it is asked for
            self._error = exc
        finally:
            self._end()

    def _end(self) -> None:
        self._stop.close()
        in_use.pop(self._session.inventory)
        self._over.set()
        if self._screen is not None:
            note = f"{type(self._error).__name__}: {self._error}" if self._error else "done"
            self._screen.leave(
                Shown(
                    stage=self._name,
                    note=note.splitlines()[0],
                    records=self._session.inventory.records(),
                    elapsed_s=time.monotonic() - self._started,
                )
            )

    @property
    def done(self) -> bool:
        """It has ended, well or not."""
        return self._over.is_set()

    def stop(self) -> None:
        """End the phase and release its hosts, as the button does; returns at once."""
        self._stop.ask()

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait, and return what the phase returned.

        Raises:
            TimeoutError: it goes on.
            PerfkitError: what the phase raised; `StoppedError` after a stop.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._over.wait(0.2):  # short, so that an interrupt gets through
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise TimeoutError(f"{self} after {timeout_s:g} s of waiting; it still runs")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # no error: it is what `act` returned

    def __repr__(self) -> str:
        state = "is done" if self.done else "is running"
        if self._error is not None:
            state = f"ended with {type(self._error).__name__}"
        return f"<{self._name} {state}, {format_duration(time.monotonic() - self._started)}>"

    def _ipython_display_(self) -> None:
        """The live view is shown already."""


def in_background(act: Callable[[Work], Result], session: Work) -> Background[Result]:
    """Start a phase and return at once; its live view stays in the output of this cell.

    Args:
        act: A phase, such as `phases.configure`, or `phases.run_all`.

    Raises:
        RunError: a phase of this session goes on in the background already.
    """
    refuse_if_in_use(session.inventory)
    in_use[session.inventory] = act.__name__
    try:
        return Background(act.__name__, session, lambda: act(session))
    except BaseException:
        in_use.pop(session.inventory, None)
        raise
