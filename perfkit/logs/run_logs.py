"""A run's logs as frames on one time line, and what must be known about them.

Times count from the run's T0 by the controller's clock: each host's clock is corrected by its
measured offset, and every placement carries the bound within which it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from perfkit.logs import frames
from perfkit.logs.links import LinkLog
from perfkit.model import NetworkPath, TestKind
from perfkit.runs.server_names import server_names
from perfkit.runs.vpn_record import VpnRecord, vpn_of
from perfkit.units import format_some


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader of the figures should know; a `warning` may change them."""

    where: str
    text: str
    level: Literal["warning", "note"] = "warning"


NAMED = 8  # hosts named in one finding; the table of logs has all


def grouped(findings: Sequence[Finding]) -> list[Finding]:
    """What was found alike in the same log of many hosts, said once with their names.

    Returns:
        The findings in the order in which each was first said.
    """
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        file = finding.where.rpartition("/")[2]
        alike.setdefault((file, finding.text, finding.level), []).append(finding)
    said = []
    for (file, text, _), found in alike.items():
        if len(found) == 1:
            said.append(found[0])
            continue
        hosts = [finding.where.rpartition("/")[0] for finding in found]
        where = ", see the table of logs" if len(hosts) > NAMED else ""
        named = f"{format_some(hosts, NAMED)}{where}"
        said.append(Finding(f"{file} of {len(hosts)} hosts", f"{text} ({named})", found[0].level))
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """A slot as timetable.json has it; seconds from T0.

    Attributes:
        server: Address of a server that is not ours, so it left no log; None = the run's own.
        server_script: The test runs something on the server, which leaves a log.
        kind: What the test measures.
        rate_bps: What each client was to offer; None = no limit.
        servers: How many logs there are of what it runs on the server.
        connect_s: Clients began so long before it, connected, and sent from its start on.
    """

    name: str
    test: str
    start_s: float
    duration_s: float
    path: NetworkPath
    server: str | None = None
    server_script: bool = True
    kind: TestKind = TestKind.TCP
    rate_bps: float | None = None
    servers: int = 1
    connect_s: float = 0.0

    @property
    def end_s(self) -> float:
        """Planned end."""
        return self.start_s + self.duration_s

    @property
    def server_names(self) -> tuple[str, ...]:
        """Names of those logs and their records, without their endings."""
        return server_names(self.name, self.servers)


