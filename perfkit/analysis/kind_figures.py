"""The figures of a test by its kind, beside goodput and the server's load.

Each kind has one headline figure, by which its cells are compared and shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfkit.analysis import connecting, idle_clients
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.model import TestKind

HEADLINE: Mapping[TestKind, str] = {
    TestKind.TCP: "goodput_bps",
    TestKind.CONNECT_STORM: "connect_median_s",
    TestKind.IDLE: "vpn_rss_bytes",
}


def figures(logs: RunLogs, slot: SlotPlan, counted: Sequence[str]) -> dict[str, float]:
    """What a test came to; names as in `perfkit.analysis.answers.frame.COLUMNS`, and more for its table.

    Args:
        counted: Clients that count.
    """
    if slot.kind is TestKind.CONNECT_STORM:
        return connecting.figures(logs, slot)
    if slot.kind is TestKind.IDLE:
        return idle_clients.figures(logs, slot, counted)
    return {}


def findings(logs: RunLogs, slot: SlotPlan) -> list[Finding]:
    """What a reader of these figures must know."""
    if slot.kind is TestKind.CONNECT_STORM:
        return connecting.findings(logs, slot)
    if slot.kind is TestKind.IDLE:
        return idle_clients.findings(logs, slot)
    return []
