"""What cannot have happened: logs that contradict themselves, or the server's own interfaces.

A test whose figures stand on such logs is void: nothing of it is published, and the reason is said
first. Three rules:

- One connection stands twice, at the same time or with the same figures: a log was copied, or is
  twice in its file. A port that was used again later is another connection.
- The intervals of one stream overlap: it sent two seconds in one.
- More arrived than the server's interfaces counted over the same ticks. Interfaces count headers
  too, so goodput is less. What was lost, or passed an interface that nobody watched, proves
  nothing: the rule wants what arrived, and an interface that carried the test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from perfkit.analysis import counters, rates
from perfkit.analysis.interfaces import rate_columns
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import NetworkPath, Window
from perfkit.units import bytes_to_bits, format_some

# Tools print sizes with three digits, and a busy monitor's ticks are repaired. On an overloaded machine
# interfaces and goodput agreed within 0.2 % over whole tests.
TOLERANCE = 0.05
CARRIED = 0.05  # of the goodput; an interface that counted less is not the one that carried it
LEAST_COVERAGE = 0.9  # of the traffic's time, by the monitor
LEAST_MARGIN_S, MOST_MARGIN_S = 2.0, 10.0  # clocks may differ; what is between tests is no test's
NEGLIGIBLE = 0.01  # of the bytes: so little in doubt is a warning, and voids nothing
OVERLAP_S, OVERLAP_SHARE = 0.5, 0.05  # of one stream; intervals are printed to a tenth of a second
_ENDS = ["local_address", "local_port", "peer_address", "peer_port"]
_FIGURES = ["start_s", "end_s", "size_bytes"]
_STREAM = ["log_host", "stream", "stream_id", "side", "up"]
_NAMED = 3


def why_impossible(
    logs: RunLogs, slot: SlotPlan, arrived: pd.DataFrame, intervals: pd.DataFrame, side: str
) -> list[tuple[str, float]]:
    """What of a slot's traffic cannot have happened.

    Args:
        arrived, side: See `perfkit.analysis.rates.receiver_rows`.
        intervals: The same as `perfkit.analysis.rates.whole_intervals`.

    Returns:
        Reasons, each with the share of the bytes that it puts in doubt, 0 to 1.
    """
    found = [*_repeated(arrived), *_copied(logs, slot, arrived), *_overlapping(arrived)]
    return [*found, *_above_interfaces(logs, slot, arrived, intervals, side)]


def is_void(found: Sequence[tuple[str, float]]) -> bool:
    """Whether so much is in doubt that no figure can be published."""
    return any(share > NEGLIGIBLE for _, share in found)


def _repeated(arrived: pd.DataFrame) -> list[tuple[str, float]]:
    """Connections that two streams claim at once."""
    rows = arrived[((arrived["local_port"] > 0) & (arrived["peer_port"] > 0)).to_numpy()]
    seen = rows.drop_duplicates(_STREAM)[[*_STREAM, *_ENDS, "host", "protocol"]]
    seen = seen.assign(ends=_ends(seen))
    keys = ["protocol", "up", "ends"]
    seen = seen[seen.duplicated(keys, keep=False)].astype({"protocol": "str"})
    if seen.empty:
        return []
    rows = rows.merge(seen[[*_STREAM, "ends"]], on=_STREAM)
    # The sum of a stream's hashes (it may wrap) is the stream's.
    hashes = np.asarray(pd.util.hash_pandas_object(rows[_FIGURES], index=False), dtype=np.uint64)
    streams = rows.assign(hash=hashes).groupby(_STREAM, observed=True, sort=False)
    figures = streams.agg(
        begin=("t_start_s", "min"),
        end=("t_end_s", "max"),
        bound=("t_bound_s", "max"),
        figures=("hash", "sum"),
    )
    seen = seen.merge(figures.reset_index(), on=_STREAM).sort_values([*keys, "begin"])
    before = seen.groupby(keys, sort=False)[["end", "bound", "figures"]].shift()
    at_once = before["end"] - seen["begin"] > before["bound"] + seen["bound"]
    alike = before["figures"] == seen["figures"]
    again = seen[(at_once | alike).to_numpy()]
    if again.empty:
        return []
    sizes = _sizes(arrived)
    of_again = again[_STREAM].merge(sizes.rename("size").reset_index(), on=_STREAM)["size"]
    share = float(of_again.sum() / max(sizes.sum(), 1.0))
    return [(f"{_whose(again['host'], 'connection')} in the logs twice", share)]


def _copied(logs: RunLogs, slot: SlotPlan, arrived: pd.DataFrame) -> list[tuple[str, float]]:
    """Streams that another test's log has with the same figures: one log is the other's copy."""
    whole = logs.traffic[(logs.traffic["kind"] == "summary").to_numpy()]
    whole = whole[(whole["local_port"] > 0).to_numpy()]
    own = arrived[(arrived["kind"] == "summary").to_numpy()]
    keys = ["log_host", "protocol", "side", *_ENDS, *_FIGURES, "connected_utc"]
    keys += [name for name in ("jitter_s",) if name in whole]
    texts = dict.fromkeys(("log_host", "protocol", "side", *_ENDS[::2]), "str")
    others = whole[(whole["slot"] != slot.name).to_numpy()][["slot", *keys]].astype(texts)
    both = own[[*keys, "host"]].astype(texts).merge(others.drop_duplicates(), on=keys)
    if both.empty:
        return []
    share = float(both["size_bytes"].sum() / max(_sizes(arrived).sum(), 1.0))
    where = format_some(sorted(set(both["slot"].astype("str"))), _NAMED)
    return [(f"{_whose(both['host'], 'stream')} with the same figures in {where}", share)]


def _overlapping(arrived: pd.DataFrame) -> list[tuple[str, float]]:
    """Streams whose intervals lie over each other."""
    rows = arrived[(arrived["kind"] == "interval").to_numpy()]
    if rows.empty:
        return []
    keys = rows.groupby(_STREAM, observed=True, sort=False).ngroup().to_numpy()
    start, end = (rows[name].to_numpy(dtype=np.float64) for name in ("start_s", "end_s"))
    order = np.lexsort((end, start, keys))
    keys, start, end = keys[order], start[order], end[order]
    reached = pd.Series(end).groupby(keys).cummax().to_numpy()
    before = np.where(np.diff(keys, prepend=-1) == 0, np.roll(reached, 1), -np.inf)
    over_s = np.bincount(keys, np.clip(np.minimum(before, end) - start, 0.0, None))
    length_s = np.bincount(keys, end - start)
    bad = over_s > np.maximum(OVERLAP_S, OVERLAP_SHARE * length_s)
    if not bad.any():
        return []
    sizes = np.bincount(keys, rows["size_bytes"].fillna(0.0).to_numpy()[order])
    of_bad = bad[keys]
    hosts = rows["host"].iloc[order[of_bad]]
    said = f"intervals of one stream overlap, by {over_s.max():.1f} s{_of(hosts)}"
    return [(said, float(sizes[bad].sum() / max(sizes.sum(), 1.0)))]


def _above_interfaces(
    logs: RunLogs, slot: SlotPlan, arrived: pd.DataFrame, intervals: pd.DataFrame, side: str
) -> list[tuple[str, float]]:
    """More goodput than the server's interfaces counted while there was any."""
    passed = interface_ratio(logs, slot, arrived, intervals, side)
    if not CARRIED <= passed < 1 / (1 + TOLERANCE):
        return []
    what = "tunnel device" if slot.path == NetworkPath.TUNNEL else "network interface"
    text = (
        f"the logs say that {1 / passed:.2f} times as much arrived as the server's {what} counted"
    )
    if 6 < 1 / passed < 10:
        text += ": bits were taken for bytes in one of the logs"
    return [(text, 1.0 - passed)]


