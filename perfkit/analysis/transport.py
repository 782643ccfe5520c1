"""What the transport did to the bytes: TCP segments sent again, UDP datagrams lost.

Figures are over whole streams, not over the window: the tools print these counts exactly in each
stream's summary, and by the second only some of them. Counts are added before they are divided:
a mean of percentages would give a client of ten datagrams the weight of one of a million.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from perfkit.analysis.rates import STREAM
from perfkit.units import SI_PREFIXES

# Payload of a full segment: 1500 bytes of Ethernet less IPv4's 20, TCP's 20 and its time stamps'
# 12. A segment sent again may be shorter, so bytes sent again are at most this much.
SEGMENT_BYTES = 1448
METHOD = (
    "TCP, by the senders' own counts over their whole streams, also outside the steady windows, per "
    "byte of payload: efficiency = (transmitted - "
    "retransmitted bytes) / transmitted bytes (RFC 6349, TCP efficiency), where the tools count "
    "segments and each is taken as its connection's MSS (maximum segment size) where a log says it, "
    f"else as {SEGMENT_BYTES} bytes, so it is a lower bound; 1 GB = 10^9 bytes"
)
UDP_METHOD = (
    "UDP, by the receiver's reports of whole streams, also outside the steady windows: loss = all "
    "datagrams lost / all sent, which the receiver knows from their numbers (no more than the client says "
    "that it sent); median and maximum of "
    "the streams' jitter (RFC 1889)"
)


def retransmits_by_host(placed: pd.DataFrame) -> dict[str, float]:
    """Segments that each host sent again, from its streams' summaries; absent = not known."""
    sent = _tcp_summaries(placed)
    if sent.empty:
        return {}
    per_host = sent.groupby("host", observed=True)["retransmits"].sum()
    return {str(host): float(count) for host, count in per_host.items()}


def tcp_figures(placed: pd.DataFrame, counted: Collection[str]) -> dict[str, float]:
    """What the senders sent again.

    Args:
        placed: All lines of a slot (`run-traffic`).
        counted: Clients that count.

    Returns:
        `retransmits`, `retransmits_per_gb` (segments per 10^9 payload bytes),
        `tcp_efficiency_pct`, `resent_share` (bytes sent again per payload byte, at most) and
        `tcp_senders` (clients whose count is known); `mss_min_bytes` and `mss_max_bytes`. What no
        log says is not there.

    Source: RFC 6349 section 4.2, TCP efficiency.
    """
    sent = _tcp_summaries(placed)
    sent = sent[sent["host"].isin(list(counted)).to_numpy()]
    size, again = float(sent["size_bytes"].sum()), float(sent["retransmits"].sum())
    mss = _mss(placed, counted)
    if not size > 0:
        return mss
    segment = sent["mss_bytes"].fillna(SEGMENT_BYTES) if "mss_bytes" in sent else SEGMENT_BYTES
    share = float((sent["retransmits"] * segment).sum()) / size
    return mss | {
        "retransmits": again,
        "retransmits_per_gb": again / size * SI_PREFIXES["G"],
        "tcp_efficiency_pct": 100.0 / (1.0 + share),
        "resent_share": share,
        "tcp_senders": int(sent["host"].nunique()),
    }


def _mss(placed: pd.DataFrame, counted: Collection[str]) -> dict[str, float]:
    """The smallest and the largest MSS of the clients' connections; empty when no log says it."""
    if "mss_bytes" not in placed:
        return {}
    own = placed["host"].isin(list(counted)) & (placed["protocol"] == "tcp")
    sizes = placed.loc[own.to_numpy(dtype=bool), "mss_bytes"].dropna()
    return {"mss_min_bytes": float(sizes.min()), "mss_max_bytes": float(sizes.max())}


