"""One test of iperf3's JSON to rows of a `traffic` frame.

Intervals are the printing end's figures; the summary has a row for each end. A server does not
learn the other end's figures, nor does a client whose test broke off; the zeros printed for them
are left out. A sum of one stream, which only repeats it, is not read.

For UDP iperf3 prints one summary with the sender's bytes and the receiver's losses. It is taken
apart again: what the receiver got is `sum_received`, or the sum of its own intervals, or the
sender's bytes less the lost datagrams.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.frames import SIDES
from perfkit.logs.iperf3.printed import read_printed
from perfkit.logs.iperf3.records import (
    FIGURES,
    adds_up,
    as_object,
    contradicts,
    figures_of,
    number,
    objects,
    port,
    size_left,
    socket_of,
)
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
from perfkit.units import bytes_to_bits

_SUM_NAMES = ("sum", "sum_bidir_reverse", "sum#2")  # before 3.11 the reverse one is a second sum
_OF_LOSSES = ("jitter_s", "lost", "out_of_order")


@dataclass(slots=True)
class _Test:
    """A test while it is read.

    Attributes:
        role: `client` or `server`; empty when the document does not say.
        sends: Whether the printing end sends; None = not said, or both ways.
        learns_other: The other end's figures came over: to a client, and when all went well.
        numbers: Stream number by socket.
        counted: Bytes and seconds of each stream's intervals, by (number, side).
        last: Start, end and bytes of each stream's last interval, by the same.
        contradicted: Sides of which a summary was left out.
    """

    role: str
    protocol: str
    sends: bool | None
    learns_other: bool
    line_no: int
    numbers: dict[int | None, int] = field(default_factory=dict)
    counted: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    last: dict[tuple[int, int], tuple[float, ...]] = field(default_factory=dict)
    contradicted: set[int] = field(default_factory=set)

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
        self.repeated = 0
        self.contradicting = 0
        self.derived = 0
        self.unsure = 0
        self.texts = 0
        self.odd_lines: list[int] = []
        self._ids: list[str] = []
        self._places: list[tuple[int, int, int, int]] = []  # stream, kind, side, line_no
        self._figures: list[tuple[float, ...]] = []

    def add(self, document: dict[str, Any], line_no: int) -> int:
        """Read one test; `line_no` is where its document begins. Returns how many rows it gave."""
        before = len(self._places)
        test = self._open(document, line_no)
        for interval in objects(document.get("intervals")):
            self._add_interval(test, interval)
        server = document.get("server_output_json")
        if test.role == "client" and isinstance(server, dict):
            self._add_server_intervals(test, server)
        text = document.get("server_output_text")
        if test.role == "client" and isinstance(text, str):
            self._add_server_text(test, text)
        self._add_summaries(test, as_object(document.get("end")))
        return len(self._places) - before

    def frame(self) -> pd.DataFrame:
        """All rows in the order of the document."""
        places = np.array(self._places, dtype=np.int64).reshape(-1, 4)
        figures = np.array(self._figures, dtype=np.float64).reshape(-1, len(FIGURES))
        return to_frame(
            self.streams,
            stream=places[:, 0],
            stream_id=self._ids,
            kind=places[:, 1].astype(np.int8),
            side=places[:, 2].astype(np.int8),
            columns=dict(zip(FIGURES, figures.T, strict=True)),
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
            learns_other=role != "server" and "error" not in document,
            sends=(role == "client") ^ (reverse == 1) if role and not both_ways else None,
            line_no=line_no,
        )
        connected = as_object(start.get("timestamp")).get("timesecs")
        # After -O iperf3's clock starts again: its 0 s is where counting began.
        omitted_s = number(setup.get("omit", 0))
        connected_utc_s = number(connected) + (omitted_s if omitted_s > 0 else 0)
        mss_bytes = number(start.get("tcp_mss", start.get("tcp_mss_default")))
        for record in objects(start.get("connected")):
            test.numbers[socket_of(record)] = len(self.streams)
            self.streams.append(
                Stream(
                    local_address=str(record.get("local_host", ""))[:64],
                    local_port=port(record.get("local_port")),
                    peer_address=str(record.get("remote_host", ""))[:64],
                    peer_port=port(record.get("remote_port")),
                    protocol=test.protocol,
                    connected_utc_s=connected_utc_s,
                    mss_bytes=mss_bytes if test.protocol == "tcp" else math.nan,
                )
            )
        return test

    def _number_of(self, test: _Test, record: dict[str, Any]) -> int:
        """The stream of a record; a socket that was not introduced gets a stream without ends."""
        socket = socket_of(record)
        if socket not in test.numbers:
            test.numbers[socket] = len(self.streams)
            self.streams.append(Stream(protocol=test.protocol))
        return test.numbers[socket]

    def _add_interval(self, test: _Test, interval: dict[str, Any]) -> None:
        sides: Counter[int] = Counter()
        for record in objects(interval.get("streams")):
            if record.get("omitted") is True:
                self.omitted += 1
                continue
            side = test.side_of(record)
            sides[side] += self._add_own_interval(test, self._number_of(test, record), side, record)
        for name in _SUM_NAMES:
            record = as_object(interval.get(name))
            side = test.side_of(record)
            if record and record.get("omitted") is not True and sides[side] > 1:
                self._add_row(test, SUM, INTERVAL + GROUP, side, figures_of(record))

    def _add_own_interval(
        self, test: _Test, stream: int, side: int, record: dict[str, Any]
    ) -> bool:
        return self._take_own_interval(test, stream, side, figures_of(record), socket_of(record))

    def _take_own_interval(
        self, test: _Test, stream: int, side: int, figures: dict[str, float], socket: int | None
    ) -> bool:
        """Add a stream's interval, unless it is the last one once more: so ends a broken-off test."""
        this = figures["start_s"], figures["end_s"], figures["size_bytes"]
        if test.last.get((stream, side)) == this:
            self.repeated += 1
            return False
        test.last[stream, side] = this
        size_bytes, length_s = test.counted.get((stream, side), (0.0, 0.0))
        test.counted[stream, side] = size_bytes + this[2], length_s + this[1] - this[0]
        return self._add_row(test, stream, INTERVAL, side, figures, socket)

    def _by_ports(self, test: _Test) -> dict[tuple[int, int], tuple[int, int | None]]:
        """A test's streams, number and socket, by the server's port and the client's."""
        return {
            (self.streams[place].peer_port, self.streams[place].local_port): (place, socket)
            for socket, place in test.numbers.items()
        }

    def _add_server_intervals(self, test: _Test, server: dict[str, Any]) -> None:
        """What the server counted of the same streams, from --get-server-output."""
        by_ports = self._by_ports(test)
        start = as_object(server.get("start"))
        places = {
            socket_of(record): by_ports[ports]
            for record in objects(start.get("connected"))
            if (ports := (port(record.get("local_port")), port(record.get("remote_port"))))
            in by_ports
        }
        sends = None if test.sends is None else not test.sends
        other = dataclasses.replace(test, role="server", sends=sends, learns_other=False)
        for interval in objects(server.get("intervals")):
            for record in objects(interval.get("streams")):
                if record.get("omitted") is not True and socket_of(record) in places:
                    (stream, socket), side = places[socket_of(record)], other.side_of(record)
                    self._take_own_interval(other, stream, side, figures_of(record), socket)

    def _add_server_text(self, test: _Test, text: str) -> None:
        """The same where the server printed text: its figures have three digits."""
        printed = read_printed(text.encode("utf-8", "replace")).frame
        by_ports = self._by_ports(test)
        sends = None if test.sends is None else not test.sends
        other = dataclasses.replace(test, role="server", sends=sends, learns_other=False)
        for row in printed[printed["kind"] == "interval"].to_dict("records"):
            stream, socket = by_ports.get((row["local_port"], row["peer_port"]), (None, None))
            side = SIDES.index(row["side"])
            if stream is None or (sends is not None and side != (SENDER if sends else RECEIVER)):
                continue
            figures = {name: float(row.get(name, math.nan)) for name in FIGURES}
            self.texts += self._take_own_interval(other, stream, side, figures, socket)

    def _add_summaries(self, test: _Test, end: dict[str, Any]) -> None:
        records = objects(end.get("streams"))
        ways = [
            test.side_of(as_object(r.get("udp")) or as_object(r.get("sender"))) for r in records
        ]
        for record, way in zip(records, ways, strict=True):
            for name, side in (("sender", SENDER), ("receiver", RECEIVER)):
                one = as_object(record.get(name))
                if one and _is_known(test, way, side, one):
                    stream = self._number_of(test, one)
                    self._add_row(test, stream, SUMMARY, side, figures_of(one), socket_of(one))
        for way, count in sorted(Counter(ways).items()):
            udp = [
                as_object(record["udp"])
                for record, its_way in zip(records, ways, strict=True)
                if "udp" in record and its_way == way
            ]
            if udp:
                self._add_udp_summaries(test, way, udp, end)
            if count > 1:
                self._add_group_summaries(test, way, end)

    def _add_group_summaries(self, test: _Test, way: int, end: dict[str, Any]) -> None:
        for name, side in (("sum_sent", SENDER), ("sum_received", RECEIVER)):
            record = _sum_of(test, way, end, name)
            if record and side not in test.contradicted and _is_known(test, way, side, record):
                figures = figures_of(record)
                if test.protocol == "udp" and side == SENDER:
                    figures |= dict.fromkeys(_OF_LOSSES, math.nan)
                self._add_row(test, SUM, SUMMARY + GROUP, side, figures)

    def _add_udp_summaries(
        self, test: _Test, way: int, records: list[dict[str, Any]], end: dict[str, Any]
    ) -> None:
        """The sender's and the receiver's row of what iperf3 prints as one record a stream."""
        rows = [(self._number_of(test, record), figures_of(record)) for record in records]
        total = figures_of(_sum_of(test, way, end, "sum_received"))
        knows_sent = way == SENDER or test.learns_other
        knows_received = way != SENDER or test.learns_other
        lone = len(rows) == 1
        sizes = [_size_counted(test, way, stream, total, lone=lone) for stream, _ in rows]
        derived = knows_received and any(map(math.isnan, sizes))
        if derived:
            sizes = [size_left(figures) for _, figures in rows]
            if not adds_up(sizes, total["size_bytes"]):
                sizes = [math.nan] * len(sizes)
            unsure = sum(map(math.isnan, sizes))
            self.unsure, self.derived = self.unsure + unsure, self.derived + len(sizes) - unsure
        for record, (stream, figures), size_bytes in zip(records, rows, sizes, strict=True):
            if knows_sent and (way == SENDER or figures["size_bytes"] > 0):
                sent = figures | dict.fromkeys(_OF_LOSSES, math.nan)
                self._add_row(test, stream, SUMMARY, SENDER, sent, socket_of(record))
            if knows_received:
                end_s = total["end_s"] if total["end_s"] > 0 else figures["end_s"]
                length_s = end_s - figures["start_s"]
                rate = bytes_to_bits(size_bytes) / length_s if length_s > 0 else math.nan
                figures |= {"end_s": end_s, "size_bytes": size_bytes, "throughput_bps": rate}
                if size_bytes == 0 and way == SENDER:
                    figures["lost"] = figures["datagrams"]
                elif math.isnan(size_bytes):
                    figures["lost"] = math.nan
                if way == SENDER:  # the receiver's count does not come over: 0 is printed
                    figures["out_of_order"] = math.nan
                self._add_row(test, stream, SUMMARY, RECEIVER, figures, socket_of(record))

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
        if kind == SUMMARY and contradicts(figures, *test.counted.get((stream, side), (0.0, 0.0))):
            self.contradicting += 1
            test.contradicted.add(side)
            return False
        if kind < GROUP and test.protocol == "tcp":
            figures |= {"datagrams": math.nan}
        self._ids.append("" if socket is None else str(socket))
        self._places.append((stream, kind, side, test.line_no))
        self._figures.append(tuple(figures.values()))
        return True


