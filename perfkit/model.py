"""The frozen dataclasses handed between rooms; no behaviour beyond what they derive from themselves.

Times: `*_utc` is an aware UTC `datetime`; `*_s` is in seconds, from the run's T0 where it is a
moment. Intervals are half-open, [start, end).
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any


class Role(StrEnum):
    """What a host is in the run."""

    SERVER = "server"
    CLIENT = "client"


def host_names(clients: int) -> list[tuple[str, Role]]:
    """The hosts of a run: the server, and the clients with as many digits as the last one needs.

    At least three digits; the names sort as the numbers do.
    """
    digits = max(3, len(str(clients)))
    names = [(f"client-{n:0{digits}d}", Role.CLIENT) for n in range(1, clients + 1)]
    return [("server", Role.SERVER), *names]


class HostState(StrEnum):
    """How far a host has come, in that order; only `perfkit.fleet.inventory` moves it on."""

    REQUESTED = "requested"
    RUNNING = "running"
    REACHABLE = "reachable"
    CONFIGURED = "configured"
    ARMED = "armed"
    DONE = "done"
    RELEASED = "released"
    FAILED = "failed"


class TestKind(StrEnum):
    """What a test measures, which decides what its figures are."""

    __test__ = False  # not a pytest class, whatever its name says

    TCP = "tcp"
    TCP_BOTH = "tcp-both"  # both ways at once
    UDP = "udp"
    PPS = "pps"  # small packets
    LATENCY = "latency"  # round-trip time, without and with load
    REQUESTS = "requests"  # short TCP connections
    CONNECT_STORM = "connect-storm"  # all clients connect at once
    IDLE = "idle"  # connected clients that do nothing

    @property
    def has_traffic(self) -> bool:
        """Its traffic fills the window; of the others a goodput would say nothing."""
        return self in (TestKind.TCP, TestKind.TCP_BOTH, TestKind.UDP, TestKind.PPS)

    @property
    def has_goodput(self) -> bool:
        """It has one goodput; of traffic both ways each way has its own, and they are never added."""
        return self.has_traffic and self is not TestKind.TCP_BOTH

    @property
    def is_of_all_connected(self) -> bool:
        """Its figures are of everybody who is connected, so that nobody else may be."""
        return self in (TestKind.CONNECT_STORM, TestKind.IDLE)


class NetworkPath(StrEnum):
    """Which way a test's traffic goes to the server."""

    DIRECT = "direct"  # out-of-tunnel: the server's own address
    TUNNEL = "tunnel"  # in-tunnel: the server's address inside the VPN


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """An SSH server on the way to a host; pinned like one, and nothing is run on it.

    Attributes:
        host_key: Public host key, `ssh-ed25519 AAAA…`.
        key_file: Private key it lets in; empty: the run's.
    """

    name: str
    address: str
    host_key: str
    port: int = 22
    user: str = "root"
    key_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine that can be reached over SSH.

    Attributes:
        name: Unique in the run: `server`, `client-001`, …
        address: Where SSH goes, and out-of-tunnel traffic unless `inside_address` says otherwise.
        host_key: Public host key, `ssh-ed25519 AAAA…`, pinned before the first connection.
        workdir: Absolute folder on the host that perfkit owns; everything it puts there lives in it.
        can_tunnel: The host may open /dev/net/tun.
        key_file: Private key that the host lets in; empty: the run's.
        jump: SSH goes through it; None: directly.
        inside_address: Where the run's other hosts reach it, if not at `address`.
        ipv6_address: Where they reach it by IPv6 as well; empty: nowhere.
        machine: The existing machine that it is or shares: its clock, processors and NIC are its.
    """

    name: str
    role: Role
    address: str
    host_key: str
    port: int = 22
    user: str = "root"
    workdir: str = "/var/lib/perfkit"
    can_tunnel: bool = True
    key_file: str = ""
    jump: Jump | None = None
    inside_address: str = ""
    ipv6_address: str = ""
    machine: str = ""

    @property
    def traffic_address(self) -> str:
        """Where out-of-tunnel traffic from the run's other hosts goes."""
        return self.inside_address or self.address

    def reached_by(self, ip_version: int | None) -> Host | None:
        """The host with traffic that goes to it by a version of IP (None: by any), if it has such."""
        if ip_version in (None, 6 if ":" in self.traffic_address else 4):
            return self
        other = self.ipv6_address if ip_version == 6 else self.address
        fits = other and (":" in other) is (ip_version == 6)
        return replace(self, inside_address=other) if fits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """What lies between a host and the others of its run, the same in both directions.

    Attributes:
        rate_bps: Most that it carries, bit/s of Ethernet frames without their checksum; None: no bound.
        loss_ratio: Share of the packets that it loses, each by chance and by itself.
        delay_s: What it adds to each packet's way, so twice as much to a round trip.
        jitter_s: By how much that varies.
    """

    rate_bps: float | None = None
    loss_ratio: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityGoal:
    """What a search for capacity looks for; loads are payload of all clients together.

    Attributes:
        loss_ratio: Most that may be lost of the datagrams.
        width: How near the bounds must be, as a share of the upper one.
        exceed_ratio: Share of `trials` that may lose more at a load that is carried all the same.
        trials: That a load is decided by, at most.
        from_bps, to_bps: The loads between which is searched.
    """

    loss_ratio: float
    width: float = 0.05
    exceed_ratio: float = 0.5
    trials: int = 3
    from_bps: float = 1e6
    to_bps: float = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSpec:
    """One section of tests.conf: a script, when it starts, and how long it runs.

    Attributes:
        script: Runs on every client as `<script> <remote> <peer>`.
        server_script: `<script>.server` beside it, if there is one; runs on the run's own server
            around the slot, with the same arguments.
        time_min: Minutes from T0; None = as soon as the test before it is over.
        server: Address of a server that exists already; None = the run's own.
        port: Where the server listens; the scripts' `$PERFKIT_PORT`.
        needs: Programs that the scripts run.
        path: Which address carries the traffic; `tunnel` tests need hosts that can tunnel.
        kind: What it measures.
        rate_bps: What each client is to offer, the scripts' `$PERFKIT_RATE_BPS`; None: no limit.
        packet_bytes: Payload of each datagram, the scripts' `$PERFKIT_PACKET_BYTES`; None: theirs.
        clients_per_server: Most that one run of the server's script serves; None: one serves all.
        connect_first: Clients connect before its start, and send from `$PERFKIT_SEND_AT` on.
        in_all: Whether `tests = all` runs it.
    """

    __test__ = False  # not a pytest class, whatever its name says

    name: str
    script: Path
    server_script: Path | None
    duration_s: float
    time_min: float | None = None
    server: str | None = None
    port: int = 5001
    needs: tuple[str, ...] = ()
    path: NetworkPath = NetworkPath.DIRECT
    kind: TestKind = TestKind.TCP
    rate_bps: float | None = None
    packet_bytes: int | None = None
    clients_per_server: int | None = None
    connect_first: bool = False
    in_all: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A named set of changes to what stands in resources/ and tests.conf; `base` has none.

    Attributes:
        vpn_options: By role (`server`, `client`): values of the VPN's options by their names.
        vpn: Name of another VPN than the run's; empty: the run's. The options are this one's.
        binary: The VPN's program on hosts; empty: the usual one.
        resources: Folder of files that replace those of the same path in resources/.
        test_parameters: `<test>.<key>` of tests.conf -> the value there.
        control: It may equal another variant, to show what differs by chance alone.
        rate_bps: What each client is to offer; None: as the parameters say.
        links: By role or name of a host: the link that it has in place of that of the parameters.
        inside_ip, outside_ip: The version of IP in the tunnel and outside it, 4 or 6; None: as the
            parameters say.
    """

    name: str
    vpn: str = ""
    vpn_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    binary: str = ""
    resources: Path | None = None
    test_parameters: Mapping[str, str] = field(default_factory=dict)
    control: bool = False
    rate_bps: float | None = None
    links: Mapping[str, HostLink] = field(default_factory=dict)
    inside_ip: int | None = None
    outside_ip: int | None = None


BASE_VARIANT = Variant(name="base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A test in the timetable: [start_s, start_s + duration_s) from T0.

    Attributes:
        name: `01-direct-tcp`: position and test.
        servers: How often the server's script runs, each with a port of its own, from the test's on.
        connect_s: The clients' scripts begin so long before it, to be connected when it starts.
        grace_s: Time after the end in which clients may still finish; then they are ended.
    """

    name: str
    test: TestSpec
    start_s: float
    grace_s: float = 3.0
    servers: int = 1
    connect_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Planned length in seconds."""
        return self.test.duration_s

    @property
    def end_s(self) -> float:
        """Planned end in seconds from T0."""
        return self.start_s + self.test.duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """What one host made of one phase; workers return it and never raise."""

    host: str
    ok: bool
    elapsed_s: float = 0.0
    reason: str = ""  # the error's class and first line, empty when ok
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a fleet made of one phase: one `HostResult` a host, failed ones first in its table."""

    stage: str
    results: Sequence[HostResult] = field(default_factory=tuple)
    elapsed_s: float = 0.0

    @property
    def ok(self) -> tuple[HostResult, ...]:
        """The hosts that made it."""
        return tuple(r for r in self.results if r.ok)

    @property
    def failed(self) -> tuple[HostResult, ...]:
        """The hosts that did not."""
        return tuple(r for r in self.results if not r.ok)

    def __str__(self) -> str:
        made = f"{len(self.ok)} of {len(self.results)} hosts"
        head = f"{self.stage}: {made} in {self.elapsed_s:.1f} s"
        return "\n".join([head, *(f"  FAILED {r.host}: {r.reason}" for r in self.failed)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(r.host)}</td><td>{html.escape(r.reason)}</td>"
            f"<td>{html.escape(str(r.log or ''))}</td></tr>"
            for r in self.failed
        )
        head = html.escape(str(self).splitlines()[0])
        if not rows:
            return f"<p>{head}</p>"
        names = "<tr><th>failed host</th><th>reason</th><th>log</th></tr>"
        return f"<p>{head}</p><table>{names}{rows}</table>"


