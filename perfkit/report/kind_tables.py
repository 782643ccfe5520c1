"""What tests of other kinds than TCP came to: a table each, and a picture of what their clients observed.

A kind whose clients print samples has a table of its figures here, and every quantity that is a time is
drawn as its distribution, a line for each test and phase.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfkit.analysis import connecting, idle_clients, offered, round_trips, short_connections
from perfkit.analysis.slot_figures import QUANTILES_METHOD
from perfkit.analysis.stats import Summary
from perfkit.logs.run_logs import RunLogs
from perfkit.report import columns
from perfkit.report.tables import Column, ReportTable
from perfkit.units import s_to_ms

_CLIENTS = Column("clients_counted", "Clients")
_LOAD = (
    columns.TEST,
    _CLIENTS,
    columns.mbps("offered_bps", "Offered", 1),
    columns.mbps("goodput_bps", "Carried", 1),
    Column("loss_ratio", "Loss", "%", digits=3, scale=0.01),
    Column("pps", "Packets", "/s"),
    Column("vpn_cpu_us_per_packet", "VPN CPU", "µs/packet", digits=2),
)
_PACKETS_METHOD = (
    f"{offered.METHOD}. Loss: datagrams lost over those sent, sums over clients and whole streams. Packets: "
    "datagrams that arrived in the steady window, per second; VPN CPU: of the server's VPN, per such datagram"
)
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


TABLES = (
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
        own = [row for row in tests if any(_known(row.get(key)) for key in table.keys)]
        known = [c for c in table.columns if any(_there(row.get(c.key)) for row in own)]
        if own:
            made.append(
                ReportTable.from_records(
                    table.name, table.title, known, own, table.caption, table.method
                )
            )
    return made


def observed_times(logs: RunLogs, summary: Summary) -> dict[str, np.ndarray[Any, Any]]:
    """Times that counted clients observed, in ms and ascending, by test, quantity and phase.

    Only quantities in seconds: `rtt_s`, `request_s`, … Those of connected clients have a picture of
    their own, `perfkit.report.connect_plots`, as a client without a time is part of it.
    """
    counted = summary.clients.loc[summary.clients["ok"], ["slot", "host"]].astype("str")
    elsewhere = [slot.name for slot in logs.slots if slot.kind.is_of_all_connected]
    counted = counted[~counted["slot"].isin(elsewhere).to_numpy()]
    own = logs.samples.astype({"slot": "str", "host": "str", "quantity": "str", "note": "str"})
    own = own[own["quantity"].str.endswith("_s") & own["value"].notna()]
    own = own.merge(counted, on=["slot", "host"])
    keys = ["slot", "quantity", "note"]
    return {
        f"{slot}, {_words(quantity, note)}": np.sort(s_to_ms(1.0) * rows["value"].to_numpy())
        for (slot, quantity, note), rows in own.groupby(keys, sort=False)
        if len(rows) > 1
    }


def _words(quantity: Any, note: Any) -> str:
    name = str(quantity).removesuffix("_s").replace("_", " ").replace("rtt", "round trip")
    return f"{name} {note}".strip()


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _there(value: Any) -> bool:
    return isinstance(value, str) or _known(value)
