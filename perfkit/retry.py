"""Loops that end: attempts with growing, random pauses until a deadline. Time is injected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A clock, a way to wait, and chance; tests give others.

    Attributes:
        clock: Monotonic seconds.
        sleep: Waits so many seconds.
        chance: A random number in [0, 1).
        scale: Multiplies every pause and every deadline; tests make it small.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = field(default=random.SystemRandom().random)
    scale: float = 1.0

    def attempts(
        self, deadline_s: float, *, first_s: float = 0.5, longest_s: float = 15.0
    ) -> Iterator[int]:
        """Count attempts, pausing before all but the first, until `deadline_s` is over.

        Pauses double from `first_s` to `longest_s`; each is taken at random from its upper half,
        so that many callers that were turned away together do not come back together.
        """
        until_s = self.clock() + deadline_s * self.scale
        pause_s = first_s * self.scale
        number = 0
        while True:
            yield number
            wait_s = pause_s * (0.5 + self.chance() / 2)
            if self.clock() + wait_s > until_s:
                return
            self.sleep(wait_s)
            pause_s = min(2 * pause_s, longest_s * self.scale)
            number += 1