def udp_figures(
    arrived: pd.DataFrame, counted: Collection[str], sent: pd.Series[float] | None = None
) -> dict[str, float]:
    """What did not arrive, and how unevenly the rest did.

    Args:
        arrived: The receiver's lines of a slot, see `perfkit.analysis.rates.receiver_rows`.
        counted: Clients that count.
        sent: Datagrams that clients sent, see `perfkit.analysis.offered.datagrams_sent`; what a
            receiver counts beyond them is not lost.

    Returns:
        `udp_lost`, `udp_datagrams`, `udp_loss_pct`, `jitter_median_s`, `jitter_max_s`,
        `udp_payload_bytes` (mean of a datagram that arrived, where the log says both),
        `udp_streams` (whose reports these are), `udp_reports_unusable` (more lost than sent, or
        less than none: such a report of a misbehaving tool is in no figure), and
        `udp_out_of_order` where the log says it; empty when no receiver reported.
    """
    if not {"lost", "datagrams"} <= set(arrived.columns):
        return {}
    own = (arrived["protocol"] == "udp") & (arrived["side"] == "receiver")
    own &= arrived["host"].isin(list(counted))
    own &= arrived["datagrams"].notna() & arrived["lost"].notna()
    reports = _one_report_a_stream(arrived[own])
    if reports.empty:
        return {}
    usable = reports["lost"].between(0, reports["datagrams"]) & (reports["datagrams"] > 0)
    good = reports[usable] if sent is None else _within_sent(reports[usable], sent)
    total, lost = float(good["datagrams"].sum()), float(good["lost"].sum())
    heard = good[good["lost"] < good["datagrams"]]  # what never arrived has no jitter, not none
    jitter = heard["jitter_s"].dropna() if "jitter_s" in heard else pd.Series(dtype="float64")
    figures = {
        "udp_lost": lost,
        "udp_datagrams": total,
        "udp_loss_pct": 100.0 * lost / total if total else np.nan,
        "udp_streams": len(good),
        "jitter_median_s": float(jitter.median()),
        "jitter_max_s": float(jitter.max()),
        "udp_reports_unusable": int((~usable).sum()),
    }
    arrived_count = (good["datagrams"] - good["lost"]).sum()
    if arrived_count > 0 and "size_bytes" in good and good["size_bytes"].notna().all():
        figures["udp_payload_bytes"] = float(good["size_bytes"].sum() / arrived_count)
    if "out_of_order" in good:
        figures["udp_out_of_order"] = float(good["out_of_order"].sum(min_count=1))
    return figures


def _within_sent(reports: pd.DataFrame, sent: pd.Series[float]) -> pd.DataFrame:
    """The reports; of a client that sent less than they count, lost is what did not arrive of it."""
    heard = reports["datagrams"] - reports["lost"]
    hosts = reports["host"].astype("str")
    all_sent = hosts.map(sent)
    all_heard, all_lost = (it.groupby(hosts).transform("sum") for it in (heard, reports["lost"]))
    share = ((all_sent - all_heard).clip(lower=0.0) / all_lost).where(
        all_heard + all_lost > all_sent, 1.0
    )
    lost = (reports["lost"] * share).round().where(all_lost > 0, 0.0)
    return reports.assign(lost=lost, datagrams=heard + lost)


def _one_report_a_stream(lines: pd.DataFrame) -> pd.DataFrame:
    """Each stream's summary; where it has none, its intervals added, with the last one's jitter.

    A client's last word that is lost on a full link leaves the server without a summary.
    """
    summary = (lines["kind"] == "summary").to_numpy()
    stream = lines.groupby(STREAM, observed=True, sort=False).ngroup().to_numpy()
    ended = np.isin(stream, stream[summary])
    rest = lines[~ended & (lines["kind"] == "interval").to_numpy()]
    how: dict[str, Any] = dict.fromkeys(("lost", "datagrams", "size_bytes"), "sum")
    how |= {"jitter_s": "last", "host": "first"}
    how["out_of_order"] = lambda counts: counts.sum(min_count=1)  # none said is not 0
    how = {column: act for column, act in how.items() if column in rest}
    added = rest.groupby(STREAM, observed=True, sort=False)[list(how)].agg(how)
    return pd.concat([lines.loc[summary, list(how)], added], ignore_index=True)


def _tcp_summaries(placed: pd.DataFrame) -> pd.DataFrame:
    """Summary lines of TCP senders that say how much was sent again."""
    if "retransmits" not in placed:
        return placed.iloc[:0].assign(retransmits=np.nan)
    own = (placed["side"] == "sender") & (placed["kind"] == "summary")
    return placed[own & (placed["protocol"] == "tcp") & placed["retransmits"].notna()]
