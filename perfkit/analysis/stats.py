"""Statistics of a run: frames and windows in, one row a test and one row a client out.

All figures of a test are over its steady window, where every counted client is active. Clients
that failed are listed and counted, and are in no mean. Quantiles interpolate linearly between
order statistics (Hyndman and Fan's type 7, NumPy's default).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import counters, rates
from perfkit.analysis.checks import findings_of
from perfkit.logs.runlogs import Finding, RunLogs, SlotPlan
from perfkit.model import NetworkPath, Segment, Window
from perfkit.units import bits_to_gbit, bytes_to_bits

QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
CPU_CLASSES = ("user", "system", "wait", "steal", "busy")
METHOD = (
    "Goodput: receiver-side bytes of the counted clients in the steady window, intervals weighted "
    "by overlap, divided by its length. Quantiles: linear interpolation (type 7). "
    "Standard error: batch means over one-second totals."
)
OUTSIDE_NIC = "eth0"
TUNNEL_NIC = "tun0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Statistics of a run.

    Attributes:
        tests: One row a slot, in the timetable's order; see `summarise`.
        clients: One row a (slot, client), failed ones included.
        findings: What a reader of the figures must know.
    """

    tests: pd.DataFrame
    clients: pd.DataFrame
    findings: tuple[Finding, ...]


def summarise(logs: RunLogs, segments: Sequence[Segment], outcomes: pd.DataFrame) -> Summary:
    """Reduce a run to its figures.

    Args:
        segments: At most one a slot; a slot without a steady window has NaN figures.
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.

    Returns:
        `tests` has, among others: `clients_expected`, `clients_seen` (at the receiver),
        `clients_failed`, `window_s`, `goodput_bps` with `goodput_se_bps` (standard error by batch
        means) and `goodput_sd_bps` (over seconds), `client_*_bps`, `jain`, `start_spread_s`,
        `overlap` (steady over outer window), `nic_bps`, `tunnel_bps`, `nic_ratio` (NIC over all
        goodput received), `cpu_*_pct`, `cpu_cores`, `openvpn_cpu_s`, `openvpn_cpu_s_per_gbit`,
        `vs_direct` (in-tunnel over out-of-tunnel goodput). `clients` has the outcome's columns
        and `goodput_bps`, `share` of the total, `retransmits`.
    """
    windows = {segment.slot: segment for segment in segments}
    rows, per_client, findings = [], [], list(logs.findings)
    for slot in logs.slots:
        own = outcomes[outcomes["slot"] == slot.name]
        segment = windows.get(slot.name)
        row, clients = _summarise_slot(logs, slot, segment, own)
        rows.append(row)
        per_client.append(clients)
    tests = _with_ratio_to_direct(pd.DataFrame(rows))
    clients = pd.concat(per_client, ignore_index=True) if per_client else outcomes.copy()
    findings += findings_of(logs, segments, outcomes, tests)
    return Summary(tests=tests, clients=clients, findings=tuple(findings))


