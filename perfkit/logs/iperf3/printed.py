"""What iperf3 prints as text, to rows of a `traffic` frame: of a log, or of a server's output in JSON.

Sizes are binary (1 MByte = 2^20 bytes), rates are SI, as iperf3 prints them: three digits of each.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.logs.arrow_text import split_lines, to_factors, to_floats
from perfkit.logs.iperf3.banner import PrintedTests, read_banners
from perfkit.logs.iperf3.lines import (
    OMITTED,
    Lines,
    kinds,
    leave_out,
    name_streams,
    out_of_order,
    tell_ways,
)
from perfkit.logs.plausible import leave_impossible
from perfkit.logs.traffic import (
    NUMBER,
    RATE_UNITS,
    RECEIVER,
    SENDER,
    SUM,
    UNKNOWN,
    describe_streams,
    to_frame,
)
from perfkit.units import BINARY_PREFIXES, MS_PER_S

_DATA_LINE = (
    r"^\[ *(?P<id>[0-9]{1,9}|SUM)\](?:\[(?P<role>[TR]X)-[CS]\])? +"
    rf"(?P<start>{NUMBER})- *(?P<end>{NUMBER}) +sec +"
    rf"(?:(?P<size>{NUMBER})|-?nan|inf) (?P<size_prefix>[KMGT]?)Bytes +"
    rf"(?:(?P<rate>{NUMBER})|-?nan|inf) (?P<rate_unit>[KMGT]?(?:bits|Bytes))/sec"
    r"(?P<tail>[^\n]*?)(?: +(?P<label>sender|receiver|\(omitted\)) *)?\n?$"
)
_COUNT = r"^ +(?P<count>[0-9]{1,18})(?: |$)"  # Retr of TCP, Total Datagrams of UDP
_LOSSES = (
    rf"^ +(?:(?P<jitter_ms>{NUMBER})|-?nan) ms +"
    r"(?:(?P<lost>-?[0-9]{1,18})|Unknown)/ *(?P<sent>-?[0-9]{1,18}) "
)
_ROLES: dict[str, float] = {"": UNKNOWN, "TX": SENDER, "RX": RECEIVER}
_LABELS: dict[str, float] = {
    "": UNKNOWN, "sender": SENDER, "receiver": RECEIVER, "(omitted)": OMITTED
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Printed:
    """A text, read.

    Attributes:
        banners: Messages, and lines that were not understood.
        is_cut: The last line is.
    """

    frame: pd.DataFrame
    banners: PrintedTests
    notes: tuple[str, ...]
    is_cut: bool


def read_printed(data: bytes) -> Printed:
    """Read what iperf3 printed, lines in their order."""
    text = split_lines(data)
    lines = _figures(text)
    is_data = np.zeros(len(text), dtype=bool)
    is_data[lines.line_no - 1] = True
    found = read_banners(text, np.flatnonzero(~is_data))
    cut = not data.endswith(b"\n") and not data.rstrip().endswith((b"iperf Done.", b"---"))
    lines.test = np.searchsorted([t.line_no for t in found.tests], lines.line_no, "right") - 1
    _refuse(lines, found, text, cut_line_no=len(text) if cut else 0)
    name_streams(lines, found)
    tell_ways(lines, found)
    notes = [*(["the last line is cut"] if cut else []), *leave_out(lines, found)]
    frame, said = leave_impossible(
        _frame(lines, found), found.unparsed, lambda line_no: text[line_no - 1].as_py()
    )
    notes += said
    notes += [*_notes(lines, found), *describe_streams(frame)]
    return Printed(frame, found, tuple(notes), cut)


def _figures(text: pa.LargeBinaryArray) -> Lines:
    """The lines with figures, taken apart."""
    rows = pc.extract_regex(text, pattern=_DATA_LINE)
    matched = np.asarray(rows.is_valid())
    rows = rows.filter(pa.array(matched))
    ids = rows.field("id")
    ids = pc.if_else(pc.equal(ids, b"SUM"), b"-1", ids)
    none = np.zeros(len(rows), dtype=np.int64)
    return Lines(
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
            * to_factors(rows.field("rate_unit"), RATE_UNITS),
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


def _refuse(lines: Lines, found: PrintedTests, text: pa.LargeBinaryArray, cut_line_no: int) -> None:
    """Lines that only look like figures: an end before the start, or an end that is missing."""
    out = ~(lines.columns["end_s"] >= lines.columns["start_s"])
    out |= (lines.line_no == cut_line_no) & (lines.label == UNKNOWN)
    for line_no in lines.line_no[out].tolist():
        found.unparsed.add(line_no, text[line_no - 1].as_py())
    lines.leave(out)


def _frame(lines: Lines, found: PrintedTests) -> pd.DataFrame:
    is_udp = np.array([test.protocol == "udp" for test in found.tests])[lines.test]
    columns = dict(lines.columns)
    count = columns.pop("count")
    columns["out_of_order"] = out_of_order(lines, found)
    columns["retransmits"] = np.where(is_udp, np.nan, count)
    columns["datagrams"] = np.where(is_udp & np.isfinite(count), count, columns["datagrams"])
    if (lines.label == SENDER).any():  # 3.2 and later print a sender's losses as 0
        for name in ("jitter_s", "lost"):
            columns[name] = np.where(lines.label == SENDER, np.nan, columns[name])
    streams = [
        dataclasses.replace(
            stream,
            protocol=found.tests[test].protocol,
            connected_utc_s=found.tests[test].utc_s,
            mss_bytes=found.tests[test].mss_bytes,
        )
        for test, stream in found.streams
    ]
    return to_frame(
        streams,
        stream=lines.stream,
        stream_id=["SUM" if n == SUM else str(n) for n in lines.id.tolist()],
        kind=kinds(lines, found),
        side=np.where(lines.label < UNKNOWN, lines.label, lines.way).astype(np.int8),
        columns=columns,
        line_no=lines.line_no,
    )


def _notes(lines: Lines, found: PrintedTests) -> list[str]:
    notes = []
    count = sum(not found.tests[test].is_extra for test in np.unique(lines.test).tolist())
    if count > 1:
        notes.append(f"{count} tests in one file")
    old_udp = (lines.label == UNKNOWN) & (lines.way == SENDER) & np.isfinite(lines.columns["lost"])
    if old_udp.any():
        notes.append("UDP summaries of this version hold the sender's bytes, the receiver's losses")
    return notes
