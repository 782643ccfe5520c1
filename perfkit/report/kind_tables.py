"""What tests of other kinds than TCP came to: a table each, and a picture of what their clients observed.

A kind whose clients print samples has a table of its figures here, and every quantity that is a time is
drawn as its distribution, a line for each test and phase.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import (
    both_ways,
    connecting,
    datagram_loss,
    idle_clients,
    offered,
    round_trips,
    short_connections,
)
from perfkit.analysis.kind_figures import HEADLINE
from perfkit.analysis.slot_figures import QUANTILES_METHOD
from perfkit.analysis.stats import Summary
from perfkit.logs.run_logs import RunLogs
from perfkit.model import TestKind
from perfkit.report import columns
from perfkit.report.tables import Column, ReportTable, filled, is_known
from perfkit.units import s_to_ms

_CLIENTS = Column("clients_counted", "Clients")
_LOAD = (
    columns.TEST,
    _CLIENTS,
    columns.mbps("offered_bps", "Offered", 1),
    columns.mbps("goodput_bps", "Carried", 1),
    Column("loss_ratio", "Loss", "%", digits=3, scale=0.01),
    Column("clients_carrying", "Carrying"),
    Column("pps", "Packets", "/s"),
    Column("vpn_cpu_us_per_packet", "VPN CPU", "µs/packet", digits=2),
)
_PACKETS_METHOD = (
    f"{offered.METHOD}. {datagram_loss.METHOD}. Packets: "
    "datagrams that arrived in the steady window, per second; VPN CPU: of the server's VPN, per such datagram"
)
GOODPUT_WORDS: Mapping[str, str] = {  # behind a test's name
    "goodput_bps": "",
    "goodput_up_bps": " up",
    "goodput_down_bps": " down",
}
Rows = Sequence[Mapping[Hashable, Any]]


@dataclass(frozen=True, slots=True)
class _Table:
    """One kind's table: its name, title, columns, and the figures of which a test has one to be in it."""

    name: str
    title: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    caption: str
    method: str


def _connects(stem: str) -> tuple[Column, ...]:
    """Test, clients, and the times of a phase."""
    times = (("median_s", "Median"), ("p99_s", "p99"), ("max_s", "Slowest"))
    return (
        columns.TEST,
        _CLIENTS,
        *(Column(f"{stem}_{key}", heading, "s", digits=3) for key, heading in times),
    )


_UP, _DOWN, *_EACH = columns.BOTH_WAYS
_BOTH_WAYS = (
    columns.TEST,
    _CLIENTS,
    _UP,
    columns.mbps("goodput_ci_up_bps", "± up", 1),
    _DOWN,
    columns.mbps("goodput_ci_down_bps", "± down", 1),
    columns.mbps("offered_bps", "Offered each way", 1),
    *_EACH,
    Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit", digits=2),
)

TABLES = (
    _Table(
        "directions", "Both ways at once", _BOTH_WAYS, both_ways.GOODPUT[1:],
        "Up: clients to server; down: server to clients. The two are never added.",
        f"{both_ways.METHOD}. Offered: the rate asked of each end. ±: half of the 95 % interval.",
    ),
    _Table(
        "offered", "Offered and carried", _LOAD, ("offered_bps", "pps"),
        "Offered: what the clients sent. Carried: what arrived in the steady window.",
        f"{_PACKETS_METHOD}.",
    ),
    _Table(
        "latency", "Round-trip times",
        (columns.TEST, _CLIENTS, *columns.RTT, columns.mbps("load_bps", "Load", 1)),
        ("rtt_median_s", "rtt_loaded_median_s"),
        "Load: a TCP stream of each client. Medians, over all round trips of all clients.",
        f"{round_trips.METHOD}. {QUANTILES_METHOD}.",
    ),
    _Table(
        "requests", "Short TCP connections", (columns.TEST, _CLIENTS, *columns.REQUESTS),
        ("requests_per_s",), "Each client makes one after the other: connect, ask, answer, end.",
        f"{short_connections.METHOD}. {QUANTILES_METHOD}.",
    ),
    _Table(
        "connect", "All clients connect at once",
        (*_connects("connect"), *columns.CONNECT[2:]), ("connect_failed",),
        "Every client starts its VPN at the same instant.", f"{connecting.METHOD}.",
    ),
    _Table(
        "reconnect", "All clients connect again after the server's VPN was restarted",
        (*_connects("reconnect"), *columns.RECONNECT[2:]), ("reconnect_failed",),
        "The server's VPN was down for a tenth of the test.", f"{connecting.METHOD}.",
    ),
    _Table(
        "idle", "Clients that do nothing",
        (
            columns.TEST, _CLIENTS, *columns.IDLE[:2],
            Column("vpn_rss_empty_bytes", "Without clients", "MB", digits=2, scale=columns.MEGA),
            *columns.IDLE[2:],
            Column("idle_tunnel_bps", "In the tunnel", "bit/s", digits=0),
        ),
        ("vpn_rss_bytes", "idle_bps"),
        "The server's VPN was started anew before its clients came.", f"{idle_clients.METHOD}.",
    ),
)  # fmt: skip


