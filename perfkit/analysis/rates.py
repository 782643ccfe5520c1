"""From intervals to rates over a window: frame in, figures out.

An interval's bytes are taken as spread evenly over it, so a window that cuts it gets its share.
Rates over a common window may be added; averages over each stream's own time may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.model import Window
from perfkit.units import bytes_to_bits

# What tells streams apart: ids are used again, in other slots and by the other end.
STREAM = ["slot", "log_host", "stream", "stream_id", "side"]
_EDGE_S = 1e-3  # iperf prints four decimals; closer borders are one border
_HOLE_S = 0.15  # borders may be printed to a tenth of a second


def receiver_rows(traffic: pd.DataFrame, server: str) -> tuple[pd.DataFrame, str]:
    """The lines that say what arrived, each connection once, and whose they are.

    Both ends may say what arrived: iperf3's client prints the server's figures too, and iperf 2's
    UDP client repeats them under `Server Report:`. The receiving end's own log is taken, the other
    end's word where that log is not there, as with a server that is not ours.

    Args:
        server: The run's server; from it a log's end is known.

    Returns:
        The lines, with `up`: whether the bytes went from a client to the server; and `receiver`,
        or `sender` where nobody says what arrived.
    """
    at_server = (traffic["log_host"] == server).to_numpy(dtype=bool)
    sends = _printed_by_sender(traffic)
    placed = traffic.assign(up=sends != at_server)
    receiver = (traffic["side"] == "receiver").to_numpy(dtype=bool)
    if not receiver.any():
        return placed, "sender"
    said = pd.DataFrame(
        {
            **{name: traffic[name].to_numpy()[receiver] for name in ("slot", "host", "log_host")},
            **_connections(traffic[receiver]),
            "up": placed["up"].to_numpy()[receiver],
            "sends": sends[receiver],
        }
    )
    # Sorted so that of each connection the receiving end's own log comes first.
    first = said.sort_values("sends", kind="stable").groupby(
        ["slot", "host", "low_port", "high_port", "up"], observed=True, sort=False
    )["log_host"]
    taken = (first.transform("first").sort_index() == said["log_host"]).to_numpy(dtype=bool)
    return placed[receiver][taken], "receiver"


def _printed_by_sender(traffic: pd.DataFrame) -> NDArray[np.bool_]:
    """For each line whether the end that printed it sends its stream.

    An end prints its own intervals; of the other end it knows the summary at most.
    """
    keys = ["slot", "log_host", "stream", "stream_id"]
    stream = traffic.groupby(keys, observed=True, sort=False).ngroup().to_numpy()
    count = int(stream.max(initial=-1)) + 1

    def has(side: str, kind: str = "") -> NDArray[np.bool_]:
        lines = (traffic["side"] == side).to_numpy(dtype=bool)
        if kind:
            lines = lines & (traffic["kind"] == kind).to_numpy(dtype=bool)
        return np.asarray(np.bincount(stream[lines], minlength=count)[stream] > 0)

    return has("sender") & (has("sender", "interval") | ~has("receiver", "interval"))


def _connections(lines: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """The two ports of each line's connection; 0 for all lines of a client that lacks one."""
    ports = np.sort(lines[["local_port", "peer_port"]].to_numpy(dtype=np.int64), axis=1)
    client = lines.groupby(["slot", "host"], observed=True, sort=False).ngroup().to_numpy()
    lacking = np.isin(client, client[ports[:, 0] == 0])
    ports[lacking] = 0
    return {"low_port": ports[:, 0], "high_port": ports[:, 1]}


