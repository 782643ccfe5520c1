"""Whether a process makes progress: a limit in seconds would measure the machine's load instead.

On a busy machine a process waits for a processor, and one that changes a network waits for the
kernel's single lock on all networks. Neither is the process's fault, and neither wait has a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

# proc(5), stat: running or waiting for a processor; waiting for the kernel itself.
_NOT_ITS_FAULT = ("R", "D")


class StallWatch:
    """For how long a process has neither worked nor been kept from working.

    Args:
        pid: The process; one that cannot be looked at counts as stalled.
        far_s: Whatever it seems to do, after so long it is stalled.
    """

    def __init__(
        self,
        pid: int,
        *,
        far_s: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
        proc: Path = Path("/proc"),
    ) -> None:
        self._place, self._clock = proc / str(pid), clock
        self._far_at_s = clock() + far_s
        self._moved_at_s = clock()
        self._worked = ""

    def has_stalled(self, limit_s: float) -> bool:
        """Look, and say whether it has got nowhere for `limit_s` up to now."""
        now_s = self._clock()
        try:
            state = (self._place / "stat").read_text().rpartition(")")[2].split()[0]
            worked = (self._place / "schedstat").read_text().split()[0]  # ns on a processor
        except (OSError, IndexError):
            state, worked = "", self._worked
        if state in _NOT_ITS_FAULT or worked != self._worked:
            self._moved_at_s, self._worked = now_s, worked
        return now_s - self._moved_at_s >= limit_s or now_s >= self._far_at_s
