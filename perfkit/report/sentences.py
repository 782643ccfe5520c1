"""What a test of a run came to, in a sentence: the first thing that page, cell and terminal show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from perfkit.analysis.stats import Summary
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.report.columns import BESIDE, FIGURES
from perfkit.report.document import plain
from perfkit.report.tables import is_known
from perfkit.units import bps_to_mbps, format_count, format_mbps, format_some

# Headline figures of tests without goodput, and those that go with them.
_OBSERVED: Mapping[str, tuple[str, ...]] = {
    "goodput_up_bps": ("goodput_down_bps",),
    "goodput_down_bps": (),
    **BESIDE,
    "idle_bps": (),
}


def test_sentences(logs: RunLogs, summary: Summary) -> list[str]:
    """A sentence a test, in the timetable's order."""
    return [
        f"{row['slot']}: {_said(row, logs.vpn_record.title)}"
        for row in summary.tests.to_dict("records")
    ]


def _said(row: Mapping[Hashable, Any], vpn: str) -> str:
    counted, expected = int(row["clients_counted"]), int(row["clients_expected"])
    who = (
        f"{counted} of {expected} clients"
        if counted < expected
        else format_count(counted, "client")
    )
    if row.get("void"):
        return "void: its logs say what cannot have happened, so it has no figure"
    goodput = row.get("goodput_bps", math.nan)
    if not is_known(goodput):
        if said := observed(row):
            words = ", ".join(f"{heading} {value}" for heading, value in said)
            return f"{who}: {words}{', not steady' if row.get('not_steady') else ''}"
        if counted and is_known(row.get("window_s")):
            return f"{who}: what it measures is not known, see its tables and the warnings"
        why = "no client counts" if not counted else "it has no steady window"
        return f"no figure, {why}"
    half = row.get("goodput_ci_bps", math.nan)
    spread = f" ± {bps_to_mbps(half):.1f} within the run" if is_known(half) else ""
    spread = ", not steady: no interval" if row.get("not_steady") else spread
    parts = [f"{who} carried {format_mbps(goodput)}{spread}"]
    if is_known(row.get("offered_bps")):
        parts[0] += f" of {format_mbps(row['offered_bps'])} offered"
    if is_known(row.get("clients_carrying")) and is_known(row.get("offered_bps")):
        parts[0] += f" ({row['clients_carrying']:.0f} of {counted} carried 99 % or more of theirs)"
    if is_known(row.get("pps")):
        parts[0] += f", {row['pps']:.0f} packets a second"
    if is_known(row.get("vs_direct")):
        parts[0] += f", {row['vs_direct']:.2f} of {row['direct_slot']}"
    if vpn and str(row["path"]) == "tunnel" and is_known(row.get("vpn_cores")):
        parts.append(f"{vpn} on the server used {format_cores(row['vpn_cores'])}")
    return "; ".join(parts)


def observed(row: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Heading and value with unit of a test without one goodput, its headline figure first; or empty."""
    for headline, others in _OBSERVED.items():
        if is_known(row.get(headline)):
            shown = [FIGURES[name] for name in (headline, *others) if is_known(row.get(name))]
            return [(c.heading, f"{c.show(row[c.key])} {c.unit}".strip()) for c in shown]
    return []


def format_cores(cores: float) -> str:
    """`0.98 core`, `1.45 cores`."""
    return f"{cores:.2f} core{'s' if round(cores, 2) > 1 else ''}"


def warning_lines(findings: Iterable[Finding], most: int) -> list[str]:
    """What may change the figures, one line each; places of which the same is said share one.

    Args:
        most: Places that are named.
    """
    where: dict[str, list[str]] = {}
    for finding in findings:
        if finding.level == "warning":
            where.setdefault(finding.text, []).append(finding.where)
    return [plain(f"{format_some(places, most)}: {text}") for text, places in where.items()]