def whole_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Interval lines that together hold every byte of every stream.

    iperf prints no interval for the last part of a second; it is in the summary only, so it is
    derived: summary minus intervals. A stream without interval lines is one interval.
    What is left over without any time is the last interval's. Where a line between two intervals was
    lost, or was none, the bytes that are left over are spread over that time too.

    Args:
        rows: Placed lines (`run-traffic`) of one side.

    Returns:
        `slot`, `host`, `log_host`, `t_start_s`, `t_end_s`, `size_bytes`, and `up` if the lines have
        it; placed rows only.
    """
    columns = ["slot", "host", "log_host", "t_start_s", "t_end_s", "size_bytes"]
    columns += ["up"] if "up" in rows else []
    rows = rows[rows["t_start_s"].notna()]
    interval = (rows["kind"] == "interval").to_numpy()
    keys = rows.groupby(STREAM, observed=True, sort=False).ngroup().to_numpy()
    count = int(keys.max()) + 1 if len(keys) else 0
    sizes = rows["size_bytes"].fillna(0.0).to_numpy()
    ends = rows["t_end_s"].to_numpy()
    last_end = np.full(count, -np.inf)
    np.maximum.at(last_end, keys[interval], ends[interval])
    counted = np.bincount(keys[interval], weights=sizes[interval], minlength=count)
    summaries = rows[~interval]
    owner = keys[~interval]
    rest = sizes[~interval] - counted[owner]
    begins = np.maximum(last_end[owner], summaries["t_start_s"].to_numpy())
    tail_s = summaries["t_end_s"].to_numpy() - begins
    has_time = tail_s > _EDGE_S
    holes, hole_keys = _holes(rows.loc[interval, columns], keys[interval])
    hole_s = (holes["t_end_s"] - holes["t_start_s"]).to_numpy()
    lost_s = np.bincount(hole_keys, weights=hole_s, minlength=count)
    rate = np.zeros(count)
    rate[owner] = np.maximum(rest, 0.0) / (lost_s[owner] + np.where(has_time, tail_s, 0.0) + 1e-12)
    holes["size_bytes"] = rate[hole_keys] * hole_s
    rest = np.where(lost_s[owner] > 0, rate[owner] * np.where(has_time, tail_s, 0.0), rest)
    tails = summaries.assign(t_start_s=begins, size_bytes=np.maximum(rest, 0.0))
    # Printed to a tenth of a second (iperf 2's CSV) the rest may have no time of its own.
    timeless = np.zeros(count)
    timeless[owner[~has_time]] = np.maximum(rest[~has_time], 0.0)
    last = _last_of_each(keys[interval], ends[interval], count)
    own = last >= 0
    grown = sizes[interval]
    grown[last[own]] += timeless[own]
    whole = rows.loc[interval, columns].assign(size_bytes=grown)
    parts = [whole, tails.loc[has_time, columns], holes[holes["size_bytes"] > 0]]
    joined: pd.DataFrame = pd.concat(
        [part for part in parts if len(part)] or [whole], ignore_index=True
    )
    return joined


def _holes(
    intervals: pd.DataFrame, keys: NDArray[np.integer[Any]]
) -> tuple[pd.DataFrame, NDArray[np.integer[Any]]]:
    """The time between two intervals of one stream in which there is none, and whose it is."""
    start, end = (intervals[name].to_numpy(dtype=np.float64) for name in ("t_start_s", "t_end_s"))
    order = np.lexsort((start, keys))
    reached = pd.Series(end[order]).groupby(keys[order]).cummax().to_numpy()
    after = np.flatnonzero(
        (np.diff(keys[order]) == 0) & (start[order][1:] - reached[:-1] > _HOLE_S)
    )
    there = order[after + 1]
    return intervals.iloc[there].assign(
        t_start_s=reached[after], t_end_s=start[there], size_bytes=0.0
    ), keys[there]


def _last_of_each(
    keys: NDArray[np.integer[Any]], ends: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """The place of each stream's last line; -1 for a stream that has none."""
    order = np.lexsort((ends, keys))
    last = np.full(count, -1, dtype=np.int64)
    last[keys[order]] = order
    return last


def idle_at_edges_s(arrived: pd.DataFrame, window: Window) -> pd.Series[float]:
    """For how long of a window each host's traffic had certainly not begun, or was over already.

    A starter records when a test's script began; what the script does before its first byte, or
    after its last, is load that was not offered. Placement bounds are taken in the host's favour.

    Args:
        arrived: Placed lines of one side, see `receiver_rows`.

    Returns:
        Seconds; the index is the host's name.
    """
    hosts = arrived.groupby("host", observed=True, sort=False)
    slack_s = hosts["t_bound_s"].max()
    late_s = hosts["t_start_s"].min() - slack_s - window.start_s
    early_s = window.end_s - hosts["t_end_s"].max() - slack_s
    return late_s.clip(lower=0.0) + early_s.clip(lower=0.0)