def _summarise_slot(
    logs: RunLogs, slot: SlotPlan, segment: Segment | None, outcomes: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    counted = outcomes[outcomes["ok"]]
    row: dict[str, Any] = {
        "slot": slot.name,
        "test": slot.test,
        "path": str(slot.path),
        "clients_expected": len(outcomes),
        "clients_seen": int((outcomes["streams"] > 0).sum()),
        "clients_failed": int((~outcomes["ok"]).sum()),
        "start_spread_s": float(counted["start_s"].max() - counted["start_s"].min()),
        "late_max_s": float(counted["late_s"].max()),
        "clock_bound_s": _clock_bound(logs, counted),
    }
    clients = outcomes.assign(goodput_bps=np.nan, share=np.nan, retransmits=np.nan)
    if segment is None or segment.steady is None:
        return row | {"window_s": np.nan, "side": ""}, clients
    window = segment.steady
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    arrived, side = rates.receiver_rows(placed)
    ours = arrived["host"].isin(counted["host"])
    intervals = rates.whole_intervals(arrived)
    got = bytes_to_bits(1.0) * rates.bytes_by_host(intervals, window) / window.length_s
    clients["goodput_bps"] = clients["host"].map(got).fillna(0.0).astype("float64")
    values = clients.loc[clients["ok"], "goodput_bps"].to_numpy(dtype=np.float64)
    clients["share"] = clients["goodput_bps"].where(clients["ok"]) / values.sum()
    clients["retransmits"] = clients["host"].map(_retransmits(placed)).astype("float64")
    seconds = rates.per_second_bps(intervals[intervals["host"].isin(counted["host"])], window)
    row |= {
        "side": side,
        "chosen_by": segment.chosen_by,
        "window_start_s": window.start_s,
        "window_end_s": window.end_s,
        "window_s": window.length_s,
        "overlap": window.length_s / segment.outer.length_s,
        "planned_s": slot.duration_s,
        "placement_bound_s": float(arrived.loc[ours, "t_bound_s"].max()),
        "goodput_bps": float(values.sum()),
        "goodput_se_bps": rates.batch_means_error(seconds),
        "goodput_sd_bps": float(seconds.std(ddof=1)) if len(seconds) > 1 else np.nan,
        "received_bps": float(got.sum()),
        "disagreeing_streams": rates.disagreeing_streams(arrived),
        "retransmits": float(clients.loc[clients["ok"], "retransmits"].sum(min_count=1)),
        **_distribution(values),
    }
    row |= _server_load(logs, slot, window, intervals, _directions(arrived, logs.server))
    return row, clients


def _clock_bound(logs: RunLogs, counted: pd.DataFrame) -> float:
    bounds = [logs.clocks[h].bound_s for h in (*counted["host"], logs.server) if h in logs.clocks]
    return max(bounds, default=float("nan"))


def _retransmits(placed: pd.DataFrame) -> dict[str, float]:
    if "retransmits" not in placed:
        return {}
    sent = placed[(placed["side"] == "sender") & (placed["kind"] == "summary")]
    per_host = sent.groupby("host", observed=True)["retransmits"].sum(min_count=1)
    return {str(host): float(count) for host, count in per_host.items()}


def _distribution(values: NDArray[np.float64]) -> dict[str, float]:
    """Per-client figures; a client that got nothing is one of them."""
    if not len(values):
        return {}
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return {
        "client_mean_bps": mean,
        "client_sd_bps": sd,
        "client_cv": sd / mean if mean else np.nan,
        "client_min_bps": float(values.min()),
        "client_max_bps": float(values.max()),
        **{f"client_{name}_bps": float(np.quantile(values, q)) for name, q in QUANTILES.items()},
        "jain": rates.jain_index(values),
    }


def _directions(arrived: pd.DataFrame, server: str) -> tuple[str, ...]:
    """Which way the server's interfaces carried it: `recv` up, `send` down to the clients."""
    at_server = arrived["log_host"] == server
    by_receiver = (arrived["side"] == "receiver") == at_server
    return tuple(w for w, there in (("recv", by_receiver), ("send", ~by_receiver)) if there.any())


def _server_load(
    logs: RunLogs, slot: SlotPlan, window: Window, intervals: pd.DataFrame, ways: Sequence[str]
) -> dict[str, float]:
    """The run's own server over the same window; empty where the server was not ours.

    Rates and ratios are over the monitor's whole ticks in the window, and so is the goodput they
    are divided by.
    """
    if slot.server is not None:
        return {}
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    ticks = counters.in_window(monitor, window)
    arrived = bytes_to_bits(rates.bytes_in(intervals, *counters.spans(ticks)).sum()) or np.nan
    seconds = float(ticks["dt_s"].sum())
    load: dict[str, float] = {"monitor_coverage": counters.coverage(monitor, window)}
    for name, nic in (("nic", OUTSIDE_NIC), ("tunnel", TUNNEL_NIC)):
        both = [counters.mean_and_sd(ticks, f"net_{nic}_{way}_bps") for way in ways]
        load[f"{name}_bps"] = sum(mean for mean, _ in both) if both else np.nan
        load[f"{name}_sd_bps"] = float(np.sqrt(sum(sd**2 for _, sd in both))) if both else np.nan
        load[f"{name}_ratio"] = load[f"{name}_bps"] * seconds / arrived
    for name in CPU_CLASSES:
        mean, sd = counters.mean_and_sd(ticks, f"cpu_{name}_pct")
        load |= {f"cpu_{name}_pct": mean, f"cpu_{name}_sd_pct": sd}
    ncpu = logs.facts.get(logs.server, {}).get("ncpu")
    load["cpu_cores"] = load["cpu_busy_pct"] / 100 * ncpu if isinstance(ncpu, int) else np.nan
    return load | _process_load(logs, slot, window, intervals)


def _process_load(
    logs: RunLogs, slot: SlotPlan, window: Window, intervals: pd.DataFrame
) -> dict[str, float]:
    """CPU of the OpenVPN server process; per Gbit of goodput for in-tunnel tests."""
    process = logs.process[(logs.process["host"] == logs.server).to_numpy()]
    used = counters.cpu_seconds(process, window)
    load = {"openvpn_cpu_s": used, "openvpn_cores": used / window.length_s}
    if slot.path == NetworkPath.TUNNEL:
        span = counters.sampled_span(process, window)
        borders = np.array([span.start_s]), np.array([span.end_s])
        gbit = bits_to_gbit(bytes_to_bits(float(rates.bytes_in(intervals, *borders)[0])))
        load["openvpn_cpu_s_per_gbit"] = counters.cpu_seconds(process, span) / (gbit or np.nan)
    return load


def _with_ratio_to_direct(tests: pd.DataFrame) -> pd.DataFrame:
    """Compare each in-tunnel test with the out-of-tunnel test of the same name, or the one before.

    `tunnel-udp` is compared with `direct-udp`; where there is no such name, with the nearest
    earlier direct test, else the first one.
    """
    tests = tests.assign(vs_direct=np.nan, direct_slot="")
    if "goodput_bps" not in tests:
        return tests
    direct = tests[tests["path"] == str(NetworkPath.DIRECT)]
    for place, row in tests[tests["path"] == str(NetworkPath.TUNNEL)].iterrows():
        named = direct[direct["test"] == str(row["test"]).replace("tunnel", "direct", 1)]
        earlier = direct[direct.index < place]
        candidates = next((d for d in (named, earlier[::-1], direct) if len(d)), direct)
        if len(candidates):
            partner = candidates.iloc[0]
            tests.loc[place, "vs_direct"] = row["goodput_bps"] / (partner["goodput_bps"] or np.nan)
            tests.loc[place, "direct_slot"] = partner["slot"]
    return tests
