"""One test of iperf3's JSON to rows of a `traffic` frame.

Intervals are the printing end's figures; the summary has a row for each end. A server does not
learn the other end's figures and prints zeros for them: those are left out. What the document
gives twice, once by stream and once as a sum of one stream, is read once.

For UDP iperf3 prints one summary with the sender's bytes and the receiver's losses. It is taken
apart again: what the receiver got is `sum_received`, or the sum of its own intervals, or the
sender's bytes less the lost datagrams.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.traffic import (
    GROUP,
    INTERVAL,
    PROTOCOLS,
    RECEIVER,
    SENDER,
    SUM,
    SUMMARY,
    UNKNOWN,
    Stream,
    to_frame,
)
from perfkit.units import MS_PER_S, US_PER_S, bytes_to_bits

_LARGEST = 1e18
_SUM_NAMES = ("sum", "sum_bidir_reverse", "sum#2")  # before 3.11 the reverse one is a second sum
_FIGURES = {
    "start_s": ("start", 1.0),
    "end_s": ("end", 1.0),
    "size_bytes": ("bytes", 1.0),
    "throughput_bps": ("bits_per_second", 1.0),
    "retransmits": ("retransmits", 1.0),
    "rtt_s": ("rtt", US_PER_S),
    "jitter_s": ("jitter_ms", MS_PER_S),
    "lost": ("lost_packets", 1.0),
    "datagrams": ("packets", 1.0),
}
_OF_LOSSES = ("jitter_s", "lost")


@dataclass(slots=True)
class _Test:
    """A test while it is read.

    Attributes:
        role: `client` or `server`; empty when the document does not say.
        sends: Whether the printing end sends; None = not said, or both ways.
        numbers: Stream number by socket.
        received: Bytes of each stream's own intervals, by (number, side).
    """

    role: str
    protocol: str
    sends: bool | None
    line_no: int
    numbers: dict[int | None, int] = field(default_factory=dict)
    received: dict[tuple[int, int], float] = field(default_factory=dict)

    def side_of(self, record: dict[str, Any]) -> int:
        """Who counted a record of an interval: the printing end, which sends or receives."""
        sends = record.get("sender", self.sends)
        if not isinstance(sends, bool):
            sends = None
            if "retransmits" in record or "snd_cwnd" in record:
                sends = True
            elif "lost_packets" in record:
                sends = False
        return UNKNOWN if sends is None else SENDER if sends else RECEIVER


class Figures:
    """Collects the rows of tests; `frame` makes them one frame."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.omitted = 0
        self.odd_lines: list[int] = []
        self._ids: list[str] = []
        self._places: list[tuple[int, int, int, int]] = []  # stream, kind, side, line_no
        self._figures: list[tuple[float, ...]] = []

    def add(self, document: dict[str, Any], line_no: int) -> None:
        """Read one test; `line_no` is where its document begins."""
        test = self._open(document, line_no)
        for interval in objects(document.get("intervals")):
            self._add_interval(test, interval)
        server = document.get("server_output_json")
        if test.role == "client" and isinstance(server, dict):
            self._add_server_intervals(test, server)
        self._add_summaries(test, as_object(document.get("end")))

    def frame(self) -> pd.DataFrame:
        """All rows in the order of the document."""
        places = np.array(self._places, dtype=np.int64).reshape(-1, 4)
        figures = np.array(self._figures, dtype=np.float64).reshape(-1, len(_FIGURES))
        return to_frame(
            self.streams,
            stream=places[:, 0],
            stream_id=self._ids,
            kind=places[:, 1].astype(np.int8),
            side=places[:, 2].astype(np.int8),
            columns=dict(zip(_FIGURES, figures.T, strict=True)),
            line_no=places[:, 3],
        )

    def _open(self, document: dict[str, Any], line_no: int) -> _Test:
        """Who takes part in a test, which way and when."""
        start = as_object(document.get("start"))
        setup = as_object(start.get("test_start"))
        role = "server" if "accepted_connection" in start else ""
        role = "client" if "connecting_to" in start else role
        reverse = setup.get("reverse")
        both_ways = setup.get("bidir") == 1
        test = _Test(
            role=role,
            protocol=_protocol(document, setup),
            sends=(role == "client") ^ (reverse == 1) if role and not both_ways else None,
            line_no=line_no,
        )
        connected = as_object(start.get("timestamp")).get("timesecs")
        # After -O iperf3's clock starts again: its 0 s is where counting began.
        connected_utc_s = number(connected) + (number(setup.get("omit")) or 0.0)
        for record in objects(start.get("connected")):
            test.numbers[_socket(record)] = len(self.streams)
            self.streams.append(
                Stream(
                    local_address=str(record.get("local_host", ""))[:64],
                    local_port=_port(record.get("local_port")),
                    peer_address=str(record.get("remote_host", ""))[:64],
                    peer_port=_port(record.get("remote_port")),
                    protocol=test.protocol,
                    connected_utc_s=connected_utc_s,
                )
            )
        return test

    def _number_of(self, test: _Test, record: dict[str, Any]) -> int:
        """The stream of a record; a socket that was not introduced gets a stream without ends."""
        socket = _socket(record)
        if socket not in test.numbers:
            test.numbers[socket] = len(self.streams)
            self.streams.append(Stream(protocol=test.protocol))
        return test.numbers[socket]

    def _add_interval(self, test: _Test, interval: dict[str, Any]) -> None:
        sides = []
        for record in objects(interval.get("streams")):
            if record.get("omitted") is True:
                self.omitted += 1
                continue
            side = test.side_of(record)
            sides.append(side)
            self._add_own_interval(test, self._number_of(test, record), side, record)
        for name in _SUM_NAMES:
            record = as_object(interval.get(name))
            side = test.side_of(record)
            if record and record.get("omitted") is not True and sides.count(side) > 1:
                self._add_row(test, SUM, INTERVAL + GROUP, side, _figures(record))

    def _add_own_interval(
        self, test: _Test, stream: int, side: int, record: dict[str, Any]
    ) -> None:
        figures = _figures(record)
        if self._add_row(test, stream, INTERVAL, side, figures, _socket(record)):
            known = test.received.get((stream, side), 0.0)
            test.received[stream, side] = known + figures["size_bytes"]

    def _add_server_intervals(self, test: _Test, server: dict[str, Any]) -> None:
        """What the server counted of the same streams, from --get-server-output."""
        by_ports = {
            (stream.peer_port, stream.local_port): number
            for number, stream in enumerate(self.streams)
            if number in test.numbers.values()
        }
        start = as_object(server.get("start"))
        places = {
            _socket(record): by_ports[ports]
            for record in objects(start.get("connected"))
            if (ports := (_port(record.get("local_port")), _port(record.get("remote_port"))))
            in by_ports
        }
        sends = None if test.sends is None else not test.sends
        other = _Test("server", test.protocol, sends, test.line_no)
        for interval in objects(server.get("intervals")):
            for record in objects(interval.get("streams")):
                if record.get("omitted") is not True and _socket(record) in places:
                    stream, side = places[_socket(record)], other.side_of(record)
                    self._add_own_interval(other, stream, side, record)
        test.received |= other.received

    def _add_summaries(self, test: _Test, end: dict[str, Any]) -> None:
        records = objects(end.get("streams"))
        ways = [
            test.side_of(as_object(r.get("udp")) or as_object(r.get("sender"))) for r in records
        ]
        for record, way in zip(records, ways, strict=True):
            if "udp" in record:
                lone = ways.count(way) == 1
                self._add_udp_summary(test, way, as_object(record["udp"]), end if lone else {})
                continue
            for name, side in (("sender", SENDER), ("receiver", RECEIVER)):
                one = as_object(record.get(name))
                if one and _is_known(test, way, side, one):
                    stream = self._number_of(test, one)
                    self._add_row(test, stream, SUMMARY, side, _figures(one), _socket(one))
        for way in sorted(set(ways)):
            if ways.count(way) > 1:
                self._add_group_summaries(test, way, end)

    def _add_group_summaries(self, test: _Test, way: int, end: dict[str, Any]) -> None:
        for name, side in (("sum_sent", SENDER), ("sum_received", RECEIVER)):
            record = _sum_of(test, way, end, name)
            if record and _is_known(test, way, side, record):
                figures = _figures(record)
                if test.protocol == "udp" and side == SENDER:
                    figures |= dict.fromkeys(_OF_LOSSES, math.nan)
                self._add_row(test, SUM, SUMMARY + GROUP, side, figures)

    def _add_udp_summary(
        self, test: _Test, way: int, record: dict[str, Any], end: dict[str, Any]
    ) -> None:
        """The sender's and the receiver's row of what iperf3 prints as one."""
        stream, socket = self._number_of(test, record), _socket(record)
        figures = _figures(record)
        if way == SENDER or (test.role == "client" and figures["size_bytes"] > 0):
            sent = figures | dict.fromkeys(_OF_LOSSES, math.nan)
            self._add_row(test, stream, SUMMARY, SENDER, sent, socket)
        if way == SENDER and test.role == "server":
            return
        total = _figures(_sum_of(test, way, end, "sum_received"))
        own = test.received.get((stream, RECEIVER), math.nan)
        kept = 1 - figures["lost"] / figures["datagrams"] if figures["datagrams"] else 1.0
        figures["end_s"] = total["end_s"] if total["end_s"] > 0 else figures["end_s"]
        guesses = (total["size_bytes"], own, figures["size_bytes"] * kept)
        # A server before 3.8 has zero bytes in every summary, and no `sum_received`.
        figures["size_bytes"] = next((size for size in guesses if size > 0), guesses[-1])
        length_s = figures["end_s"] - figures["start_s"]
        rate = bytes_to_bits(figures["size_bytes"]) / length_s if length_s > 0 else math.nan
        figures["throughput_bps"] = rate
        self._add_row(test, stream, SUMMARY, RECEIVER, figures, socket)

    def _add_row(
        self,
        test: _Test,
        stream: int,
        kind: int,
        side: int,
        figures: dict[str, float],
        socket: int | str | None = "SUM",
    ) -> bool:
        if not figures["end_s"] >= figures["start_s"]:
            self.odd_lines.append(test.line_no)
            return False
        if kind < GROUP and test.protocol == "tcp":
            figures |= {"datagrams": math.nan}
        self._ids.append("" if socket is None else str(socket))
        self._places.append((stream, kind, side, test.line_no))
        self._figures.append(tuple(figures.values()))
        return True


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


