"""The run's own server over a window: its interfaces, its processors, its OpenVPN process."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from perfkit.analysis import counters, rates
from perfkit.logs.runlogs import RunLogs, SlotPlan
from perfkit.model import NetworkPath, Window
from perfkit.units import bits_to_gbit, bytes_to_bits

CPU_CLASSES = ("user", "system", "wait", "steal", "busy")
OUTSIDE_NIC = "eth0"
TUNNEL_NIC = "tun0"


def directions(arrived: pd.DataFrame, server: str) -> tuple[str, ...]:
    """Which way the server's interfaces carried it: `recv` up, `send` down to the clients."""
    at_server = arrived["log_host"] == server
    by_receiver = (arrived["side"] == "receiver") == at_server
    return tuple(w for w, there in (("recv", by_receiver), ("send", ~by_receiver)) if there.any())


def server_load(
    logs: RunLogs, slot: SlotPlan, window: Window, intervals: pd.DataFrame, ways: Sequence[str]
) -> dict[str, float]:
    """The run's own server over a window; empty where the server was not ours.

    Rates and ratios are over the monitor's whole ticks in the window, and so is the goodput they
    are divided by.

    Args:
        intervals: All traffic of the slot, see `perfkit.analysis.rates.whole_intervals`.
        ways: `recv`, `send` or both, see `directions`.
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
    load |= busiest_core(ticks)
    return load | _process_load(logs, slot, window, intervals)


def busiest_core(ticks: pd.DataFrame) -> dict[str, float]:
    """The core that was busiest over all ticks; empty when the monitor did not look at cores.

    OpenVPN works on one core, so a full core is the limit while the mean over all looks idle.

    Returns:
        `busiest_core` (its number) and `busiest_core_pct` (100 - idle - wait).
    """
    busy = {}
    for column in ticks.columns:
        core = re.fullmatch(r"cpu(\d+)_idle_pct", str(column))
        if core:
            idle, _ = counters.mean_and_sd(ticks, column)
            waiting, _ = counters.mean_and_sd(ticks, f"cpu{core[1]}_wait_pct")
            busy[int(core[1])] = 100.0 - idle - (waiting if np.isfinite(waiting) else 0.0)
    busy = {core: share for core, share in busy.items() if np.isfinite(share)}
    if not busy:
        return {}
    most = max(busy, key=busy.__getitem__)
    return {"busiest_core": most, "busiest_core_pct": busy[most]}


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
