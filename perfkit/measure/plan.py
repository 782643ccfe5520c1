"""Tests in, timetable out: when each test runs, on which addresses, and the crontab that says so.

A slot is [start_s, end_s) from T0. Between two slots lies a gap, because a test is more than its
traffic: clients may connect before the slot, its server script starts `SERVER_LEAD_S` before that,
and clients have the slot's grace after it, the server script a little more, before they are ended.
A server script on another port than that of the test before starts while that one still ends.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from perfkit.errors import ScheduleError
from perfkit.measure.pacing import ALONE, Pacing, connect_s_for, connected_grace_for
from perfkit.model import Host, NetworkPath, Role, Slot, TestKind, TestSpec
from perfkit.units import NS_PER_S, format_duration, minutes_to_s

SERVER_LEAD_S = 2.0
SERVER_OUTLASTS_S = 0.5  # the clients: it counts their last bytes
SERVER_LEAVES_S = 0.5  # its port, before the next slot's server comes
# Some need so much longer: several programs, each of hundreds of clients, and iperf 2 both ways, which
# waits for clients that were cut off. `run-slot` ends by force what has not ended 2 s after it was told,
# and 550 connections that nobody closed then took another 1.1 s.
SLOW_LEAVE_S = 4.0

CRONTAB_BEGIN = "# perfkit: begin"
CRONTAB_END = "# perfkit: end"

_PLAIN = re.compile(r"[A-Za-z0-9:][A-Za-z0-9._:%-]*")


def servers_for(test: TestSpec, clients: int) -> int:
    """How often a test's script runs on the server, so that none serves too many clients."""
    if test.clients_per_server is None or test.server_script is None or test.server is not None:
        return 1
    return max(1, math.ceil(clients / test.clients_per_server))


def server_ports(test: TestSpec, clients: int) -> frozenset[int]:
    """Where a test's script listens on the run's own server."""
    own = range(servers_for(test, clients)) if test.server is None else ()
    return frozenset(test.port + more for more in own)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    """How long before and after a test its clients need; for the attributes see `plan`."""

    clients: int
    grace_s: float
    direct_grace_s: float | None

    def grace_s_of(self, test: TestSpec) -> float:
        """Time after a test in which its clients may still end."""
        is_beside = test.path is NetworkPath.DIRECT and test.server is None
        if is_beside and self.direct_grace_s is not None:
            return self.direct_grace_s
        return (
            min(self.grace_s, connected_grace_for(self.clients))
            if test.connect_first
            else self.grace_s
        )

    def connect_s_of(self, test: TestSpec) -> float:
        """Time before a test in which its clients connect."""
        return connect_s_for(self.clients) if test.connect_first else 0.0

    def gap_s(self, test: TestSpec, following: TestSpec) -> float:
        """Least time from the end of a test to the start of the next."""
        leaves_s = _leaves_s(test, servers_for(test, self.clients))
        must_wait = server_ports(test, self.clients) & server_ports(following, self.clients)
        lead_s = SERVER_LEAD_S if must_wait else 0.0
        return self.grace_s_of(test) + leaves_s + lead_s + self.connect_s_of(following)


def plan(
    tests: Sequence[TestSpec],
    *,
    clients: int = 1,
    grace_s: float = 3.0,
    direct_grace_s: float | None = None,
) -> tuple[Slot, ...]:
    """Give every test its place after T0.

    A test with `time_min` starts then; one without starts as soon as the one before it in
    `tests` is over. The slots come back in the order of their starts, numbered from 01.

    Args:
        tests: As they stand in tests.conf.
        clients: That take part.
        grace_s: Time after a slot in which its clients may still end; see `perfkit.measure.pacing.grace_for`.
        direct_grace_s: The same of tests beside the tunnel to the run's own server; None: as the
            others.

    Raises:
        ScheduleError: two tests are too near to each other, or a start lies before T0.
    """
    fleet = _Fleet(clients=clients, grace_s=grace_s, direct_grace_s=direct_grace_s)
    placed: list[tuple[float, TestSpec]] = []
    for test in tests:
        start_s = 0.0 if test.time_min is None else minutes_to_s(test.time_min)
        if test.time_min is None and placed:
            before_s, before = placed[-1]
            start_s = before_s + before.duration_s + fleet.gap_s(before, test)
        if start_s < 0:
            raise ScheduleError(
                f"test {test.name!r}: time = {test.time_min:g} min lies before T0; "
                "times count from the run's start: give 0 or more"
            )
        placed.append((start_s, test))
    placed.sort(key=lambda place: place[0])
    for (start_s, test), (next_s, following) in itertools.pairwise(placed):
        _check_gap(test, start_s, following, next_s, fleet.gap_s(test, following))
    return tuple(
        Slot(
            name=f"{number:02d}-{test.name}",
            test=test,
            start_s=start_s,
            grace_s=fleet.grace_s_of(test),
            servers=servers_for(test, clients),
            connect_s=fleet.connect_s_of(test),
        )
        for number, (start_s, test) in enumerate(placed, start=1)
    )