def _figures(record: dict[str, Any]) -> dict[str, float]:
    """The figures of a record in our units; NaN for those it has not or cannot have."""
    figures = {name: number(record.get(key)) / scale for name, (key, scale) in _FIGURES.items()}
    for name, value in figures.items():
        if value < 0 and name != "lost":
            figures[name] = math.nan
    return figures


def _sum_of(test: _Test, way: int, end: dict[str, Any], name: str) -> dict[str, Any]:
    """The sum of all streams of one way; with --bidir the way back has its own."""
    forth = SENDER if test.role == "client" else RECEIVER
    both_ways = any(key.startswith(f"{name}_") or key == f"{name}#2" for key in end)
    if both_ways and test.role and way != forth:
        return as_object(end.get(f"{name}_bidir_reverse", end.get(f"{name}#2")))
    return as_object(end.get(name))


def _is_known(test: _Test, way: int, side: int, record: dict[str, Any]) -> bool:
    """Whether the printing end can know a figure: a server does not learn the other end's."""
    return test.role != "server" or way in (side, UNKNOWN) or number(record.get("bytes")) > 0


def _protocol(document: dict[str, Any], setup: dict[str, Any]) -> str:
    """As the setup says it; otherwise datagrams are UDP."""
    said = str(setup.get("protocol", "")).lower()
    if said:
        return said
    first = next(_records(document), {})
    return PROTOCOLS["packets" in first]


def _records(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for interval in objects(document.get("intervals")):
        yield from objects(interval.get("streams"))


def _socket(record: dict[str, Any]) -> int | None:
    """What iperf3 prints as a stream's id."""
    socket = record.get("socket")
    return socket if isinstance(socket, int) and 0 <= socket < _LARGEST else None


def _port(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 65536 else 0