def kind_tables(tests: Rows) -> list[ReportTable]:
    """The tables that some test has a figure for, each with those tests.

    Args:
        tests: Rows of `Summary.tests`.
    """
    made = []
    for table in TABLES:
        own = [row for row in tests if any(is_known(row.get(key)) for key in table.keys)]
        if table.name == "offered":  # of each way, in the table of both
            own = [row for row in own if not goes_both_ways(row)]
        known = [c for c in table.columns if any(_there(row.get(c.key)) for row in own)]
        made.append(
            ReportTable.from_records(
                table.name, table.title, known, own, table.caption, table.method
            )
        )
    return filled(*made)


def goes_both_ways(row: Mapping[Hashable, Any]) -> bool:
    """Whether a test has a goodput of each direction instead of one."""
    return any(is_known(row.get(key)) for key in both_ways.GOODPUT[1:])


def with_headlines(tests: Rows) -> list[dict[Hashable, Any]]:
    """The rows with `headline`, `headline_value` and `headline_half` in words, if some test has no goodput.

    A test whose kind's figure is not known has none; where all have a goodput, rows are as they are.
    """
    kinds = [TestKind(row.get("kind") or TestKind.TCP) for row in tests]
    if all(kind.has_goodput for kind in kinds) and not any(map(goes_both_ways, tests)):
        return [dict(row) for row in tests]
    made = []
    for kind, row in zip(kinds, tests, strict=True):
        is_shown = not kind.has_goodput or is_known(row.get(HEADLINE[kind]))
        figure = HEADLINE[kind] if is_shown else "goodput_bps"
        column = columns.FIGURES.get(figure, Column(figure, figure))
        half = column.show(row.get("goodput_ci_bps")) if figure == "goodput_bps" else ""
        own: dict[Hashable, Any] = dict(row)
        own["headline"], own["headline_half"] = column.label, half
        own["headline_value"] = column.show(row.get(figure))
        if goes_both_ways(row):
            own["headline"] = "Goodput up / down (Mbit/s)"
            own["headline_value"] = (
                f"{_UP.show(row.get(_UP.key))} / {_DOWN.show(row.get(_DOWN.key))}"
            )
            halves = [_UP.show(row.get(f"goodput_ci_{way}_bps")) for way in ("up", "down")]
            own["headline_half"] = " / ".join(halves) if any(halves) else ""
        made.append(own)
    return made


@dataclass(frozen=True, slots=True)
class Times:
    """What counted clients of a test waited for, in one phase.

    Attributes:
        values_ms: Those that came, ascending.
        count: All, also those that did not come.
    """

    values_ms: NDArray[np.float64]
    count: int


def observed_times(logs: RunLogs, summary: Summary) -> dict[str, Times]:
    """Round trips and requests of the clients that count, by test and phase; in words, for a legend.

    The phases of a latency test are those of its figures. Clients that connect have a picture of their
    own, `perfkit.report.connect_plots`.
    """
    found: dict[str, Times] = {}
    for slot in logs.slots:
        counted = summary.clients["ok"] & (summary.clients["slot"] == slot.name)
        own = (logs.samples["slot"] == slot.name) & logs.samples["host"].isin(
            list(summary.clients.loc[counted, "host"])
        )
        samples = logs.samples[own.to_numpy(dtype=bool)]
        parts: dict[str, pd.DataFrame] = {}
        if slot.kind is TestKind.LATENCY:
            parts = {f"round trip {p}": rows for p, rows in round_trips.phases(samples).items()}
        elif slot.kind is TestKind.REQUESTS:
            is_request = (samples["quantity"] == "request_s").to_numpy(dtype=bool)
            parts = {"short connection": samples[is_request]}
        for words, rows in parts.items():
            values = np.sort(rows["value"].dropna().to_numpy(dtype=np.float64))
            if len(values) > 1:
                found[f"{slot.name}, {words}"] = Times(s_to_ms(1.0) * values, len(rows))
    return found


def _there(value: Any) -> bool:
    return isinstance(value, str) or is_known(value)