# The tools and the monitor print once a second: less is a part of one figure, and no window.
SHORTEST_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open interval [start_s, end_s) in seconds from T0."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds, negative when the borders are the wrong way round."""
        return self.end_s - self.start_s

    @property
    def is_long_enough(self) -> bool:
        """It can be a window of a test: see `SHORTEST_WINDOW_S`; borders are floats."""
        return self.length_s >= SHORTEST_WINDOW_S - 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The window of a slot that counts.

    Attributes:
        outer: Any client active.
        steady: All counted clients active; None when they never were at the same time.
        chosen_by: `events`, `stamps` or `change-points` (both guesses), or a person's name.
        confidence: 0..1; 1 for recorded events.
        log_sha256: Hash of the log the window was chosen on; a window of another log is stale.
        warm_up_s: What was cut off the begin of `steady`, see `perfkit.analysis.steady_state`.
    """

    slot: str
    test: str
    outer: Window
    steady: Window | None
    chosen_by: str
    confidence: float = 1.0
    log_sha256: str = ""
    chosen_utc: datetime | None = None
    notes: tuple[str, ...] = ()
    warm_up_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As written to segments.json."""
        return {
            "slot": self.slot,
            "test": self.test,
            "outer_s": [self.outer.start_s, self.outer.end_s],
            "steady_s": [self.steady.start_s, self.steady.end_s] if self.steady else None,
            "chosen_by": self.chosen_by,
            "confidence": self.confidence,
            "log_sha256": self.log_sha256,
            "chosen_utc": self.chosen_utc.isoformat() if self.chosen_utc else None,
            "notes": list(self.notes),
            "warm_up_s": self.warm_up_s,
        }