def interface_ratio(
    logs: RunLogs, slot: SlotPlan, arrived: pd.DataFrame, intervals: pd.DataFrame, side: str
) -> float:
    """What the server's interfaces counted over the whole of a test, per byte of goodput.

    All ticks around the traffic are taken, so it does not matter where a second of it was placed.
    In-tunnel traffic is held against the tunnel's device: a VPN that compresses sends less.

    Returns:
        NaN where it is not known: nobody says what arrived, no interface was watched, or the
        monitor was away.
    """
    if slot.server is not None or side != "receiver" or intervals.empty:
        return float("nan")
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    up = arrived["up"].to_numpy(dtype=bool)
    ways = {way for way, there in (("recv", up.any()), ("send", (~up).any())) if there}
    in_tunnel = slot.path == NetworkPath.TUNNEL
    columns = [
        c
        for c in rate_columns(monitor, logs.vpn_record.device)
        if c.is_tunnel == in_tunnel and c.way in ways
    ]
    span = Window(
        start_s=float(intervals["t_start_s"].min()), end_s=float(intervals["t_end_s"].max())
    )
    if not columns or not counters.coverage(monitor, span) >= LEAST_COVERAGE:
        return float("nan")
    ticks = _ticks_around(logs, slot, monitor, span)
    ticks = ticks[np.isfinite(ticks["dt_s"].to_numpy(dtype=np.float64))]
    counted = ticks[[c.name for c in columns]].sum(axis=1).to_numpy(dtype=np.float64)
    passed_bits = float((counted * ticks["dt_s"].to_numpy(dtype=np.float64)).sum())
    got_bits = float(bytes_to_bits(rates.bytes_in(intervals, *counters.spans(ticks)).sum()))
    return passed_bits / got_bits if got_bits > 0 else float("nan")