def slot_from(record: Mapping[str, Any]) -> SlotPlan:
    """A slot from its row in timetable.json; earlier versions wrote less of it."""
    return SlotPlan(
        name=str(record["name"]),
        test=str(record["test"]),
        start_s=float(record["start_s"]),
        duration_s=float(record["duration_s"]),
        path=NetworkPath(record.get("path", "direct")),
        server=record.get("server"),
        server_script=bool(record.get("server_script", True)),  # earlier versions did not say
        kind=TestKind(record.get("kind", "tcp")),  # they knew no other
        rate_bps=record.get("rate_bps"),
        servers=int(record.get("servers", 1)),  # they had one
        connect_s=float(record.get("connect_s", 0.0)),  # their clients did not
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """A host's clock against the controller's, as measured before and after the tests.

    Attributes:
        measured_utc_s: Moments of the measurements, ascending; empty = never measured.
        offsets_s: Host minus controller at those moments.
        bound_s: Each offset is right within this; NaN = not known.
    """

    measured_utc_s: tuple[float, ...] = ()
    offsets_s: tuple[float, ...] = ()
    bound_s: float = np.nan

    def offset_s(self, utc_s: float) -> float:
        """Host minus controller at a moment: linear between measurements, flat outside."""
        if not self.offsets_s:
            return 0.0
        return float(np.interp(utc_s, self.measured_utc_s, self.offsets_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The provider said that it takes a host back; epoch seconds by the provider's clock."""

    noticed_utc_s: float
    reason: str


def clocks_from(records: Sequence[Mapping[str, Any]]) -> dict[str, Clock]:
    """Clocks by host from the records of clocks.json."""
    clocks = {}
    for host in {str(record["host"]) for record in records}:
        own = sorted(
            (float(r["measured_utc_s"]), float(r["offset_s"]), float(r["bound_s"]))
            for r in records
            if r["host"] == host
        )
        clocks[host] = Clock(
            tuple(moment for moment, _, _ in own),
            tuple(offset for _, offset, _ in own),
            max(bound for _, _, bound in own),
        )
    return clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNote:
    """One log that was read: where, what it is, how much, and what was not understood."""

    log: str  # relative to the run's raw folder
    format: str
    rows: int
    unparsed: int
    remark: str = ""


VPN_KINDS = ("vpn-clients", "vpn-counters", "vpn-events")


def _empty(kind: str, **more: str) -> Callable[[], pd.DataFrame]:
    return lambda: frames.empty(kind).assign(host="", t_s=np.nan, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class VpnLogs:
    """What the VPN said on all hosts; frames of `VPN_KINDS`, each row with its `host` and `t_s`.

    Attributes:
        clients: The server's status.
        counters: The clients' statistics.
        events: What all of them logged.
    """

    clients: pd.DataFrame = field(default_factory=_empty("vpn-clients"))
    counters: pd.DataFrame = field(default_factory=_empty("vpn-counters"))
    events: pd.DataFrame = field(default_factory=_empty("vpn-events"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLogs:
    """Everything `read_run` found; frames keep the contracts of `perfkit.logs.frames`.

    Attributes:
        manifest: The run's manifest.
        hosts: One row a host: name, role, machine, address, tunnel_address, state, reason, log.
        facts: What each host said about itself, by host.
        events, traffic, monitor, process, queues, limits: Frames `events`, `run-traffic`, `monitor`,
            `process`, `queues`, `limits`.
        vpn: What the VPN said.
        samples: Frame `samples`, each row with its `slot`, `host` and `t_s`.
        messages: What a tool said went wrong, by (slot, host).
        logs: One entry a log.
        interrupted: Of each host that its provider took back: when it said so, and how.
        links: Links that hosts had, and what those counted.
        server_exits: With which status each program that a test runs on the server ended, by slot.
    """

    run_id: str
    manifest: Mapping[str, Any]
    t0_utc_s: float
    slots: tuple[SlotPlan, ...]
    hosts: pd.DataFrame
    clocks: Mapping[str, Clock]
    facts: Mapping[str, Mapping[str, Any]]
    events: pd.DataFrame
    traffic: pd.DataFrame
    monitor: pd.DataFrame
    process: pd.DataFrame
    queues: pd.DataFrame = field(default_factory=_empty("queues"))
    limits: pd.DataFrame = field(default_factory=_empty("limits"))
    vpn: VpnLogs = field(default_factory=VpnLogs)
    samples: pd.DataFrame = field(default_factory=_empty("samples", slot=""))
    messages: Mapping[tuple[str, str], str] = field(default_factory=dict)
    logs: tuple[LogNote, ...] = ()
    findings: tuple[Finding, ...] = ()
    interrupted: Mapping[str, Notice] = field(default_factory=dict)
    links: LinkLog = field(default_factory=LinkLog)
    server_exits: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def vpn_record(self) -> VpnRecord:
        """Which VPN the run had, and its device on the server."""
        return vpn_of(self.manifest)

    @property
    def vpn_implementation(self) -> str:
        """What carries the VPN's packets on the server, `process: …` or `kernel: …`; empty: not said."""
        return str(self.facts.get(self.server, {}).get("vpn_implementation", ""))

    @property
    def vpn_in_kernel(self) -> bool:
        """The server's kernel carries the VPN's packets, so that no process's CPU time is theirs."""
        return self.vpn_implementation.startswith("kernel:")

    @property
    def server(self) -> str:
        """Name of the run's server; empty when it has none."""
        servers = self.hosts.loc[self.hosts["role"] == "server", "name"]
        return str(servers.iloc[0]) if len(servers) else ""

    @property
    def clients(self) -> list[str]:
        """Names of all clients the run was to have, failed ones included, sorted."""
        return sorted(self.hosts.loc[self.hosts["role"] == "client", "name"])

    def server_logs_lacking(self, slot: SlotPlan) -> list[str]:
        """Logs of a test's programs on the server that are not there or that no reader understands."""
        read = {note.log for note in self.logs if note.format not in ("unread", "partial")}
        names = [f"{name}.log" for name in slot.server_names]
        return [name for name in names if f"{self.server}/{name}" not in read]

    @property
    def machines(self) -> dict[str, str]:
        """The machine that each host is on, by host; empty where machines have no names of their own."""
        if "machine" not in self.hosts:
            return {}
        named = self.hosts[(self.hosts["machine"] != "").to_numpy(dtype=bool)]
        return {str(n): str(m) for n, m in zip(named["name"], named["machine"], strict=True)}

    def is_understood(self, slot: str) -> bool:
        """Whether a reader could make something of a traffic log of a test, on any host."""
        own = [note for note in self.logs if note.log.rpartition("/")[2].startswith(f"{slot}.")]
        lost = {note.log for note in own if note.format in ("unread", "partial")}
        return any(note.log not in lost for note in own)

    def __repr__(self) -> str:
        rows = {"traffic": self.traffic, "monitor": self.monitor, "process": self.process}
        sizes = ", ".join(f"{len(frame)} {name}" for name, frame in rows.items())
        return f"<RunLogs {self.run_id}: {len(self.slots)} slots; rows: {sizes}>"
