"""The host table of a run: who there is, how far each has come, and why one failed.

Thread-safe. A host's state changes only here, under the lock, and each change is one journal
record, so the table can be rebuilt from the journal by a fresh process (`Inventory.from_events`).
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from perfkit.errors import RunError, did_you_mean
from perfkit.model import Host, HostState, Role
from perfkit.runs.journal import Event, Journal
from perfkit.untrusted import one_line

EVENT_KIND = "host-state"

_ENDED = {HostState.FAILED, HostState.RELEASED}
_ORDER = [state for state in HostState if state not in _ENDED]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """One row of the table. `host` is None until the provider has made it."""

    name: str
    role: Role
    state: HostState = HostState.REQUESTED
    host: Host | None = None
    tunnel_address: str | None = None
    reason: str = ""
    log: str = ""

    @property
    def usable(self) -> bool:
        """It can be connected to: made, and neither failed nor released."""
        return self.host is not None and self.state not in _ENDED

    @property
    def has_failed(self) -> bool:
        """It failed, also if it was released since: only who failed has a reason."""
        return self.state is HostState.FAILED or bool(self.reason)

    def to_dict(self) -> dict[str, Any]:
        """As written to hosts.json."""
        return {
            "name": self.name,
            "role": self.role.value,
            "address": self.host.address if self.host else None,
            "traffic_address": self.host.traffic_address if self.host else None,
            "tunnel_address": self.tunnel_address,
            "machine": self.host.machine if self.host else "",
            "state": self.state.value,
            "reason": self.reason,
            "log": self.log,
        }


class Inventory:
    """The table. Create it with a journal, `add` hosts, `move` them, read `records()`."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._records: dict[str, HostRecord] = {}
        self._been: dict[HostState, set[str]] = {state: set() for state in HostState}
        self._changed = threading.Condition()

    @classmethod
    def from_events(cls, events: Iterable[Event], journal: Journal | None = None) -> Inventory:
        """Rebuild the table from a journal's events; nothing is written."""
        table = cls(journal)
        for event in events:
            if event.kind == EVENT_KIND:
                table._remember(_rows().validate_python(event.fields))
        return table

    def add(self, name: str, role: Role) -> None:
        """Enter a host as requested; a host that failed or was released may be asked for again."""
        with self._changed:
            known = self._records.get(name)
            if known is not None and known.state not in _ENDED:
                raise RunError(f"host {name} is in the inventory already, {known.state}")
            self._store(HostRecord(name=name, role=role))

    def enter(self, record: HostRecord) -> None:
        """Enter a host of another inventory as it is there; this one does not know it yet."""
        with self._changed:
            if record.name in self._records:
                raise RunError(f"host {record.name} is in the inventory already")
            self._store(record)

    def move(
        self,
        name: str,
        state: HostState,
        *,
        host: Host | None = None,
        reason: str = "",
        log: Path | None = None,
    ) -> None:
        """Move a host on; `failed` needs a reason. Moving to where it is already does nothing.

        Raises:
            RunError: unknown host, or a state that cannot follow its present one.
        """
        with self._changed:
            record = self._get(name)
            if record.state is state:
                return
            _check_step(record, state, reason)
            self._store(
                replace(
                    record,
                    state=state,
                    host=host or record.host,
                    reason=one_line(reason) or record.reason,
                    log=str(log) if log else record.log,
                )
            )

    def set_tunnel_address(self, name: str, address: str) -> None:
        """Record the address a host got inside the tunnel."""
        with self._changed:
            self._store(replace(self._get(name), tunnel_address=address))

    def wait_for_host(self, name: str) -> Host:
        """Wait until the provider has made a host, and return it.

        Raises:
            RunError: unknown, or it failed before it was made; the message says why.
        """
        with self._changed:
            # Not for ever at once: a stop gets through to a thread only between two waits.
            while not self._changed.wait_for(
                lambda: self._get(name).state is not HostState.REQUESTED, timeout=0.5
            ):
                pass
            record = self._get(name)
        if record.host is None:
            raise RunError(f"host {name} is {record.state}: {record.reason}")
        return record.host

    def records(self) -> tuple[HostRecord, ...]:
        """All rows: the server first, then clients by name."""
        with self._changed:
            return tuple(
                sorted(self._records.values(), key=lambda r: (r.role is Role.CLIENT, r.name))
            )

    def get_record(self, name: str) -> HostRecord:
        """One row.

        Raises:
            RunError: no such host; the message names the nearest one.
        """
        with self._changed:
            return self._get(name)

    def hosts(self, *states: HostState) -> list[Host]:
        """Usable hosts in any of the given states (no state given: in any), server first."""
        return [
            r.host
            for r in self.records()
            if r.usable and r.host and (not states or r.state in states)
        ]

    def names(self, *states: HostState) -> set[str]:
        """Names of the hosts in any of the given states."""
        with self._changed:
            return {record.name for record in self._records.values() if record.state in states}

    def have_been(self, state: HostState) -> list[Host]:
        """Hosts that reached a state at some time, failed ones included, the server first."""
        return [r.host for r in self.records() if r.host and r.name in self._been[state]]

    def counts(self) -> dict[HostState, int]:
        """How many hosts are in each state, empty states left out."""
        return dict(Counter(record.state for record in self.records()))

    def as_they_become(self, state: HostState) -> Iterator[Host]:
        """Yield each host once it has reached exactly `state`, until no host can any more.

        Blocks while hosts are still on their way, so a pool can drain it during a launch.
        """
        seen: set[str] = set()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready(state, seen) or not self._coming(state))
                ready = self._ready(state, seen)
            if not ready:
                return
            for host in ready:
                seen.add(host.name)
                yield host

    def _ready(self, state: HostState, seen: set[str]) -> list[Host]:
        return [
            r.host
            for r in self._records.values()
            if r.state is state and r.host and r.name not in seen
        ]

    def _coming(self, state: HostState) -> bool:
        earlier = _ORDER[: _ORDER.index(state)]
        return any(r.state in earlier for r in self._records.values())

    def _get(self, name: str) -> HostRecord:
        if name not in self._records:
            raise RunError(f"no host {name!r} in this run; {did_you_mean(name, self._records)}")
        return self._records[name]

    def _store(self, record: HostRecord) -> None:
        """Write the row and its journal record; the caller holds the lock.

        The record is on the disk with the next one that is waited for: the end of a batch or of a
        phase. So a thousand hosts do not wait for a disk each; a killed process loses nothing.
        """
        self._remember(record)
        if self._journal is not None:
            host = asdict(record.host) if record.host else None
            self._journal.append(EVENT_KIND, sync=False, **record.to_dict(), host=host)
        self._changed.notify_all()

    def _remember(self, record: HostRecord) -> None:
        self._records[record.name] = record
        self._been[record.state].add(record.name)


def _check_step(record: HostRecord, state: HostState, reason: str) -> None:
    if state is HostState.FAILED and not reason:
        raise RunError(f"host {record.name} cannot fail without a reason")
    if record.state is HostState.RELEASED or (
        record.state is HostState.FAILED and state is not HostState.RELEASED
    ):
        raise RunError(f"host {record.name} is {record.state}; it cannot become {state}")
    if state in _ORDER and _ORDER.index(state) < _ORDER.index(record.state):
        raise RunError(
            f"host {record.name} is {record.state} already; it cannot go back to {state}"
        )


@functools.cache
def _rows() -> TypeAdapter[HostRecord]:
    """What makes rows of events' fields, also of those that earlier versions wrote, with fewer."""
    return TypeAdapter(HostRecord)


def failed_lines(records: Sequence[HostRecord]) -> list[str]:
    """One line for each failed host: name, reason, log."""
    return [
        f"FAILED {r.name}: {r.reason}" + (f" (log: {r.log})" if r.log else "")
        for r in records
        if r.has_failed
    ]