def _check_gap(
    test: TestSpec, start_s: float, following: TestSpec, next_s: float, gap_s: float
) -> None:
    end_s = start_s + test.duration_s
    # Minutes are decimal fractions: 0.1 + 0.2 style noise must not make a test overlap.
    if next_s - end_s >= gap_s - 1e-6:
        return
    earliest_min = (end_s + gap_s) / 60
    how = "overlap" if next_s < end_s else f"are only {format_duration(next_s - end_s)} apart"
    raise ScheduleError(
        f"tests {test.name!r} (T+{start_s:g} s to T+{end_s:g} s) and {following.name!r} "
        f"(from T+{next_s:g} s) {how}; {gap_s:g} s between them are needed for servers to stop "
        f"and start: set [{following.name}] time to {earliest_min:.3f} (minutes) or more, "
        f"leave it out to follow the test before it, or shorten [{test.name}] duration"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the run's own server is: `remote` out-of-tunnel, `peer` in-tunnel (None: no VPN)."""

    remote: str
    peer: str | None = None

    def of(self, slot: Slot) -> tuple[str, str]:
        """The two arguments of a slot's script; a server that exists already is given as both."""
        if slot.test.server is not None:
            return slot.test.server, slot.test.server
        return self.remote, self.peer or self.remote


def timetable_dict(
    slots: Sequence[Slot], *, t0_utc_s: float, starter: str, addresses: Addresses
) -> dict[str, Any]:
    """The timetable as written to timetable.json; `t0_utc_s` in seconds since the epoch."""
    rows = []
    for slot in slots:
        remote, peer = addresses.of(slot)
        rows.append(
            {
                "name": slot.name,
                "test": slot.test.name,
                "start_s": slot.start_s,
                "duration_s": slot.duration_s,
                "path": slot.test.path.value,
                "kind": slot.test.kind.value,
                "rate_bps": slot.test.rate_bps,
                "server": slot.test.server,
                "server_script": slot.test.server_script is not None,
                "remote_address": remote,
                "peer_address": peer,
                **({"servers": slot.servers} if slot.servers > 1 else {}),
                **({"connect_s": slot.connect_s} if slot.connect_s else {}),
            }
        )
    return {"t0_utc_s": t0_utc_s, "starter": starter, "slots": rows}


def programs_on(slot: Slot, role: Role) -> int:
    """How many programs a host of this role runs in the slot, each by an order of its own."""
    if role is Role.CLIENT:
        return 1
    return slot.servers if slot.test.server_script and slot.test.server is None else 0


def begin_s(slot: Slot, role: Role) -> float:
    """When a slot's script begins on a host of this role, from T0: the server's before the clients'."""
    return slot.start_s - slot.connect_s - (SERVER_LEAD_S if role is Role.SERVER else 0.0)


def runs_on(slot: Slot, role: Role) -> bool:
    """Whether a host of this role has something to run in the slot."""
    return programs_on(slot, role) > 0


def over_s(slot: Slot, role: Role) -> float:
    """When a slot's script is ended on a host of this role at the latest, and has left, from T0."""
    more_s = _leaves_s(slot.test, slot.servers) if role is Role.SERVER else 0.0
    return slot.end_s + slot.grace_s + more_s


def _leaves_s(test: TestSpec, servers: int) -> float:
    """How long after the last client a test's server may be there."""
    is_slow = test.kind is TestKind.TCP_BOTH or servers > 1
    return SERVER_OUTLASTS_S + SERVER_LEAVES_S + (SLOW_LEAVE_S if is_slow else 0.0)


def order_names(slot: Slot, role: Role) -> tuple[str, ...]:
    """Names of a host's orders for a slot: `01-a`, and on the server `01-a.2` and so on."""
    numbers = range(1, programs_on(slot, role) + 1)
    return tuple(slot.name if number == 1 else f"{slot.name}.{number}" for number in numbers)


def order(
    slot: Slot,
    host: Host,
    *,
    t0_utc_s: float,
    starter: str,
    addresses: Addresses,
    pacing: Pacing = ALONE,
    number: int = 1,
) -> Mapping[str, str]:
    """What `run-slot` on one host must know about one slot: the lines of its .order file.

    Times are integer nanoseconds since the epoch, because a POSIX shell has no fractions. Orders
    start as `begin_s` says, and the server's is stopped `SERVER_OUTLASTS_S` after those of clients;
    `t0_ns` is the slot's own start on both, which scripts find as `$PERFKIT_T0`. Clients that connect
    before it send from `send_ns` on, `$PERFKIT_SEND_AT`.

    Args:
        number: Of the server's programs in the slot, from 1: that one, or the one that serves a client.

    Raises:
        ScheduleError: a value is not the plain word it must be to go into a file of key=value.
    """
    remote, peer = addresses.of(slot)
    t0_s, end_s = t0_utc_s + slot.start_s, t0_utc_s + slot.end_s
    start_s = t0_utc_s + begin_s(slot, host.role)
    limit_s = end_s + slot.grace_s
    if host.role is Role.SERVER:
        limit_s += SERVER_OUTLASTS_S
    lines = {
        "host": host.name,
        "role": host.role.value,
        "slot": slot.name,
        "test": slot.test.name,
        "starter": starter,
        "start_ns": str(_ns(start_s)),
        "end_ns": str(_ns(end_s)),
        "limit_ns": str(_ns(limit_s)),
        "t0_ns": str(_ns(t0_s)),
        "late_ns": str(_ns(pacing.late_of(host.role))),
        "spread_ns": str(_ns(pacing.spread_s)),
        "duration_s": f"{slot.duration_s:g}",
        "port": str(slot.test.port + number - 1),
        "remote": remote,
        "peer": peer,
    }
    if host.role is Role.SERVER and number > 1:
        lines["server_number"] = str(number)
    if host.role is Role.CLIENT and slot.connect_s:
        lines["send_ns"] = str(_ns(t0_s))
    if slot.test.rate_bps is not None:
        lines["rate_bps"] = f"{slot.test.rate_bps:.0f}"
    if slot.test.packet_bytes is not None:
        lines["packet_bytes"] = str(slot.test.packet_bytes)
    _refuse_odd(lines, f"{host.name}, slot {slot.name}")
    return lines


def _refuse_odd(lines: Mapping[str, str], where: str) -> None:
    for key, value in lines.items():
        if not _PLAIN.fullmatch(value):
            raise ScheduleError(
                f"{where}: {key} = {value!r} is not a plain word; "
                "letters, digits and . _ : % - are allowed"
            )


def _ns(moment_s: float) -> int:
    # Whole microseconds first: a float of today's epoch resolves 0.2 us, the rest is noise.
    return round(moment_s * 1e6) * (NS_PER_S // 10**6)


def crontab(
    slots: Sequence[Slot],
    t0_utc: datetime,
    *,
    shell: str,
    path: str,
    workdir: str,
    role: Role = Role.CLIENT,
) -> str:
    """Write the crontab of one host: one line an order, in UTC, one minute early.

    cron knows minutes only and no year. Each line therefore starts `run-slot` in the minute
    before the slot's own (the slot's exact second is 60 to 120 s later), which waits for the
    exact second, and which refuses a line that fires again a year later. A line holds nothing a
    user wrote but the names of tests, which are plain words.

    Args:
        slots: The slots this host has something to run in.
        t0_utc: Aware.
        shell: For SHELL=, an absolute path.
        path: For PATH=.
        workdir: The host's work folder.
        role: The host's.

    Raises:
        ScheduleError: `shell`, `path` or `workdir` would break the line they stand in.
    """
    for name, value in (("shell", shell), ("path", path), ("workdir", workdir)):
        if not value.startswith("/") or not value.isprintable():
            raise ScheduleError(
                f"crontab: {name} = {value!r}; expected an absolute path on one line"
            )
    lines = [CRONTAB_BEGIN, f"SHELL={shell}", f"PATH={path}", 'MAILTO=""']
    named = [(slot, name) for slot in slots for name in order_names(slot, role)]
    for slot, name in named:
        fires = fires_utc(t0_utc, slot)
        command = (
            f"{shlex.quote(f'{workdir}/bin/run-slot')} "
            f"{shlex.quote(f'{workdir}/slots/{name}.order')} >/dev/null 2>&1"
        )
        # cron turns an unescaped % into a newline, also between quotes.
        escaped = command.replace("%", r"\%")
        lines.append(f"{fires.minute} {fires.hour} {fires.day} {fires.month} * {escaped}")
    # cron ignores a last line without its newline.
    return "\n".join([*lines, CRONTAB_END]) + "\n"


def fires_utc(t0_utc: datetime, slot: Slot) -> datetime:
    """The full minute before the minute of the slot's start; cron fires its line then."""
    start = t0_utc.astimezone(UTC) + timedelta(seconds=slot.start_s)
    return start.replace(second=0, microsecond=0) - timedelta(minutes=1)
