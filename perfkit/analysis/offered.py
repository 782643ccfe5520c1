"""What the clients offered, and which of them could not offer what they were asked for.

A UDP sender that keeps up with its rate offers it whatever arrives; one that does not, because its
machine is too small, measures the machine. A TCP sender that is held back by the network waits, and
cannot be told from one that is slow: what it was asked for is taken as offered, and what it did not
carry is missing in the goodput.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.run_logs import SlotPlan
from perfkit.model import TestKind
from perfkit.units import bits_to_gbit, bytes_to_bits, format_mbps, format_some

LEAST_SHARE = 0.95  # of what was asked
_NAMED = 8
METHOD = (
    "Offered: what UDP clients sent, by their own logs, over their whole streams; for TCP at a rate, that "
    "rate times the clients that count. A UDP client that sent under 95 % of its rate makes the test void"
)


def sent_by_host(placed: pd.DataFrame) -> dict[str, float]:
    """What each UDP client sent by its own log, in bit/s over its streams' time.

    NaN where a stream of it has no length.

    Args:
        placed: All lines of a slot (`run-traffic`).
    """
    rows = _own_sums(placed)
    rates = (
        bytes_to_bits(1.0)
        * rows["size_bytes"]
        / (rows["end_s"] - rows["start_s"]).where(lambda s: s > 0)
    )
    per_host = rates.groupby(rows["host"].astype("str")).agg(lambda own: own.sum(skipna=False))
    return {str(host): float(rate) for host, rate in per_host.items()}


def _own_sums(placed: pd.DataFrame) -> pd.DataFrame:
    """What UDP clients' own logs say that they sent, a line for each stream."""
    own = (placed["side"] == "sender") & (placed["protocol"] == "udp")
    own &= (placed["kind"] == "summary") & (
        placed["log_host"].astype("str") == placed["host"].astype("str")
    )
    return placed[own.to_numpy(dtype=bool)]


def datagrams_sent(placed: pd.DataFrame, arrived: pd.DataFrame) -> pd.Series[float]:
    """How many datagrams each client sent to the server, by its own log.

    iperf says the bytes; the size of a datagram is that of most lines that say what arrived. A
    receiver's own count is not taken: iperf 2.1.8 counts the last datagram, which its client sends up
    to ten times, as others, or as one far ahead.

    Args:
        placed: All lines of a slot (`run-traffic`).
        arrived: The receiver's lines of it, see `perfkit.analysis.rates.receiver_rows`.

    Returns:
        By host; a client that does not say it, or to which the server sent too, is not there.
    """
    if not {"lost", "datagrams"} <= set(arrived.columns):
        return pd.Series(dtype="float64")
    rows = _own_sums(placed)
    sent_bytes = rows.groupby(rows["host"].astype("str"))["size_bytes"].sum(min_count=1)
    heard = arrived["datagrams"] - arrived["lost"]
    hosts = arrived["host"].astype("str")
    size_bytes = (arrived["size_bytes"] / heard.where(heard > 0)).groupby(hosts).median()
    counts = (sent_bytes / size_bytes).round().dropna()
    return counts[~counts.index.isin(hosts[~arrived["up"].to_numpy(dtype=bool)])]


def offered_bps(slot: SlotPlan, placed: pd.DataFrame, counted: Collection[str]) -> float:
    """What the clients that count offered together; NaN: not known, or as much as TCP could."""
    sent = sent_by_host(placed)
    known = [sent[host] for host in counted if host in sent]
    if known:
        return sum(known) if len(known) == len(counted) else float("nan")
    is_tcp = bool((placed["protocol"] == "tcp").any())
    return slot.rate_bps * len(counted) if slot.rate_bps is not None and is_tcp else float("nan")


def packet_figures(test: Mapping[str, Any], kind: TestKind) -> dict[str, float]:
    """Loss, and of small packets how many a second, from a test's other figures.

    Args:
        test: `window_lost` and `window_datagrams`, else `udp_lost` and `udp_datagrams` of whole streams,
            `udp_payload_bytes` (mean of a datagram that arrived), `goodput_bps` and
            `vpn_cpu_s_per_gbit`; what is not known may be missing.
    """
    nan = float("nan")
    over = "window" if test.get("window_datagrams", nan) > 0 else "udp"
    if not test.get(f"{over}_datagrams", nan) > 0:
        return {}
    found = {"loss_ratio": test[f"{over}_lost"] / test[f"{over}_datagrams"]}
    size_bytes = test.get("udp_payload_bytes", nan)
    if kind is TestKind.PPS and size_bytes > 0:
        bits = bytes_to_bits(size_bytes)
        found["pps"] = test.get("goodput_bps", nan) / bits
        per_packet_s = test.get("vpn_cpu_s_per_gbit", nan) * bits_to_gbit(bits)
        found["vpn_cpu_us_per_packet"] = per_packet_s * 1e6
    return found


def why_short(slot: SlotPlan, placed: pd.DataFrame, counted: Collection[str]) -> str:
    """Which UDP clients offered too little of their rate, or nobody knows how much.

    Empty: none, or no rate was asked.
    """
    asked = slot.rate_bps
    if asked is None:
        return ""
    sent = {host: rate for host, rate in sent_by_host(placed).items() if host in counted}
    unknown = sorted(host for host, rate in sent.items() if np.isnan(rate))
    short = {host: rate for host, rate in sent.items() if rate < LEAST_SHARE * asked}
    said = []
    if short:
        named = [f"{host} {format_mbps(rate)}" for host, rate in sorted(short.items())]
        said.append(
            f"{len(short)} of {len(counted)} clients offered less than {LEAST_SHARE:.0%} of the "
            f"{format_mbps(asked)} asked of each ({format_some(named, _NAMED)}): their machines, not "
            "the network, were measured; ask for less, or use fewer clients a machine"
        )
    if unknown:
        said.append(
            f"it is not known what {len(unknown)} of {len(counted)} clients offered "
            f"({format_some(unknown, _NAMED)}): a stream in their logs has no length"
        )
    return "; ".join(said)
