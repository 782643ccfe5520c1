"""Records of iperf3's JSON: the values in them that can be, whatever the document holds."""

from __future__ import annotations

import math
from typing import Any

from perfkit.units import MS_PER_S, US_PER_S

_LARGEST = 1e18
_AGREES = 0.02
_TOLERATED = 0.01  # datagrams under way at the end are not lost and not received
# Column, the key it is printed under, and how many of the printed unit make ours.
FIGURES = {
    "start_s": ("start", 1.0),
    "end_s": ("end", 1.0),
    "size_bytes": ("bytes", 1.0),
    "throughput_bps": ("bits_per_second", 1.0),
    "retransmits": ("retransmits", 1.0),
    "rtt_s": ("rtt", US_PER_S),
    "jitter_s": ("jitter_ms", MS_PER_S),
    "lost": ("lost_packets", 1.0),
    "datagrams": ("packets", 1.0),
    "out_of_order": ("out_of_order", 1.0),
}


def as_object(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; nothing if it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: object) -> float:
    """A figure; NaN when it is none that can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if -_LARGEST < value < _LARGEST else math.nan


def figures_of(record: dict[str, Any]) -> dict[str, float]:
    """The figures of a record in our units; NaN for those it has not or cannot have."""
    figures = {name: number(record.get(key)) / scale for name, (key, scale) in FIGURES.items()}
    for name, value in figures.items():
        if value < 0 and name != "lost":
            figures[name] = math.nan
    return figures


def socket_of(record: dict[str, Any]) -> int | None:
    """What iperf3 prints as a stream's id."""
    socket = record.get("socket")
    return socket if isinstance(socket, int) and 0 <= socket < _LARGEST else None


def port(value: object) -> int:
    """A port; 0 when it is none."""
    return value if isinstance(value, int) and 0 <= value < 65536 else 0


def size_left(figures: dict[str, float]) -> float:
    """Bytes sent less what was lost; NaN when nothing seems to have arrived.

    Who gets no datagram misses none, and the tool prints 0 lost and no jitter.
    """
    if not figures["lost"] and not figures["jitter_s"]:
        return math.nan
    return figures["size_bytes"] * (1 - figures["lost"] / (figures["datagrams"] or math.nan))


def adds_up(sizes: list[float], total: float) -> bool:
    """Whether parts are not known to differ from their total."""
    return not abs(sum(sizes) - total) > _TOLERATED * total


def contradicts(figures: dict[str, float], size_bytes: float, length_s: float) -> bool:
    """Whether a summary has other bytes than intervals that cover the same time.

    Of a test that the other end broke off, iperf3 counts bytes to the end of the test and time
    to the end of the last interval.
    """
    own_length_s = figures["end_s"] - figures["start_s"]
    covers = length_s > 0 and abs(length_s - own_length_s) <= _AGREES * own_length_s
    return covers and abs(size_bytes - figures["size_bytes"]) > _AGREES * figures["size_bytes"]