def _sum_of(test: _Test, way: int, end: dict[str, Any], name: str) -> dict[str, Any]:
    """The sum of all streams of one way; with --bidir the way back has its own."""
    forth = SENDER if test.role == "client" else RECEIVER
    both_ways = any(key.startswith(f"{name}_") or key == f"{name}#2" for key in end)
    if both_ways and test.role and way != forth:
        return as_object(end.get(f"{name}_bidir_reverse", end.get(f"{name}#2")))
    return as_object(end.get(name))


def _size_counted(
    test: _Test, way: int, stream: int, total: dict[str, float], *, lone: bool
) -> float:
    """Bytes that a stream's receiver counted, from the best of what says so; NaN = nothing does."""
    if way == SENDER and total["size_bytes"] == 0:
        return 0.0
    if lone and total["size_bytes"] > 0:
        return total["size_bytes"]
    # A server before 3.8 has 0 bytes in its summary, and no `sum_received`.
    return test.counted.get((stream, RECEIVER), (math.nan, 0.0))[0]


def _is_known(test: _Test, way: int, side: int, record: dict[str, Any]) -> bool:
    """Whether the printing end can know a figure; what it does not learn it prints as 0."""
    return test.learns_other or way in (side, UNKNOWN) or number(record.get("bytes")) > 0


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
