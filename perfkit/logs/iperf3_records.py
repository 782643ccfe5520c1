"""Records of iperf3's JSON: the values in them that can be, whatever the document holds."""

from __future__ import annotations

import math
from typing import Any

from perfkit.units import MS_PER_S, US_PER_S

_LARGEST = 1e18
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
