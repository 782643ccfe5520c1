"""The tables every run's report has, made from its logs and statistics.

The provenance of each says what its figures stand on: run, hosts, windows, clock bound. How they are
made is in `perfkit.report.methods`, what their columns are called in `perfkit.report.columns`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from perfkit import __version__
from perfkit.analysis import both_ways, transport, vpn
from perfkit.analysis.sensitivity import NOTABLE_PCT
from perfkit.analysis.server_load import shared_cpu
from perfkit.analysis.stats import METHOD, Summary
from perfkit.logs.clock_alignment import METHOD as ANCHOR_METHOD
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.report import columns, host_tables, link_tables
from perfkit.report.kind_tables import (
    goes_both_ways,
    kind_tables,
    with_headlines,
)
from perfkit.report.methods import (
    ABOUT_TICKS,
    CORES_METHOD,
    OVER_CLIENTS,
    SENSITIVITY_METHOD,
    SERVER_METHOD,
    WINDOWS_METHOD,
)
from perfkit.report.tables import Column, ReportTable, filled, is_known
from perfkit.units import MS_PER_S, format_count, format_duration, format_some

SHARED_CPU = (
    "CPU is the whole machine's: server, clients and generators share it; VPN CPU is its own."
)
_EACH_WAY = [f"{figure}_change_pct" for figure in both_ways.GOODPUT[1:]]


def standard_tables(
    logs: RunLogs, summary: Summary, phases: Sequence[tuple[str, float]] = ()
) -> list[ReportTable]:
    """The report's tables, most asked for first.

    Args:
        phases: (name, seconds) of each phase, in their order; empty = no such table.
    """
    tests = [
        {
            **row,
            "is_void": "see warnings" if row.get("void") else "no",
            "clients_ok": f"{row['clients_counted']} of {row['clients_expected']}",
        }
        for row in summary.tests.to_dict("records")
    ]
    tests = with_headlines(tests)
    make = ReportTable.from_records
    one_way = [row for row in tests if not goes_both_ways(row)]  # the others have a table
    moved = summary.sensitivity.to_dict("records")
    cpu = SHARED_CPU if shared_cpu(logs) else ""
    tables = [
        make("summary", "Tests", _summary(tests), tests, f"{_within(tests)} {cpu}".strip()),
        make(
            "tests", "Tests: every figure", _tests(tests), tests,
            f"{_ratios(tests, 2)}{_notable(tests)}{_both_ways(tests)}".strip(),
            f"{METHOD}{_batches(tests)}{_ratios(tests)}{ABOUT_TICKS}",
        ),
        make("clients", "Goodput per client", columns.CLIENTS, one_way, method=OVER_CLIENTS),
        make("server", "Server load", _server(tests), tests, cpu, f"{SERVER_METHOD}{CORES_METHOD}"),
        *_transport(tests),
        *filled(link_tables.of_run(logs)),
        *kind_tables(tests),
        *_vpn(logs, summary),
        make(
            "sensitivity", "How much each figure depends on where the window lies",
            _where_known(columns.SENSITIVITY, _EACH_WAY, moved), moved, "The largest change when the window's edges move.",
            SENSITIVITY_METHOD,
        ),
        make(
            "windows", "Windows and clocks", _windows(tests), tests,
            "Steady: every client that counts is active; outer: any is.",
            f"{WINDOWS_METHOD}. Times: {ANCHOR_METHOD}.",
        ),
        host_tables.failures(logs, summary),
        host_tables.hosts(logs, summary),
    ]  # fmt: skip
    if phases:
        rows = [{"phase": name, "elapsed_s": seconds} for name, seconds in phases]
        total = format_duration(sum(seconds for _, seconds in phases))
        tables.append(
            make("phases", "Phases", columns.PHASES, rows, f"All phases together: {total}.")
        )
    tables.append(_logs(logs))
    tables.append(_warnings(summary.findings))
    line = f"{provenance(logs)}; {basis(logs, summary.tests)}"
    return [table.with_provenance(line) for table in tables]


def provenance(logs: RunLogs) -> str:
    """Which run, which tool, which versions on the hosts, in one line."""
    parameters = logs.manifest.get("parameters", {})
    facts = logs.facts.get(logs.server, {})
    parts = [
        f"Run {logs.run_id}",
        f"perfkit {__version__}",
        f"provider {parameters.get('provider', 'not known')}",
        *(
            f"{name} {facts[key]}"
            for name, key in (
                (logs.vpn_record.title, "vpn_version"),
                ("packets carried by", "vpn_implementation"),
                ("iperf", "iperf_version"),
                ("Linux", "kernel"),
            )
            if facts.get(key)
        ),
        *_by_ipv6(logs),
    ]
    return "; ".join(parts)


def _by_ipv6(logs: RunLogs) -> list[str]:
    """Where the tests' traffic went by IPv6, by the server's addresses."""
    server = logs.hosts[(logs.hosts["name"] == logs.server).to_numpy()]
    places = {"tunnel_address": "in the tunnel", "traffic_address": "outside the tunnel"}
    return [
        f"IPv6 {words}"
        for column, words in places.items()
        if any(":" in str(address) for address in server[column])
    ]


def basis(logs: RunLogs, tests: pd.DataFrame) -> str:
    """What the figures stand on: hosts, windows, clocks."""
    bound = float(tests["clock_bound_s"].max()) if len(tests) else float("nan")
    clock = (
        f"each clock's offset known within {bound * MS_PER_S:.2f} ms"
        if math.isfinite(bound)
        else "clocks not measured"
    )
    lengths = tests.get("window_s", pd.Series(dtype=float)).dropna()
    windows = list(dict.fromkeys(f"{length:.1f} s" for length in lengths))
    parts = [
        _hosts_counted(logs),
        f"steady windows of {', '.join(windows)}" if windows else "no steady window",
        clock,
    ]
    return "; ".join(parts)


def _hosts_counted(logs: RunLogs) -> str:
    clients = format_count(len(logs.clients), "client")
    on = {logs.machines[name] for name in logs.clients if name in logs.machines}
    shared = f" on {format_count(len(on), 'machine')}" if 0 < len(on) < len(logs.clients) else ""
    return f"{clients}{shared}{' and 1 server' if logs.server else ''}"


def _summary(tests: Sequence[Mapping[Hashable, Any]]) -> list[Column]:
    """Five columns; the last one is what the VPN cost, or how busy the server was without one.

    Where not all tests have a goodput, each has the figure that stands for its kind.
    """
    if any("headline" in row for row in tests):
        return list(columns.HEADLINES)
    cost = next(
        (c for c in columns.COSTS if any(is_known(row.get(c.key)) for row in tests)),
        columns.COSTS[-1],
    )
    return [*columns.SUMMARY, cost]


def _within(tests: Sequence[Mapping[Hashable, Any]]) -> str:
    """What the ± beside a total is."""
    if not any(map(_batches_of, tests)):
        if any(row.get("not_steady") for row in tests):
            return "No interval: not steady, see the warnings, or too short."
        return "No interval: too few seconds for one."
    return (
        "±: 95 % interval over the seconds of this run; what changes from run to run is not in it."
    )


def _ratios(tests: Sequence[Mapping[Hashable, Any]], most: int = 1000) -> str:
    """What in-tunnel tests are held against; partners of other names or other clients by name."""
    held = [row for row in tests if is_known(row.get("vs_direct"))]
    if not held:
        return ""
    other = []
    for row in held:
        counts = (int(row["clients_counted"]), int(row["direct_clients"]))
        whose = f" ({counts[0]} clients over {counts[1]})" if counts[0] != counts[1] else ""
        namesake = str(row["direct_slot"]).partition("-")[2].replace("direct", "tunnel", 1)
        if whose or namesake != row["test"]:
            other.append(f"{row['slot']} over {row['direct_slot']}{whose}")
    named = f" ({format_some(other, most)})" if other else ""
    return f" In / out of tunnel: total goodput over that of the direct test of its name or kind{named}."


def _both_ways(tests: Sequence[Mapping[Hashable, Any]]) -> str:
    """Tests of which both directions have a goodput, in a table of their own."""
    both = [str(row["slot"]) for row in tests if goes_both_ways(row)]
    return (
        f" Both ways at once, so there is no total, and NIC and tunnel are the busier direction's: "
        f"{', '.join(both)}."
        if both
        else ""
    )


def _tests(tests: Sequence[Mapping[Hashable, Any]]) -> list[Column]:
    """Without tests that are void, or that no reader knows, where there are none."""
    sources = {"clients_unread": "clients_unread", "is_void": "void"}
    absent = {key for key, source in sources.items() if not any(r.get(source) for r in tests)}
    return [column for column in columns.TESTS if column.key not in absent]


def _windows(tests: Sequence[Mapping[Hashable, Any]]) -> list[Column]:
    """Without proposals, and without a warm-up cut, where there are none."""
    return _where_known(columns.WINDOWS, ("proposal", "warm_up_s"), tests, _there)


def _there(value: object) -> bool:
    return bool(value) and value == value  # noqa: PLR0124 -- NaN is not equal to itself


def _server(tests: Sequence[Mapping[Hashable, Any]]) -> list[Column]:
    """Without the busiest core, and softirq, where the monitor did not look at them."""
    watched = ("busiest_core_pct", "busiest_core_tick_pct", "cpu_softirq_pct")
    return _where_known(columns.SERVER, watched, tests)


def _where_known(
    every: Sequence[Column],
    optional: Sequence[str],
    rows: Sequence[Mapping[Any, Any]],
    is_there: Callable[[Any], bool] = is_known,
) -> list[Column]:
    """The columns without the optional ones that no row knows."""
    absent = {key for key in optional if not any(is_there(row.get(key)) for row in rows)}
    return [column for column in every if column.key not in absent]


def _transport(tests: Sequence[Mapping[Hashable, Any]]) -> list[ReportTable]:
    """What TCP sent again and what UDP lost: only the tests that say it."""
    made = []
    for name, title, chosen, keys, who, method in (
        ("tcp", "TCP: sent again", columns.TCP, ("retransmits", "mss_min_bytes"), "senders", transport.METHOD),
        ("udp", "UDP: loss and jitter", columns.UDP, ("udp_datagrams",), "receiver", transport.UDP_METHOD),
    ):  # fmt: skip
        own = [row for row in tests if any(is_known(row.get(key)) for key in keys)]
        caption = f"By the {who}, over whole streams, also outside the steady windows."
        made.append(ReportTable.from_records(name, title, chosen, own, caption, f"{method}."))
    return filled(*made)


def _vpn(logs: RunLogs, summary: Summary) -> list[ReportTable]:
    """What the VPN said, all together and by client; none where it said nothing."""
    if summary.vpn is None:
        return []
    whole = summary.vpn.server.to_dict("records")
    rows = [
        {**row, "is_connected": "yes" if row["connected"] else "no"}
        for row in summary.vpn.clients.to_dict("records")
    ]
    rows.sort(key=lambda row: (row["is_connected"] == "yes", -row["tls_errors"], row["host"]))
    status_s = float(whole[0]["status_s"])
    when = (
        f"Status of the server {status_s:.0f} s after T0."
        if math.isfinite(status_s)
        else "The server's status is missing."
    )
    make = ReportTable.from_records
    # OpenVPN does not say when the last handshake was.
    known = _where_known(columns.VPN_CLIENTS, ("handshake_age_s",), rows)
    shown, listed = host_tables.by_machine(logs, known, rows)
    return [
        make("vpn", "VPN", columns.VPN, whole, when, f"{vpn.METHOD}. {vpn.CROSS_CHECK}."),
        make("vpn-clients", "VPN by client", shown, listed, when),
    ]


def _batches(tests: Sequence[Mapping[Hashable, Any]]) -> str:
    """How many batches the confidence intervals stand on, as the end of `METHOD`'s sentence."""
    counts = sorted({count for row in tests for count in _batches_of(row)})
    if not counts:
        return " (none here)."
    batches = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return f" ({batches} batches here); what changes from run to run is not in it."