def _ticks_around(
    logs: RunLogs, slot: SlotPlan, monitor: pd.DataFrame, span: Window
) -> pd.DataFrame:
    """The monitor's ticks of a test's traffic, with half of the time to its neighbours."""
    ends = [other.end_s for other in logs.slots if other.end_s <= slot.start_s]
    starts = [other.start_s for other in logs.slots if other.start_s >= slot.end_s]
    gaps = [(slot.start_s - max(ends)) / 2] if ends else [MOST_MARGIN_S]
    gaps += [(min(starts) - slot.end_s) / 2] if starts else [MOST_MARGIN_S]
    before_s, after_s = (min(max(gap, LEAST_MARGIN_S), MOST_MARGIN_S) for gap in gaps)
    begin, end = counters.spans(monitor)
    near = (end > span.start_s - before_s) & (begin < span.end_s + after_s)
    return monitor[near]


def _ends(rows: pd.DataFrame) -> list[str]:
    """Both ends of each row's connection in one text, whichever end printed it."""
    local, peer = (
        rows[f"{end}_address"].astype("str") + " " + rows[f"{end}_port"].astype("str")
        for end in ("local", "peer")
    )
    return [" ".join(sorted(pair)) for pair in zip(local, peer, strict=True)]


def _sizes(arrived: pd.DataFrame) -> pd.Series[float]:
    """Bytes of each stream, by its summary or its intervals, whichever says more."""
    sizes = arrived.pivot_table(
        index=_STREAM, columns="kind", values="size_bytes", aggfunc="sum", observed=True
    )
    whole: pd.Series[float] = sizes.max(axis=1)
    return whole


def _of(hosts: pd.Series[str]) -> str:
    names = sorted({str(host) for host in hosts} - {""})
    return f" (of {format_some(names, _NAMED)})" if names else ""


def _whose(hosts: pd.Series[str], what: str) -> str:
    """`connections of 2 clients (of client-001, client-002) stand`."""
    count = hosts.nunique()
    number = f"1 {what}" if count == 1 else f"{what}s of {count} clients"
    return f"{number}{_of(hosts)} stand{'s' if count == 1 else ''}"
