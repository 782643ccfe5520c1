"""The figures of a test by its kind, beside goodput and the server's load.

Each kind has one headline figure, by which its cells are compared and shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perfkit.analysis import connecting, idle_clients, offered, round_trips, short_connections
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.model import TestKind, Window

HEADLINE: Mapping[TestKind, str] = {
    TestKind.TCP: "goodput_bps",
    TestKind.TCP_BOTH: "goodput_up_bps",  # and `goodput_down_bps` beside it
    TestKind.UDP: "goodput_bps",
    TestKind.PPS: "pps",
    TestKind.LATENCY: "rtt_loaded_median_s",
    TestKind.REQUESTS: "requests_per_s",
    TestKind.CONNECT_STORM: "connect_median_s",
    TestKind.IDLE: "vpn_rss_bytes",
}


def figures(
    logs: RunLogs, slot: SlotPlan, counted: Sequence[str], window: Window | None
) -> dict[str, float]:
    """What a test came to; names as in `perfkit.analysis.answers.frame.COLUMNS`, and more for its table.

    Args:
        counted: Clients that count.
        window: The steady one; None: there is none, and so no figure of a rate.
    """
    if slot.kind.has_traffic:
        placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
        offered_bps = offered.offered_bps(slot, placed, counted)
        return {"offered_bps": offered_bps} if np.isfinite(offered_bps) else {}
    if slot.kind is TestKind.CONNECT_STORM:
        return connecting.figures(logs, slot)
    if slot.kind is TestKind.IDLE:
        return idle_clients.figures(logs, slot, counted)
    own = (logs.samples["slot"] == slot.name) & logs.samples["host"].isin(list(counted))
    samples = logs.samples[own.to_numpy(dtype=bool)]
    if slot.kind is TestKind.LATENCY:
        return round_trips.figures(samples)
    return short_connections.figures(samples, window) if window is not None else {}


def findings(logs: RunLogs, slot: SlotPlan) -> list[Finding]:
    """What a reader of these figures must know."""
    if slot.kind is TestKind.CONNECT_STORM:
        return connecting.findings(logs, slot)
    if slot.kind is TestKind.IDLE:
        return idle_clients.findings(logs, slot)
    if slot.kind is TestKind.LATENCY:
        own = logs.samples[(logs.samples["slot"] == slot.name).to_numpy(dtype=bool)]
        return round_trips.findings(slot.name, own)
    return []
