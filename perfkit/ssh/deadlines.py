"""What happens unless something is over in time: one thread watches for all connections.

A timer of its own for every request would be a thread for every command on every host.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from time import monotonic

Call = Callable[[], None]


class Deadlines:
    """Calls what was not taken back in time, in a thread of its own if one can be had. Thread-safe."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        """Nothing is watched, and no thread runs, before the first use."""
        self._now = now
        self._changed = threading.Condition()  # may be entered twice by a thread
        self._numbers = itertools.count()
        self._order: list[tuple[float, int]] = []  # a heap: when, and which
        self._calls: dict[int, Call] = {}  # those that were not taken back
        self._watcher: threading.Thread | None = None

    @contextlib.contextmanager
    def otherwise(self, limit_s: float, call: Call) -> Iterator[None]:
        """Have `call` called unless the block is over within `limit_s`."""
        when_s, number = self._now() + limit_s, next(self._numbers)
        with self._changed:
            if self._watcher is None:
                watcher = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                watcher.start()
                self._watcher = watcher
            self._calls[number] = call
            heapq.heappush(self._order, (when_s, number))
            if self._order[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.pop(number, None)

    def take_due(self) -> tuple[Call | None, float | None]:
        """What is to be called now; else how many seconds the next one has, None without any."""
        with self._changed:
            while self._order and self._order[0][1] not in self._calls:
                heapq.heappop(self._order)  # it was taken back
            if not self._order:
                return None, None
            when_s, number = self._order[0]
            left_s = when_s - self._now()
            return (None, left_s) if left_s > 0 else (self._calls.pop(number), None)

    def _watch(self) -> None:
        while True:
            with self._changed:
                call, left_s = self.take_due()
                if call is None:
                    self._changed.wait(left_s)
            if call is not None:
                try:
                    threading.Thread(target=call, name="deadline", daemon=True).start()
                except RuntimeError:  # there are too many
                    call()


DEADLINES = Deadlines()
# A process that was forked has no such thread, and may have the lock as somebody else held it.
os.register_at_fork(after_in_child=lambda: Deadlines.__init__(DEADLINES))
