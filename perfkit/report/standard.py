"""The tables every run's report has, made from its logs and statistics.

Each caption says what the figures stand on: window, hosts, clock bound, method. Headings keep the
words of the 2011 tool where they were right (`CPU usr (%)`, `Total …`), so old tables can be read
beside new ones.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from perfkit import __version__
from perfkit.analysis import transport
from perfkit.analysis.sensitivity import NOTABLE_PCT
from perfkit.analysis.stats import METHOD, Summary
from perfkit.logs.anchor import METHOD as ANCHOR_METHOD
from perfkit.logs.runlogs import Finding, RunLogs
from perfkit.report.tables import Column, ReportTable
from perfkit.units import MS_PER_S, SI_PREFIXES, format_duration

MEGA = float(SI_PREFIXES["M"])
MILLI = 1.0 / MS_PER_S
SHARED_CPU = (
    "The hosts of this run share one machine, so CPU is the machine's own: server, clients and "
    "traffic generators together. The OpenVPN process's CPU seconds are its own."
)


OVER_CLIENTS = (
    "Goodput in the steady window, receiver side, over the clients that count; a client that moved "
    "nothing is one of them. Quantiles interpolate linearly between order statistics (type 7)."
)
SERVER_METHOD = (
    "Means over the monitor's whole ticks in the steady window, s.d. over those ticks; ratios "
    "against the goodput of the same ticks. CPU total = 100 - idle - wait, all cores."
)
SENSITIVITY_METHOD = (
    "Each edge of the steady window alone, and both, moved by so many seconds; shown is the largest "
    "absolute change relative to the figure of the window itself. Inwards: only windows in which "
    "every client is active. Any: also windows that take in the start or the end of the test."
)


def _text(key: str, heading: str) -> Column:
    return Column(key, heading, kind="text")


def _mbps(key: str, heading: str, digits: int = 2) -> Column:
    return Column(key, heading, "Mbit/s", digits=digits, scale=MEGA)


def _ms(key: str, heading: str, digits: int = 0) -> Column:
    return Column(key, heading, "ms", digits=digits, scale=MILLI)


def _pct(key: str, heading: str) -> Column:
    return Column(key, heading, "%", digits=1)


_TEST = _text("slot", "Test")

TESTS = (
    _TEST,
    Column("clients_expected", "Clients"),
    Column("clients_seen", "Seen"),
    Column("clients_failed", "Failed"),
    Column("window_s", "Window", "s", digits=1),
    _mbps("goodput_bps", "Total goodput", 1),
    _mbps("goodput_ci_bps", "± 95\u00a0%\u00a0CI", 1),  # no-break spaces
    _mbps("client_mean_bps", "Mean per client"),
    Column("jain", "Jain", digits=3),
    _ms("start_spread_s", "Start spread"),
    _mbps("nic_bps", "Server NIC", 1),
    _mbps("tunnel_bps", "Server tunnel", 1),
    Column("nic_ratio", "NIC / goodput", digits=3),
    _pct("cpu_busy_pct", "CPU total"),
    Column("openvpn_cpu_s_per_gbit", "OpenVPN CPU", "s/Gbit", digits=2),
    Column("vs_direct", "In / out of tunnel", digits=3),
)
CLIENTS = (
    _TEST,
    Column("clients_counted", "Clients"),
    _mbps("client_mean_bps", "Mean"),
    _mbps("client_sd_bps", "s.d."),
    Column("client_cv", "CV", digits=3),
    _mbps("client_min_bps", "Min"),
    _mbps("client_p5_bps", "p5"),
    _mbps("client_p25_bps", "p25"),
    _mbps("client_median_bps", "Median"),
    _mbps("client_p75_bps", "p75"),
    _mbps("client_p95_bps", "p95"),
    _mbps("client_max_bps", "Max"),
    Column("jain", "Jain", digits=4),
)
TCP = (
    _TEST,
    Column("tcp_senders", "Clients that said it"),
    Column("retransmits", "Retransmits"),
    Column("retransmits_per_gb", "Retransmits", "/GB", digits=1),
    Column("tcp_efficiency_pct", "TCP efficiency ≥", "%", digits=3),
)
UDP = (
    _TEST,
    Column("udp_datagrams", "Datagrams sent"),
    Column("udp_lost", "Lost"),
    Column("udp_loss_pct", "Loss", "%", digits=3),
    _ms("jitter_median_s", "Jitter median", 3),
    _ms("jitter_max_s", "Jitter max", 3),
    Column("udp_out_of_order", "Out of order"),
)
SENSITIVITY = (
    _TEST,
    Column("moved_s", "Edges moved by", "s"),
    _text("moves", "Moves"),
    Column("windows", "Windows tried"),
    *(
        Column(f"{name}_change_pct", heading, "%", digits=2)
        for name, heading in (
            ("goodput_bps", "Total goodput"),
            ("client_mean_bps", "Mean per client"),
            ("client_median_bps", "Median per client"),
            ("jain", "Jain"),
            ("nic_bps", "Server NIC"),
            ("cpu_busy_pct", "CPU total"),
            ("openvpn_cpu_s_per_gbit", "OpenVPN CPU per Gbit"),
        )
    ),
)
SERVER = (
    _TEST,
    _mbps("nic_bps", "NIC", 1),
    _mbps("nic_sd_bps", "± s.d.", 1),
    _mbps("tunnel_bps", "Tunnel", 1),
    _mbps("tunnel_sd_bps", "± s.d.", 1),
    Column("nic_ratio", "NIC / goodput", digits=3),
    Column("tunnel_ratio", "Tunnel / goodput", digits=3),
    _pct("cpu_user_pct", "CPU usr"),
    _pct("cpu_system_pct", "CPU sys"),
    _pct("cpu_wait_pct", "CPU wait"),
    _pct("cpu_busy_pct", "CPU total"),
    _pct("cpu_busy_sd_pct", "± s.d."),
    Column("cpu_cores", "Cores used", digits=2),
    _pct("busiest_core_pct", "Busiest core"),
    Column("openvpn_cpu_s", "OpenVPN CPU", "s", digits=2),
    Column("openvpn_cores", "OpenVPN cores", digits=3),
    Column("openvpn_cpu_s_per_gbit", "OpenVPN CPU", "s/Gbit", digits=2),
)
WINDOWS = (
    _TEST,
    Column("window_start_s", "From", "s after T0", digits=3),
    Column("window_end_s", "To", "s after T0", digits=3),
    Column("window_s", "Length", "s", digits=3),
    Column("overlap", "Steady / outer", digits=3),
    _ms("start_spread_s", "Start spread", 1),
    _ms("late_max_s", "Latest start", 1),
    _ms("clock_bound_s", "Clock bound", 2),
    _ms("placement_bound_s", "Stream placement ±", 1),
    _text("chosen_by", "Chosen by"),
    _text("side", "Figures from"),
)
PHASES = (_text("phase", "Phase"), Column("elapsed_s", "Time", "s", digits=2))
WARNINGS = (_text("level", "Kind"), _text("where", "Where"), _text("text", "What"))
FAILURES = (_TEST, _text("host", "Host"), _text("reason", "Reason"), _text("log", "Log"))
LOGS = (
    _text("log", "Log"),
    _text("format", "Format"),
    Column("rows", "Rows"),
    Column("unparsed", "Lines not understood"),
    _text("remark", "Remark"),
)


def standard_tables(
    logs: RunLogs, summary: Summary, phases: Sequence[tuple[str, float]] = ()
) -> list[ReportTable]:
    """The report's tables, most asked for first.

    Args:
        phases: (name, seconds) of each phase, in their order; empty = no such table.
    """
    tests = summary.tests.assign(
        clients_counted=summary.tests["clients_expected"] - summary.tests["clients_failed"]
    ).to_dict("records")
    basis = _basis(logs, summary.tests)
    make = ReportTable.from_records
    moved = summary.sensitivity.to_dict("records")
    cpu = f" {SHARED_CPU}" if shared_cpu(logs) else ""
    tables = [
        make("tests", "Tests", TESTS, tests, f"{basis} {METHOD}{_batches(tests)}{_notable(moved)}{cpu}"),
        make("clients", "Goodput per client", CLIENTS, tests, f"{basis} {OVER_CLIENTS}"),
        make("server", "Server load", _server_columns(tests), tests, f"{basis} {SERVER_METHOD}{cpu}"),
        *_transport(tests, basis),
        make(
            "sensitivity", "How much each figure depends on where the window lies",
            SENSITIVITY, moved, f"{basis} {SENSITIVITY_METHOD}",
        ),
        make("windows", "Windows and clocks", WINDOWS, tests, f"{basis} Times: {ANCHOR_METHOD}."),
        _failures(logs, summary),
        _hosts(logs, summary, basis),
    ]  # fmt: skip
    if phases:
        rows = [{"phase": name, "elapsed_s": seconds} for name, seconds in phases]
        total = format_duration(sum(seconds for _, seconds in phases))
        tables.append(make("phases", "Phases", PHASES, rows, f"All phases together: {total}."))
    tables.append(_logs(logs))
    tables.append(_warnings(summary.findings))
    line = provenance(logs)
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
                ("OpenVPN", "openvpn_version"),
                ("iperf", "iperf_version"),
                ("Linux", "kernel"),
            )
            if facts.get(key)
        ),
    ]
    return "; ".join(parts)


def shared_cpu(logs: RunLogs) -> bool:
    """Whether all hosts ran on the same processors."""
    return bool(logs.manifest.get("provider_traits", {}).get("shared_cpu"))


def _basis(logs: RunLogs, tests: pd.DataFrame) -> str:
    """What the figures stand on: hosts, windows, clocks, method."""
    bound = float(tests["clock_bound_s"].max()) if len(tests) else float("nan")
    clock = (
        f"clocks agree within {bound * MS_PER_S:.2f} ms"
        if math.isfinite(bound)
        else "clocks not measured"
    )
    lengths = tests.get("window_s", pd.Series(dtype=float)).dropna()
    windows = list(dict.fromkeys(f"{length:.1f} s" for length in lengths))
    parts = [
        f"{len(logs.clients)} clients and 1 server"
        if logs.server
        else f"{len(logs.clients)} clients",
        f"steady windows of {', '.join(windows)}" if windows else "no steady window",
        clock,
    ]
    return f"{'; '.join(parts)}."


def _server_columns(tests: Sequence[Mapping[Hashable, Any]]) -> tuple[Column, ...]:
    """Without the busiest core where the monitor did not look at single cores."""
    seen = any(_known(row.get("busiest_core_pct")) for row in tests)
    return tuple(column for column in SERVER if seen or column.key != "busiest_core_pct")


def _transport(tests: Sequence[Mapping[Hashable, Any]], basis: str) -> list[ReportTable]:
    """What TCP sent again and what UDP lost: only the tests that say it."""
    made = []
    for name, title, columns, key, method in (
        ("tcp", "TCP: sent again", TCP, "retransmits", transport.METHOD),
        ("udp", "UDP: loss and jitter", UDP, "udp_datagrams", transport.UDP_METHOD),
    ):
        own = [row for row in tests if _known(row.get(key))]
        if own:
            caption = f"{basis} {method}."
            made.append(ReportTable.from_records(name, title, columns, own, caption))
    return made


def _batches(tests: Sequence[Mapping[Hashable, Any]]) -> str:
    """How many batches the confidence intervals stand on, as the end of `METHOD`'s sentence."""
    counts = sorted(
        {int(row["goodput_batches"]) for row in tests if _known(row.get("goodput_ci_bps"))}
    )
    if not counts:
        return " (none: under nine seconds)."
    return f", {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} batches."


