"""The run's own server over a window: its interfaces, its processors, its VPN's process."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import counters, rates
from perfkit.analysis.interfaces import rate_columns
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import NetworkPath, Window
from perfkit.units import bits_to_gbit, bytes_to_bits

CPU_CLASSES = ("user", "system", "softirq", "wait", "steal", "busy")
OUTSIDE_NIC = "eth0"  # of logs with several
_CORE = re.compile(r"cpu([0-9]+)_idle_pct")


def directions(arrived: pd.DataFrame) -> tuple[str, ...]:
    """Which way the server's interfaces carried it: `recv` up, `send` down to the clients."""
    up = arrived["up"].to_numpy(dtype=bool)
    return tuple(way for way, there in (("recv", up), ("send", ~up)) if there.any())


def outside_nic(monitor: pd.DataFrame, device: str) -> str:
    """The interface beside the tunnel that was watched, whatever it is called on that machine.

    perfkit's monitor watches one, the one that carries the tests. Loopback, which carries
    everybody's traffic on a machine, is none.

    Args:
        device: The VPN's.
    """
    columns = rate_columns(monitor, device)
    beside = [c.nic for c in columns if not c.is_tunnel and c.nic != "lo"]
    return OUTSIDE_NIC if OUTSIDE_NIC in beside else next(iter(beside), OUTSIDE_NIC)


def shared_cpu(logs: RunLogs) -> bool:
    """Whether all hosts ran on the same processors."""
    return bool(logs.manifest.get("provider_traits", {}).get("shared_cpu"))


def server_load(
    logs: RunLogs, slot: SlotPlan, window: Window, intervals: pd.DataFrame, ways: Sequence[str]
) -> dict[str, float]:
    """The run's own server over a window; empty where the server was not ours.

    Rates and ratios are over the monitor's whole ticks in the window, and so is the goodput they
    are divided by. Of traffic both ways the rates are those of the busier direction, as a link carries
    each by itself, and the ratios those of all bytes.

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
    load: dict[str, float] = {
        "monitor_coverage": counters.coverage(monitor, window),
        "monitor_ticks": len(ticks),
    }
    device = logs.vpn_record.device
    for name, nic in (("nic", outside_nic(monitor, device)), ("tunnel", device)):
        columns = [f"net_{nic}_{way}_bps" for way in ways]
        each = [counters.mean_and_sd(ticks, column) for column in columns]
        mean, sd = max(each, default=(np.nan, np.nan))
        load |= {f"{name}_bps": mean, f"{name}_sd_bps": sd}
        load[f"{name}_ratio"] = counters.mean_and_sd(ticks, *columns)[0] * seconds / arrived
    for name in CPU_CLASSES:
        mean, sd = counters.mean_and_sd(ticks, f"cpu_{name}_pct")
        load |= {f"cpu_{name}_pct": mean, f"cpu_{name}_sd_pct": sd}
    ncpu = logs.facts.get(logs.server, {}).get("ncpu")
    load["cpu_cores"] = load["cpu_busy_pct"] / 100 * ncpu if isinstance(ncpu, int) else np.nan
    load |= busiest_core(ticks)
    return load | _process_load(logs, slot, window, intervals)


def busiest_core(ticks: pd.DataFrame) -> dict[str, float]:
    """The core that was busiest over all ticks; empty when the monitor did not look at cores.

    Some VPNs work on one core, so a full core is the limit while the mean over all looks idle. The
    scheduler may move it from core to core, and then none is full on average: the busiest core of
    each tick is, and its mean is given as well.

    Returns:
        `busiest_core` (its number), `busiest_core_pct` (100 - idle - wait, time-weighted mean) and
        `busiest_core_tick_pct` (the same of the core that was busiest in each tick).
    """
    numbers = [found[1] for c in ticks.columns if (found := _CORE.fullmatch(str(c)))]
    if not numbers or ticks.empty:
        return {}
    busy = np.column_stack([_core_busy(ticks, f"cpu{number}") for number in numbers])
    weight = np.where(np.isfinite(busy), ticks["dt_s"].to_numpy(dtype=np.float64)[:, None], 0.0)
    seen = weight.sum(axis=0)
    if not seen.any():
        return {}
    means = np.nansum(busy * weight, axis=0) / np.where(seen > 0, seen, np.nan)
    most = int(np.nanargmax(means))
    some = np.isfinite(busy).any(axis=1)
    by_tick = np.nanmax(busy[some], axis=1)
    return {
        "busiest_core": int(numbers[most]),
        "busiest_core_pct": float(means[most]),
        "busiest_core_tick_pct": float(np.average(by_tick, weights=weight[some].max(axis=1))),
    }


def _core_busy(ticks: pd.DataFrame, core: str) -> NDArray[np.float64]:
    """100 - idle - wait of a core in each tick; NaN where its clock did not move: all shares are 0."""
    shares = ticks[[c for c in ticks.columns if str(c).startswith(f"{core}_")]]
    idle = ticks[f"{core}_idle_pct"].to_numpy(dtype=np.float64)
    wait = (
        ticks[f"{core}_wait_pct"].to_numpy(dtype=np.float64) if f"{core}_wait_pct" in ticks else 0
    )
    return np.where(shares.sum(axis=1).to_numpy() > 0, 100.0 - idle - wait, np.nan)


def _process_load(
    logs: RunLogs, slot: SlotPlan, window: Window, intervals: pd.DataFrame
) -> dict[str, float]:
    """CPU of the VPN's process on the server; per Gbit of goodput for in-tunnel tests.

    Not known where the kernel carries the packets: the process, if there is one, does not.
    """
    if logs.vpn_in_kernel:
        return dict.fromkeys(("vpn_cpu_s", "vpn_cores", "vpn_cpu_s_per_gbit"), np.nan)
    process = logs.process[(logs.process["host"] == logs.server).to_numpy()]
    used = counters.cpu_seconds(process, window)
    load = {"vpn_cpu_s": used, "vpn_cores": used / window.length_s}
    if slot.path == NetworkPath.TUNNEL:
        span = counters.sampled_span(process, window)
        borders = np.array([span.start_s]), np.array([span.end_s])
        gbit = bits_to_gbit(bytes_to_bits(float(rates.bytes_in(intervals, *borders)[0])))
        load["vpn_cpu_s_per_gbit"] = counters.cpu_seconds(process, span) / (gbit or np.nan)
    return load
