"""iperf3's text (3.0 to 3.21; client and server): bytes in, `traffic` frame out.

A server's log holds test after test, and ids come again in each. A `connected to` line opens a
stream; every later line with its id belongs to it until the id is opened again. Lines with
figures are taken apart for the whole file at once by Arrow's regular expressions; only the few
other lines are looked at singly, by `perfkit.logs.iperf3_furniture`.

A line says `sender` or `receiver` in a summary, and nothing in an interval: who counted an
interval is told by its role ([TX-C]), by the columns above it, or by who was to send.

Sizes are binary (1 MByte = 2^20 bytes), rates are SI, as iperf3 prints them: three digits of each.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.errors import TruncatedError
from perfkit.logs.arrowtext import split_lines, to_factors, to_floats
from perfkit.logs.format import Format, Reading
from perfkit.logs.iperf3_furniture import Furniture, read_furniture
from perfkit.logs.traffic import (
    GROUP,
    INTERVAL,
    RECEIVER,
    SENDER,
    SUM,
    SUMMARY,
    UNKNOWN,
    Stream,
    describe_streams,
    to_frame,
)
from perfkit.units import BINARY_PREFIXES, MS_PER_S, SI_PREFIXES, bytes_to_bits

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_DATA_LINE = (
    r"^[^\[\n]{0,60}"  # --timestamps, or what someone's logger put in front
    r"\[ *(?P<id>[0-9]{1,9}|SUM)\](?:\[(?P<role>[TR]X)-[CS]\])? +"
    rf"(?P<start>{_NUMBER})- *(?P<end>{_NUMBER}) +sec +"
    rf"(?:(?P<size>{_NUMBER})|-?nan|inf) (?P<size_prefix>[KMGT]?)Bytes +"
    rf"(?:(?P<rate>{_NUMBER})|-?nan|inf) (?P<rate_unit>[KMGT]?(?:bits|Bytes))/sec"
    r"(?P<tail>[^\n]*?)(?: +(?P<label>sender|receiver|\(omitted\)) *)?\n?$"
)
_COUNT = r"^ +(?P<count>[0-9]{1,18})(?: |$)"  # Retr of TCP, Total Datagrams of UDP
_LOSSES = (
    rf"^ +(?:(?P<jitter_ms>{_NUMBER})|-?nan) ms +"
    r"(?:(?P<lost>-?[0-9]{1,18})|Unknown)/ *(?P<sent>-?[0-9]{1,18}) "
)
_SNIFF = re.compile(
    rb"(?m)^.{0,60}?(?:iperf3: \w|iperf 3\.\d|\] local \S+ port \d+ connected to |"
    rb"Connecting to host |Server listening on \d|\] Interval +Transfer +Bitrate)"
)
_JSON_FIRST = re.compile(rb'(?m)^\s*\{|"event":')
_RATE_UNITS: dict[str, float] = {
    **{f"{prefix}bits": factor for prefix, factor in SI_PREFIXES.items()},
    **{f"{prefix}Bytes": bytes_to_bits(factor) for prefix, factor in BINARY_PREFIXES.items()},
}
_ROLES: dict[str, float] = {"": UNKNOWN, "TX": SENDER, "RX": RECEIVER}
_OMITTED = 3
_LABELS: dict[str, float] = {
    "": UNKNOWN, "sender": SENDER, "receiver": RECEIVER, "(omitted)": _OMITTED
}  # fmt: skip


@dataclass(slots=True)
class _Lines:
    """The lines with figures; every array has one entry a line.

    Attributes:
        id: As printed; `SUM` for a sum.
        role: Codes of `SIDES`, from [TX-C] and the like.
        label: The same, from the end of the line; or `_OMITTED`.
        test: Number of the test, from 0.
        stream: Number of the stream, or `SUM`.
        way: Codes of `SIDES`: what the printing end is to this line's stream.
    """

    line_no: NDArray[np.int64]
    id: NDArray[np.int64]
    role: NDArray[np.int8]
    label: NDArray[np.int8]
    test: NDArray[np.int64]
    stream: NDArray[np.int64]
    way: NDArray[np.int8]
    columns: dict[str, NDArray[np.float64]]

    def leave(self, out: NDArray[np.bool_]) -> int:
        """Leave lines out; returns how many."""
        for name in ("line_no", "id", "role", "label", "test", "stream", "way"):
            setattr(self, name, getattr(self, name)[~out])
        self.columns = {name: values[~out] for name, values in self.columns.items()}
        return int(out.sum())


def sniff(head: bytes) -> bool:
    """Whether the first bytes are iperf3 text; text that quotes JSON is text."""
    text = _SNIFF.search(head)
    json = _JSON_FIRST.search(head)
    return text is not None and (json is None or text.start() < json.start())


def parse(data: bytes, path: Path) -> Reading:
    """Read one log.

    Returns:
        A `traffic` frame in the order of the lines. `connected_utc` is the `Time:` that -V
        prints, whole seconds, moved by what -O omitted. `partial` says the last line is cut.

    Raises:
        TruncatedError: the file is empty.
    """
    if not data.strip():
        raise TruncatedError(path, "the log is empty: the test never wrote to it")
    text = split_lines(data)
    lines = _figures(text)
    is_data = np.zeros(len(text), dtype=bool)
    is_data[lines.line_no - 1] = True
    found = read_furniture(text, np.flatnonzero(~is_data))
    cut = not data.endswith(b"\n") and not data.rstrip().endswith((b"iperf Done.", b"---"))
    lines.test = np.searchsorted([t.line_no for t in found.tests], lines.line_no, "right") - 1
    _refuse(lines, found, text, cut_line_no=len(text) if cut else 0)
    _name_streams(lines, found)
    _tell_ways(lines, found)
    notes = [*(["the last line is cut"] if cut else []), *_leave_out(lines, found)]
    frame = _frame(lines, found)
    return Reading(
        path=path,
        format="iperf3-text",
        kind="traffic",
        frame=frame,
        unparsed=found.unparsed.result(),
        notes=(*notes, *_notes(lines, found), *describe_streams(frame)),
        messages=tuple(dict.fromkeys(found.messages)),
        partial=cut,
    )


FORMAT = Format(name="iperf3-text", kind="traffic", sniff=sniff, parse=parse)


def _figures(text: pa.LargeBinaryArray) -> _Lines:
    """The lines with figures, taken apart."""
    rows = pc.extract_regex(text, pattern=_DATA_LINE)
    matched = np.asarray(rows.is_valid())
    rows = rows.filter(pa.array(matched))
    ids = rows.field("id")
    ids = pc.if_else(pc.equal(ids, b"SUM"), b"-1", ids)
    none = np.zeros(len(rows), dtype=np.int64)
    return _Lines(
        line_no=np.flatnonzero(matched) + 1,
        id=ids.cast(pa.large_string()).cast(pa.int64()).to_numpy(),
        role=to_factors(rows.field("role"), _ROLES).astype(np.int8),
        label=to_factors(rows.field("label"), _LABELS).astype(np.int8),
        test=none,
        stream=none,
        way=none.astype(np.int8),
        columns={
            "start_s": to_floats(rows.field("start")),
            "end_s": to_floats(rows.field("end")),
            "size_bytes": to_floats(rows.field("size"))
            * to_factors(rows.field("size_prefix"), BINARY_PREFIXES),
            "throughput_bps": to_floats(rows.field("rate"))
            * to_factors(rows.field("rate_unit"), _RATE_UNITS),
            **_tail_columns(rows.field("tail")),
        },
    )


def _tail_columns(tail: pa.Array) -> dict[str, NDArray[np.float64]]:
    """What is printed after the rate; whether a count is of retransmits is told by the test."""
    losses = pc.extract_regex(tail, pattern=_LOSSES)
    return {
        "count": to_floats(pc.extract_regex(tail, pattern=_COUNT).field("count")),
        "jitter_s": to_floats(losses.field("jitter_ms")) / MS_PER_S,
        "lost": to_floats(losses.field("lost")),
        "datagrams": to_floats(losses.field("sent")),
    }


def _refuse(lines: _Lines, found: Furniture, text: pa.LargeBinaryArray, cut_line_no: int) -> None:
    """Lines that only look like figures: an end before the start, or an end that is missing."""
    out = ~(lines.columns["end_s"] >= lines.columns["start_s"])
    out |= (lines.line_no == cut_line_no) & (lines.label == UNKNOWN)
    for line_no in lines.line_no[out].tolist():
        found.unparsed.add(line_no, text[line_no - 1].as_py())
    lines.leave(out)


def _name_streams(lines: _Lines, found: Furniture) -> None:
    """For each line the last stream opened before it in its test under its id.

    An id nobody opened is a stream without ends.
    """
    lines.stream = np.full(len(lines.id), SUM, dtype=np.int64)
    own = lines.id != SUM
    if found.opened:
        line_no, opened_id, number, test = np.array(found.opened, dtype=np.int64).T
        shift = int(max(line_no[-1], lines.line_no[-1] if len(lines.line_no) else 0)) + 1
        key = opened_id * shift + line_no
        order = np.argsort(key)
        place = order[
            np.maximum(np.searchsorted(key[order], lines.id * shift + lines.line_no), 1) - 1
        ]
        fits = own & (opened_id[place] == lines.id) & (test[place] == lines.test)
        fits &= line_no[place] < lines.line_no
        lines.stream[fits] = number[place[fits]]
    orphans = own & (lines.stream == SUM)
    keys = np.stack([lines.test[orphans], lines.id[orphans]])
    nameless, place = np.unique(keys, axis=1, return_inverse=True)
    lines.stream[orphans] = len(found.streams) + place.reshape(-1)
    found.streams += [(int(test), Stream()) for test in nameless[0]]


def _tell_ways(lines: _Lines, found: Furniture) -> None:
    """Whether the printing end sends or receives a line's stream.

    Where columns do not tell it, as on systems that do not count retransmits, a server that
    says it sent something and knows of nothing received was the sender (-R).
    """
    count = len(found.tests)
    size = np.nan_to_num(lines.columns["size_bytes"])
    sent, received = (
        np.bincount(lines.test, weights=size * (lines.label == label), minlength=count)
        for label in (SENDER, RECEIVER)
    )
    untold = np.array([t.is_server and not t.counts for t in found.tests])
    sends = np.array([t.sends for t in found.tests]) | (untold & (sent > 0) & (received == 0))
    way = np.where(sends[lines.test], SENDER, RECEIVER)
    lines.way = np.where(lines.role == UNKNOWN, way, lines.role).astype(np.int8)


def _leave_out(lines: _Lines, found: Furniture) -> list[str]:
    """Leave out what does not count; returns what was, in words."""
    notes = []
    is_server = np.array([test.is_server for test in found.tests])[lines.test]
    is_labelled = (lines.label == SENDER) | (lines.label == RECEIVER)
    foreign = is_server & is_labelled & (lines.label != lines.way)
    foreign &= lines.columns["size_bytes"] == 0
    if lines.leave(foreign):
        notes.append(
            "a server does not know the client's figures; the zeros it prints are left out"
        )
    omitted = lines.label == _OMITTED
    if omitted.any():
        ends_s = np.zeros(len(found.tests))
        np.maximum.at(ends_s, lines.test[omitted], lines.columns["end_s"][omitted])
        for test, end_s in zip(found.tests, ends_s.tolist(), strict=True):
            test.utc_s += end_s
        count = lines.leave(omitted)
        notes.append(f"{count} omitted intervals (-O) are left out; times count from their end")
    is_extra = np.array([test.is_extra for test in found.tests])[lines.test]
    if is_extra.any():
        lines.leave(is_extra & (_kinds(lines, found) % GROUP == SUMMARY))
        notes.append("the server's own output gives the receiver's intervals of the same streams")
    if _mend_udp(lines, _kinds(lines, found)):
        notes.append("this version's server prints no bytes in UDP summaries: intervals are summed")
    if count := lines.leave(_repeats(lines)):
        notes.append(f"{count} lines repeat the one before of their stream and are left out")
    return notes


def _mend_udp(lines: _Lines, kinds: NDArray[np.int8]) -> bool:
    """Fill in what a UDP server before 3.2 got: it prints datagrams and 0 bytes in a summary."""
    size, rate = lines.columns["size_bytes"], lines.columns["throughput_bps"]
    lacking = (kinds % GROUP == SUMMARY) & (lines.way == RECEIVER) & (size == 0)
    lacking &= lines.columns["datagrams"] > lines.columns["lost"]
    if not lacking.any():
        return False
    counted = kinds == INTERVAL
    totals = np.bincount(lines.stream[counted], size[counted], int(lines.stream.max()) + 1)
    size[lacking] = np.where(lines.stream == SUM, np.nan, totals[lines.stream])[lacking]
    length_s = lines.columns["end_s"] - lines.columns["start_s"]
    rate[lacking] = np.where(
        length_s > 0, bytes_to_bits(1.0) * size / np.where(length_s > 0, length_s, 1), np.nan
    )[lacking]
    return True


def _repeats(lines: _Lines) -> NDArray[np.bool_]:
    """Lines that are their stream's last line once more, as servers print at an interrupt."""
    order = np.lexsort((lines.line_no, lines.stream))
    figures = np.stack([lines.stream, lines.test, lines.label, *(lines.columns[c] for c in _SAME)])[
        :, order
    ]
    again = (figures[:, 1:] == figures[:, :-1]).all(axis=0)
    repeats = np.zeros(len(order), dtype=bool)
    repeats[order[1:]] = again
    repeats[lines.stream == SUM] = False
    return repeats


