"""Where hosts may come from: the ladder of (type, zone), best first, and which rungs are empty.

A pool that said "no capacity" rests for a while: asking it again at once, once for each batch, is
how a launch of hundreds runs into throttling.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REST_S = 60.0


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Pool:
    """One instance type in one subnet, hence in one zone."""

    type: str
    zone: str
    subnet: str

    def __str__(self) -> str:
        return f"{self.type} in {self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet that hosts may be put into."""

    id: str
    zone: str
    vpc: str


def ladder(
    types: Sequence[str], subnets: Sequence[Subnet], offered: set[tuple[str, str]]
) -> list[Pool]:
    """Pools in order: every zone with the first type, then every zone with the second, and so on.

    Args:
        offered: The (type, zone) that exist at all.
    """
    return [
        Pool(type=kind, zone=subnet.zone, subnet=subnet.id)
        for kind in types
        for subnet in subnets
        if (kind, subnet.zone) in offered
    ]


@dataclass(slots=True)
class Cooldown:
    """Which pools are resting. Thread-safe: batches share it."""

    clock: Callable[[], float]
    rest_s: float = REST_S
    _until_s: dict[Pool, float] = field(default_factory=dict)
    _why: dict[Pool, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, pool: Pool, why: str) -> None:
        """A pool has no capacity now, as EC2 said in these words."""
        with self._lock:
            self._until_s[pool] = self.clock() + self.rest_s
            self._why[pool] = why

    def awake(self, pools: Sequence[Pool]) -> list[Pool]:
        """Those that may be asked, in their order."""
        with self._lock:
            now = self.clock()
            return [pool for pool in pools if self._until_s.get(pool, now) <= now]

    def reasons(self, pools: Sequence[Pool]) -> list[str]:
        """Why each of those that must not be asked now is resting."""
        awake = self.awake(pools)
        with self._lock:
            return [
                f"{pool}: {self._why[pool]} (within the last {self.rest_s:.0f} s)"
                for pool in pools
                if pool not in awake
            ]