def _notable(moved: Sequence[Mapping[Hashable, Any]]) -> str:
    """Which tests' total goodput depends much on where the window lies, as a sentence."""
    largest: dict[str, float] = {}
    for row in moved:
        change = float(row["goodput_bps_change_pct"])
        largest[row["slot"]] = max(change, largest.get(row["slot"], 0.0))
    named = [slot for slot, change in largest.items() if change > NOTABLE_PCT]
    if not named:
        return ""
    return (
        f" Moving the window's edges by 2 s changes the total goodput of {', '.join(named)} by more "
        f"than {NOTABLE_PCT:.0f} %; see the table of how much each figure depends on the window."
    )


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _failures(logs: RunLogs, summary: Summary) -> ReportTable:
    where = {str(h["name"]): str(h["log"]) for h in logs.hosts.to_dict("records")}
    failed = summary.clients[~summary.clients["ok"]]
    rows = [{**row, "log": where.get(str(row["host"]), "")} for row in failed.to_dict("records")]
    counted = f"{len(rows)} failures." if rows else "No client failed."
    return ReportTable.from_records(
        "failures", "Clients that do not count", FAILURES, rows, counted
    )


def _hosts(logs: RunLogs, summary: Summary, basis: str) -> ReportTable:
    """One row a host, failed ones first, with its goodput in every test."""
    goodput: dict[str, dict[str, Any]] = {}
    for row in summary.clients.to_dict("records"):
        # Bytes of a client that failed are in no figure, so they are not shown as one.
        if row["ok"]:
            goodput.setdefault(str(row["host"]), {})[str(row["slot"])] = row["goodput_bps"]
    failed = set(summary.clients.loc[~summary.clients["ok"], "host"])
    columns = (
        _text("name", "Host"),
        _text("role", "Role"),
        _text("address", "Address"),
        _text("state", "State"),
        *(_mbps(slot.name, slot.name) for slot in logs.slots),
        _text("reason", "Reason"),
    )
    rows = [
        {**{str(k): v for k, v in host.items()}, **goodput.get(str(host["name"]), {})}
        for host in logs.hosts.to_dict("records")
    ]
    rows.sort(key=lambda row: (row["name"] not in failed and not row["reason"], row["name"]))
    caption = (
        f"{len(rows)} hosts; {len(failed)} failed in at least one test. {basis} Goodput in the "
        "steady window, receiver side."
    )
    return ReportTable.from_records("hosts", "Hosts", columns, rows, caption)


def _logs(logs: RunLogs) -> ReportTable:
    rows = [
        {
            "log": n.log,
            "format": n.format,
            "rows": n.rows,
            "unparsed": n.unparsed,
            "remark": n.remark,
        }
        for n in sorted(
            logs.logs, key=lambda note: (-note.unparsed, note.format != "unread", note.log)
        )
    ]
    unread = sum(note.unparsed for note in logs.logs)
    return ReportTable.from_records(
        "logs", "Logs", LOGS, rows, f"{len(rows)} logs; {unread} lines not understood."
    )


def _warnings(findings: Sequence[Finding]) -> ReportTable:
    ordered = sorted(findings, key=lambda finding: finding.level == "note")
    rows = [{"level": f.level, "where": f.where, "text": f.text} for f in ordered]
    count = sum(finding.level == "warning" for finding in findings)
    return ReportTable.from_records("warnings", "Warnings", WARNINGS, rows, f"{count} warnings.")
