"""What connected clients that do nothing cost: a test of the kind `idle`.

The server's VPN is started anew while its clients are stopped, so that its memory is that of these
clients: a process keeps what it once had. Until a sixth of the test nobody is connected; from its half
on nothing is done. Both are fixed by `resources/tests/idle` and its `.server`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.units import bytes_to_bits, format_size

EMPTY_UNTIL, IDLE_FROM = 1 / 6, 1 / 2  # shares of the test's duration
METHOD = (
    "Memory of the server's VPN process (RSS; PSS: shared pages in part), mean over the second half of "
    "the test, in which nothing is done; per client: less what it held when it had been started and "
    "nobody was connected, divided by the clients, and unknown where one of them does not count. Memory of the kernel is in neither. Idle traffic: "
    "median over clients of what the interface that leads to the server carried, both ways, whatever it was"
)


def figures(logs: RunLogs, slot: SlotPlan, counted: Sequence[str]) -> dict[str, float]:
    """Figures of a test.

    Args:
        counted: Clients that count: each was connected before and after.

    Returns:
        `vpn_rss_bytes`, `vpn_pss_bytes`, `vpn_rss_empty_bytes` (of the process without any client),
        `vpn_rss_per_client_bytes`, `idle_bps` and `idle_tunnel_bps` (of a client). NaN where nobody saw
        it: a VPN in the kernel has no process; per client also where a client of the run does not count.
    """
    rss, pss, empty = _memory(logs, slot)
    own = logs.samples[(logs.samples["slot"] == slot.name).to_numpy()]
    own = own[own["host"].astype("str").isin(list(counted)).to_numpy()]
    is_whole = bool(counted) and set(counted) == set(logs.clients)  # the others may hold memory too
    return {
        "vpn_rss_bytes": rss,
        "vpn_pss_bytes": pss,
        "vpn_rss_empty_bytes": empty,
        "vpn_rss_per_client_bytes": (rss - empty) / len(counted) if is_whole else np.nan,
        "idle_bps": _rate_bps(own, "outer"),
        "idle_tunnel_bps": _rate_bps(own, "tunnel"),
    }


def findings(logs: RunLogs, slot: SlotPlan) -> list[Finding]:
    """What makes the memory no figure of these clients."""
    texts = []
    idle = _process(logs, slot, IDLE_FROM, 1.0)
    pids = idle["pid"].unique()
    if len(pids) > 1:
        texts.append(
            f"the server's VPN was started anew {len(pids) - 1} times while nothing was done"
        )
    grown = idle["rss_bytes"].max() - idle["rss_bytes"].min() if len(idle) else 0.0
    if grown > _NOTABLE_GROWTH * idle["rss_bytes"].mean():
        texts.append(
            f"the memory of the server's VPN changed by {format_size(int(grown))} while nothing was done"
        )
    return [Finding(slot.name, text) for text in texts]


_NOTABLE_GROWTH = 0.02  # of its mean


def _memory(logs: RunLogs, slot: SlotPlan) -> tuple[float, float, float]:
    """RSS and PSS while nothing is done, and RSS before anybody connected; of one and the same process."""
    idle = _process(logs, slot, IDLE_FROM, 1.0)
    if idle["pid"].nunique() != 1:
        return np.nan, np.nan, np.nan
    before = _process(logs, slot, 0.0, EMPTY_UNTIL)
    before = before[(before["pid"] == idle["pid"].iloc[0]).to_numpy()]
    pss = float(idle["pss_bytes"].mean()) if "pss_bytes" in idle else np.nan
    empty = float(before["rss_bytes"].iloc[-1]) if len(before) else np.nan
    return float(idle["rss_bytes"].mean()), pss, empty


def _process(logs: RunLogs, slot: SlotPlan, begin: float, end: float) -> pd.DataFrame:
    """Samples of the server's VPN process between two shares of the test's duration."""
    process = logs.process[(logs.process["host"] == logs.server).to_numpy()]
    if slot.server is not None:
        return process.iloc[:0]
    share = (process["t_s"] - slot.start_s) / slot.duration_s
    inside: pd.DataFrame = process[((share >= begin) & (share < end)).to_numpy()].sort_values("t_s")
    return inside


def _rate_bps(own: pd.DataFrame, where: str) -> float:
    """Median over clients of what a device carried, both ways."""
    by_host = own.pivot_table(
        index="host", columns="quantity", values="value", aggfunc="last", observed=True
    )
    needed = [f"{where}_recv_bytes", f"{where}_send_bytes", "idle_s"]
    if not set(needed) <= set(by_host.columns):
        return float("nan")
    recv, send, seconds = (by_host[name].to_numpy(dtype=np.float64) for name in needed)
    return float(np.nanmedian(bytes_to_bits(1.0) * (recv + send) / seconds))
