"""The session channels of one connection: no more at once than its SSH server gives.

A server with `MaxSessions 1` refuses the second command while one runs, and any command while the
file channel is open. That is no lost connection. The number that it gives is found out by the first
refusal; from then on commands and files wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from perfkit.errors import HostError

T = TypeVar("T")
PAUSE_S = 0.05  # the server counts a session for a moment after its channel was closed


class Sessions:
    """Counts what is open on a connection. Thread-safe.

    Attributes:
        most: How many the server gives at once; None: more than were ever asked for.
    """

    def __init__(self, host: str, say: Callable[[str], None]) -> None:
        self._host, self._say = host, say
        self._changed = threading.Condition()
        self._open = 0
        self.most: int | None = None

    def open(
        self,
        begin: Callable[[], T],
        refused: type[Exception],
        *,
        make_room: Callable[[], bool],
        patience_s: float,
    ) -> T:
        """Open one more as soon as the server gives one.

        Args:
            begin: Opens it, or raises `refused`.
            make_room: Closes one that nobody uses; whether there was one.
            patience_s: For a server that refuses although none of ours is open.

        Raises:
            HostError: it gives none at all. And whatever `begin` raises.
        """
        give_up_s: float | None = None
        while True:
            self._take_place(make_room)
            try:
                return begin()
            except refused as exc:
                self.closed()
                if self._learn():
                    continue
                give_up_s = give_up_s or monotonic() + patience_s
                if monotonic() > give_up_s:
                    raise HostError(
                        self._host,
                        f"its SSH server refuses every session ({exc}): give its sshd_config "
                        "MaxSessions 10, or 1 at least",
                    ) from exc
                with self._changed:
                    self._changed.wait(PAUSE_S)
            except BaseException:
                self.closed()
                raise

    def _take_place(self, make_room: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if self.most is None or self._open < self.most:
                    self._open += 1
                    return
            if not make_room():
                with self._changed:
                    self._changed.wait(PAUSE_S * 4)

    def _learn(self) -> bool:
        """A refusal says how many there may be, if any of ours is open."""
        with self._changed:
            others = self._open
            if others and (self.most is None or others < self.most):
                self.most = others
                self._say(
                    f"its SSH server gives no more than {others} at a time (MaxSessions): commands "
                    "and files wait for each other"
                )
            return others > 0

    def closed(self) -> None:
        """One is closed."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()
