"""Documents of iperf3 that keep only the sums of their streams, as scripts leave them."""

from __future__ import annotations

from typing import Any

import numpy as np

from perfkit.logs.iperf3.records import as_object, figures_of, objects, socket_of

_OF_ONE_WAY = ("sum", "sum_sent", "sum_received")
_REVERSE = "_bidir_reverse"


def fill_streams(document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Where a test has sums and no streams, let each way's sum stand for its streams.

    Returns:
        The document, with a stream in each interval and at the end; and notes on what was done.
    """
    intervals = objects(document.get("intervals"))
    end = as_object(document.get("end"))
    has_streams = any(objects(interval.get("streams")) for interval in intervals)
    ends_with_streams = bool(objects(end.get("streams")))
    start = as_object(document.get("start"))
    connected = objects(start.get("connected"))
    sockets = [socket_of(record) for record in connected]
    notes = []
    taken = 0
    if not has_streams:
        filled = []
        for interval in intervals:
            sums, left = _sums(interval, sockets)
            notes += [f"a {name} without its interval is left out" for name in left]
            taken += len(sums)
            filled.append({**interval, "streams": list(sums.values())})
        document = {**document, "intervals": filled}
    if not ends_with_streams and (not has_streams or len(connected) == 1):
        sums, left = _sums(end, sockets)
        notes += [f"end.{name} says no bytes of an interval and is left out" for name in left]
        taken += len(sums)
        document = {**document, "end": {**end, "streams": _at_the_end(sums)}}
    if taken:
        notes.insert(0, "the streams are not in the file; sums stand for them")
    return document, notes


def _sums(
    record: dict[str, Any], sockets: list[int | None]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sums of an interval or the end, each with a stream's socket; and those without figures."""
    sums, left = dict[str, dict[str, Any]](), []
    for name, value in record.items():
        is_reverse = name.endswith((_REVERSE, "#2"))
        if name.removesuffix(_REVERSE).removesuffix("#2") not in _OF_ONE_WAY or not value:
            continue
        figures = figures_of(as_object(value))
        if not figures["end_s"] >= figures["start_s"] or np.isnan(figures["size_bytes"]):
            left.append(name)
            continue
        own = {"socket": sockets[-1 if is_reverse else 0]} if sockets else {}
        sums[name] = {**value, **own}
    return sums, left


def _at_the_end(sums: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Records of streams as the end of a document has them."""
    streams = []
    for way in ("", _REVERSE, "#2"):
        if f"sum{way}" in sums and f"sum_sent{way}" not in sums:
            streams.append({"udp": sums[f"sum{way}"]})
        elif f"sum_sent{way}" in sums or f"sum_received{way}" in sums:
            ends = {"sender": f"sum_sent{way}", "receiver": f"sum_received{way}"}
            streams.append({end: sums[name] for end, name in ends.items() if name in sums})
    return streams