_SAME = ("start_s", "end_s", "size_bytes", "throughput_bps")


def _kinds(lines: _Lines, found: Furniture) -> NDArray[np.int8]:
    """Codes of `KINDS_OF_LINE`: summaries say whose they are, or stand under their own head."""
    from_line = np.array([test.summary_line_no for test in found.tests])[lines.test]
    is_summary = (lines.label == SENDER) | (lines.label == RECEIVER) | (lines.line_no > from_line)
    kinds = np.where(is_summary, SUMMARY, INTERVAL) + np.where(lines.stream == SUM, GROUP, 0)
    return kinds.astype(np.int8)


def _frame(lines: _Lines, found: Furniture) -> pd.DataFrame:
    is_udp = np.array([test.protocol == "udp" for test in found.tests])[lines.test]
    columns = dict(lines.columns)
    count = columns.pop("count")
    columns["retransmits"] = np.where(is_udp, np.nan, count)
    columns["datagrams"] = np.where(is_udp & np.isfinite(count), count, columns["datagrams"])
    if (lines.label == SENDER).any():  # 3.2 and later print a sender's losses as 0
        for name in ("jitter_s", "lost"):
            columns[name] = np.where(lines.label == SENDER, np.nan, columns[name])
    streams = [
        dataclasses.replace(
            stream, protocol=found.tests[test].protocol, connected_utc_s=found.tests[test].utc_s
        )
        for test, stream in found.streams
    ]
    return to_frame(
        streams,
        stream=lines.stream,
        stream_id=["SUM" if n == SUM else str(n) for n in lines.id.tolist()],
        kind=_kinds(lines, found),
        side=np.where(lines.label < UNKNOWN, lines.label, lines.way).astype(np.int8),
        columns=columns,
        line_no=lines.line_no,
    )


def _notes(lines: _Lines, found: Furniture) -> list[str]:
    notes = []
    count = sum(not found.tests[test].is_extra for test in np.unique(lines.test).tolist())
    if count > 1:
        notes.append(f"{count} tests in one file")
    if found.is_stamped:
        notes.append("the stamps before the lines have no zone and are not used")
    old_udp = (lines.label == UNKNOWN) & (lines.way == SENDER) & np.isfinite(lines.columns["lost"])
    if old_udp.any():
        notes.append("UDP summaries of this version hold the sender's bytes, the receiver's losses")
    return notes
