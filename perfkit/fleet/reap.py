"""Find and release what runs have left behind, by tag, from a fresh process with no local state.

A reap lists first and asks afterwards: what a provider's own listing shows is the truth. It
repeats until a listing stays empty, since a launch that was under way can still bring a host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from perfkit.fleet.provider import ListedHost, Provider, ReleaseReport

MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFleet:
    """What carries one run's tag at one provider."""

    provider: str
    run_id: str
    hosts: tuple[ListedHost, ...]
    residue: tuple[str, ...]

    @property
    def expired(self) -> bool:
        """All its hosts should have ended by themselves already."""
        now = datetime.now(UTC)
        return all(host.expires_utc < now for host in self.hosts)

    def __str__(self) -> str:
        if not self.hosts:
            return f"{self.run_id}: no hosts at {self.provider}, but {', '.join(self.residue)}"
        until = max(host.expires_utc for host in self.hosts)
        return (
            f"{self.run_id}: {len(self.hosts)} hosts at {self.provider}, owner "
            f"{self.hosts[0].owner}, end by themselves at {until:%Y-%m-%d %H:%M:%S} UTC"
        )


def survey(provider: Provider) -> list[FoundFleet]:
    """All fleets a provider lists, by run: hosts, and whatever else carries the tag."""
    by_run: dict[str, list[ListedHost]] = {run_id: [] for run_id in provider.runs()}
    for host in provider.hosts():
        by_run.setdefault(host.run_id, []).append(host)
    return [
        FoundFleet(
            provider=provider.name,
            run_id=run_id,
            hosts=tuple(hosts),
            residue=tuple(provider.residue(run_id)),
        )
        for run_id, hosts in sorted(by_run.items())
    ]


def release_until_quiet(
    provider: Provider,
    run_id: str,
    *,
    quiet_s: float = 0.0,
    poll_s: float = 5.0,
    give_up_s: float = 1800.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> ReleaseReport:
    """Release a run, again and again, until its listing has stayed empty.

    Args:
        quiet_s: How long it must stay empty: longer than a host that was asked for may take to
            appear (0 for a provider whose calls end when the host is there: two looks).
        poll_s: Seconds between two looks.
        give_up_s: No further release is begun after so long.
    """
    released: list[str] = []
    deadline_s = clock() + give_up_s
    for _ in range(MAX_ROUNDS):
        report = provider.release(run_id)
        released += report.released
        if _stays_empty(provider, run_id, quiet_s, poll_s, sleep, clock):
            return ReleaseReport(released=tuple(released))
        if clock() > deadline_s:
            break
    leaked = tuple(dict.fromkeys([*report.leaked, *_left(provider, run_id)]))
    return ReleaseReport(leaked=leaked, released=tuple(released))


def _stays_empty(
    provider: Provider,
    run_id: str,
    quiet_s: float,
    poll_s: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> bool:
    """Whether nothing shows up for `quiet_s`; there are always two looks."""
    quiet_at_s = clock() + quiet_s
    while not _left(provider, run_id):
        left_s = quiet_at_s - clock()
        sleep(max(0.0, min(poll_s, left_s)))
        if left_s <= poll_s:
            return not _left(provider, run_id)
    return False


def _left(provider: Provider, run_id: str) -> Sequence[str]:
    hosts = [f"{host.name} ({host.identity})" for host in provider.hosts(run_id)]
    return [*hosts, *provider.residue(run_id)]
