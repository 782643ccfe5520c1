"""Where hosts may come from: the ladder of (type, zone), best first, and which rungs are empty.

A pool that said "no capacity" rests for a while: asking it again at once, once for each batch, is
how a launch of hundreds runs into throttling.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

REST_S = 60.0


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Pool:
    """One instance type in one subnet, hence in one zone.

    Attributes:
        cluster: Hosts from it go into the run's placement group.
    """

    type: str
    zone: str
    subnet: str
    cluster: bool = False

    def __str__(self) -> str:
        return f"{self.type} in {self.zone}{' (placement group)' if self.cluster else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A subnet that hosts may be put into."""

    id: str
    zone: str
    vpc: str


def ladder(
    types: Sequence[str],
    subnets: Sequence[Subnet],
    offered: set[tuple[str, str]],
    clustered: Collection[str] = (),
) -> list[Pool]:
    """Pools in order: every zone with the first type, then every zone with the second, and so on.

    Args:
        offered: The (type, zone) that exist at all.
        clustered: Types whose hosts go into the run's placement group.
    """
    return [
        Pool(type=kind, zone=subnet.zone, subnet=subnet.id, cluster=kind in clustered)
        for kind in types
        for subnet in subnets
        if (kind, subnet.zone) in offered
    ]


@dataclass(slots=True)
class ZoneChoice:
    """Where a run's hosts may be: anywhere, or all in the zone of the first one that is made.

    Thread-safe: the batches of a run share it.

    Attributes:
        is_one: All hosts are in one zone.
        zone: That zone; empty as long as no host is known.
    """

    is_one: bool
    zone: str = ""
    _choosing: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Held while hosts are asked for: until the zone is known, one at a time."""
        with contextlib.ExitStack() as stack:
            if self._is_to_choose():
                stack.enter_context(self._choosing)
                if not self._is_to_choose():  # chosen while we waited
                    stack.close()
            yield

    def _is_to_choose(self) -> bool:
        return self.is_one and not self.zone

    def settle(self, zone: str) -> None:
        """A host is in this zone; the first one decides."""
        if self._is_to_choose():
            self.zone = zone

    def allows(self, pool: Pool) -> bool:
        """Whether hosts may be asked for from a pool."""
        return not self.is_one or self.zone in ("", pool.zone)

    def hint(self, pools: Sequence[Pool], empty: Collection[Pool]) -> str:
        """What in ec2.conf kept hosts from being made, if anything did; to be put behind the reason.

        Args:
            empty: Those that had no capacity.
        """
        others = {pool.zone for pool in pools if not self.allows(pool)}
        if others:
            return (
                f"; the run's hosts are in {self.zone}, so {', '.join(sorted(others))} cannot be "
                "asked: name another zone first, or spread them by `placement = any` in ec2.conf"
            )
        if any(pool.cluster for pool in empty):
            return (
                "; a placement group needs room for all in one place: `placement = zone` does not"
            )
        return ""

    def ladders(self, pools: Sequence[Pool]) -> list[list[Pool]]:
        """What one call may choose among: all pools, or those of one zone after the other."""
        allowed = [pool for pool in pools if self.allows(pool)]
        if not self.is_one:
            return [allowed]
        zones = dict.fromkeys(pool.zone for pool in allowed)
        return [[pool for pool in allowed if pool.zone == zone] for zone in zones]


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