def resolution_s(intervals: pd.DataFrame) -> float:
    """How finely the bytes are placed in time: the length of the interval that the median byte is in."""
    length_s = (intervals["t_end_s"] - intervals["t_start_s"]).to_numpy(dtype=np.float64)
    order = np.argsort(length_s)
    counted = np.cumsum(intervals["size_bytes"].to_numpy(dtype=np.float64)[order])
    if not len(counted) or not counted[-1] > 0:
        return float("nan")
    return float(length_s[order][np.searchsorted(counted, counted[-1] / 2)])


def disagreeing_streams(rows: pd.DataFrame, tolerance: float = 0.01) -> int:
    """Streams whose intervals hold more bytes than their own summary: one of them is wrong."""
    sums = rows.pivot_table(
        index=STREAM, columns="kind", values="size_bytes", aggfunc="sum", observed=True
    )
    if not {"interval", "summary"} <= set(sums.columns):
        return 0
    return int((sums["interval"] > sums["summary"] * (1 + tolerance)).sum())


def bytes_by_host(intervals: pd.DataFrame, window: Window) -> pd.Series[float]:
    """Bytes of each host inside the window; the index is the host's name."""
    begin, end = intervals["t_start_s"].to_numpy(), intervals["t_end_s"].to_numpy()
    inside = np.minimum(end, window.end_s) - np.maximum(begin, window.start_s)
    share = np.clip(inside, 0.0, None) / np.maximum(end - begin, 1e-9)
    codes, hosts = pd.factorize(intervals["host"])  # text is slow to group by
    weights = intervals["size_bytes"].to_numpy() * share
    known = codes >= 0
    sizes = np.bincount(codes[known], weights=weights[known], minlength=len(hosts))
    return pd.Series(sizes, index=pd.Index(hosts.astype("str")))


def bytes_in(
    intervals: pd.DataFrame, begins_s: NDArray[np.float64], ends_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bytes of all streams together in each span [begin, end)."""
    return _bytes_in(_columns_of(intervals), begins_s, ends_s)


def _columns_of(intervals: pd.DataFrame) -> list[NDArray[np.float64]]:
    return [intervals[name].to_numpy() for name in ("t_start_s", "t_end_s", "size_bytes")]


def _bytes_in(
    columns: Sequence[NDArray[np.float64]],
    begins_s: NDArray[np.float64],
    ends_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    begin, end, size = columns
    usable = end - begin > _EDGE_S
    if not usable.any():
        return np.zeros(len(begins_s))
    rate = size[usable] / (end - begin)[usable]
    moments = np.concatenate([begin[usable], end[usable]])
    order = np.argsort(moments, kind="stable")
    # The sum of all streams' rates is a staircase; its integral is read off at the borders.
    steps = np.cumsum(np.concatenate([rate, -rate])[order])
    moments = moments[order]
    integral = np.concatenate([[0.0], np.cumsum(steps[:-1] * np.diff(moments))])
    inside = np.interp(ends_s, moments, integral) - np.interp(begins_s, moments, integral)
    return np.asarray(inside)


def per_second_bps(
    intervals: pd.DataFrame, window: Window, hosts: Sequence[str]
) -> NDArray[np.float64]:
    """Rate of each host in each whole second of the window, in bit/s; the last part of one is left out.

    Returns:
        Shape (hosts, seconds); 0 of a host without intervals.
    """
    begins = window.start_s + np.arange(float(int(window.length_s)))
    codes, names = pd.factorize(intervals["host"])
    order = np.argsort(codes, kind="stable")
    columns = [values[order] for values in _columns_of(intervals)]
    borders = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    spans = {str(name): slice(*span) for name, span in zip(names, pairwise(borders), strict=True)}
    bps = np.zeros((len(hosts), len(begins)))
    for row, host in zip(bps, hosts, strict=True):
        if host in spans:
            own = [values[spans[host]] for values in columns]
            row[:] = bytes_to_bits(1.0) * _bytes_in(own, begins, begins + 1.0)
    return bps


def jain_index(values: NDArray[np.float64]) -> float:
    """Fairness, from 1/n (one takes all) to 1 (all alike); one that got nothing stays in n.

    Source: Jain, Chiu, Hawe, DEC-TR-301 (1984): (sum x)^2 / (n * sum x^2).
    """
    squares = float((values**2).sum())
    if not len(values) or squares == 0:
        return float("nan")
    return float(values.sum() ** 2 / (len(values) * squares))