def _batches_of(row: Mapping[Hashable, Any]) -> list[int]:
    """Batches of each interval that a test's goodput has; of traffic both ways each has its own."""
    return [
        int(row[both_ways.name("goodput_batches", way)])
        for way in both_ways.Way
        if is_known(row.get(both_ways.name("goodput_ci_bps", way)))
    ]


def _notable(tests: Sequence[Mapping[Hashable, Any]]) -> str:
    """Which tests' total goodput depends much on where the window lies, as a sentence."""
    named = [str(row["slot"]) for row in tests if row.get("goodput_change_pct", 0.0) > NOTABLE_PCT]
    if not named:
        return ""
    return (
        f" Moving the window's edges inwards by up to 2 s changes the total goodput of "
        f"{format_some(named, 2)} by more than {NOTABLE_PCT:.0f} %."
    )


def _logs(logs: RunLogs) -> ReportTable:
    notes = sorted(logs.logs, key=lambda n: (-n.unparsed, n.format != "unread", n.log))
    unread = sum(note.unparsed for note in notes)
    caption = f"{len(notes)} logs; {unread} lines not understood."
    return ReportTable.of_objects("logs", "Logs", columns.LOGS, notes, caption)


def _warnings(findings: Sequence[Finding]) -> ReportTable:
    ordered = sorted(findings, key=lambda finding: finding.level == "note")
    count = sum(finding.level == "warning" for finding in findings)
    return ReportTable.of_objects(
        "warnings", "Warnings", columns.WARNINGS, ordered, f"{count} warnings."
    )
