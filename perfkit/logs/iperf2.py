"""iperf 2 text (2.0.x, 2.1, 2.2; client and server): bytes in, `traffic` frame out.

A server's log holds many streams at once, and ids come again after a stream has ended. A
`connected with` line opens a stream; every later line with its id belongs to it until the id is
opened again. Lines with figures are taken apart for the whole file at once by Arrow's regular
expressions (RE2: linear time, whatever the input); only the few other lines are looked at singly.

Sizes are binary (1 MByte = 2^20 bytes), rates are SI, as iperf prints them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.errors import TruncatedError
from perfkit.logs.arrowtext import split_lines, take_text, to_categories, to_factors, to_floats
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.frames import KINDS_OF_LINE, SIDES
from perfkit.units import BINARY_PREFIXES, MS_PER_S, SI_PREFIXES, US_PER_S, bytes_to_bits

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
# Kept so plain that RE2 can match it in one pass, three times faster; what it misses but looks
# like figures gets the second, tolerant pattern.
_DATA_LINE = (
    r"^\[ *(?P<mark>[*FD]*)(?P<id>[0-9]{1,9}|SUM)\] +"
    rf"(?P<start>{_NUMBER})- *(?P<end>{_NUMBER}) +sec +"
    rf"(?P<size>{_NUMBER}) (?P<size_prefix>[KMGT]?)Bytes +"
    rf"(?P<rate>{_NUMBER}) (?P<rate_unit>[KMGT]?(?:bits|Bytes))/sec"
    r"(?P<tail>[^\n]*)\n?$"
)
_ODD_DATA_LINE = (
    r"^(?:[0-9][0-9T:.,+Z-]{0,39} +){0,2}"  # a time stamp someone's logger put in front
    r"\[ *(?P<mark>\*|FD)? *(?P<id>[0-9]{1,9}|SUM)(?:-[0-9]+)?\] *"
    rf"(?P<start>{_NUMBER}) *- *(?P<end>{_NUMBER}) +sec +"
    rf"(?:(?P<size>{_NUMBER})|-?nan|inf) +(?P<size_prefix>[KMGT]?)Bytes +"
    rf"(?:(?P<rate>{_NUMBER})|-?nan|inf) +(?P<rate_unit>[KMGT]?(?:bits|Bytes))/sec"
    r"(?P<tail>[^\n]*)\n?$"
)
# -e on a sender: Write/Err Rtry Cwnd/RTT(var) NetPwr; 2.0.x has no variance.
_SENDER_TAIL = (
    rf"^ +[0-9]+/[0-9]+ +(?P<retransmits>[0-9]{{1,18}})(?: +-?[0-9]+K/(?P<rtt_us>{_NUMBER}))?"
)
_UDP_TAIL = rf"^ +(?:(?P<jitter_ms>{_NUMBER})|-?nan) ms +(?P<lost>-?[0-9]{{1,18}})/ *(?P<sent>-?[0-9]{{1,18}}) "
_CONNECTED = re.compile(
    rb"\[ *(?:\*|FD)? *(\d{1,9})\] local (\S{1,64}) port (\d{1,5}) "
    rb"connected with (\S{1,64}) port (\d{1,5})(.*)"
)
_STAMP = re.compile(rb"on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? \((\w+)\)")
_LISTENING = re.compile(rb"Server listening on (TCP|UDP) port (\d{1,5})")
_CONNECTING = re.compile(rb"Client connecting to .*(TCP|UDP) port \d")
_HEADER = re.compile(rb"(?m)^\[ ID\] Interval +Transfer")
_IPERF3 = re.compile(
    rb"iperf ?3|\] local \S+ port \d+ connected to |Connecting to host|Server listening on \d|Bitrate"
)
_SERVER_REPORT = re.compile(rb"\[ *(\d{1,9})\] Server Report:")
_FURNITURE = re.compile(
    rb"\s*$|-{8,}|(?:- ){4,}|\[ ?ID\]|\[[^\]]{1,9}\] (?:Sent \d|.*datagrams received out-of-order)|"
    rb"\[ CT\]|(?:TCP|UDP) (?:window|buffer) size|(?:Read|Write) buffer size|TOS |MSS size|"
    rb"(?:Sending|Receiving) \d+ byte datagrams|Binding to local|TCP congestion control|IPG|"
    rb"Waiting for server threads|Running Iperf Server as a daemon|The Iperf daemon process|"
    rb"\[ *\*?\d+\] (?:TCP|UDP) |Joining multicast|Setting|Using|Clock sync|ACK|Listening"
)
_MESSAGE = re.compile(rb"(?i).*(?:failed|error|refused|warning|timed? ?out|denied|did not|unable)")
_SUM = -1
_RATE_UNITS: dict[str, float] = {
    **{f"{prefix}bits": factor for prefix, factor in SI_PREFIXES.items()},
    **{f"{prefix}Bytes": bytes_to_bits(factor) for prefix, factor in BINARY_PREFIXES.items()},
}


@dataclass(slots=True)
class _Furniture:
    """What the lines without figures say."""

    connects: list[dict[str, Any]] = field(default_factory=list)
    listening_ports: set[int] = field(default_factory=set)
    is_client: bool = False
    protocol: str = "tcp"
    messages: list[str] = field(default_factory=list)
    server_reports: set[int] = field(default_factory=set)  # line numbers
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)


def sniff(head: bytes) -> bool:
    """Whether the first bytes are iperf 2 text; iperf3's differ in a word here and there."""
    if _IPERF3.search(head):
        return False
    return bool(_LISTENING.search(head) or _CONNECTING.search(head) or _HEADER.search(head))


def parse(data: bytes, path: Path) -> Reading:
    """Read one log.

    Returns:
        A `traffic` frame, in the order of the lines. `kind` is `summary` for a stream's whole
        length, `interval` for a part of it; `group-*` for [SUM] and full-duplex lines, which
        repeat bytes of other lines. Lines of a stream without a connection line have an empty
        peer; `partial` says the last line is cut.

    Raises:
        TruncatedError: the file is empty.
    """
    if not data.strip():
        raise TruncatedError(path, "the log is empty: the test never wrote to it")
    lines = split_lines(data)
    rows, line_nos = _figures(lines)
    is_data = np.zeros(len(lines), dtype=bool)
    is_data[line_nos - 1] = True
    furniture = _read_furniture(lines, np.flatnonzero(~is_data))
    columns = _columns(rows)
    forwards = columns["end_s"] >= columns["start_s"]
    for line_no in line_nos[~forwards].tolist():
        furniture.unparsed.add(line_no, lines[line_no - 1].as_py())
    if not forwards.all():
        columns = {name: values[forwards] for name, values in columns.items()}
        line_nos = line_nos[forwards]
    frame = _frame(columns, line_nos, furniture)
    cut = not data.endswith(b"\n") and not bool(is_data[-1])
    return Reading(
        path=path,
        format="iperf2",
        kind="traffic",
        frame=frame,
        unparsed=furniture.unparsed.result(),
        notes=_notes(frame, cut=cut),
        messages=tuple(dict.fromkeys(furniture.messages)),
        partial=cut,
    )


FORMAT = Format(name="iperf2", kind="traffic", sniff=sniff, parse=parse)


def _figures(lines: pa.LargeBinaryArray) -> tuple[pa.StructArray, NDArray[np.int64]]:
    """The lines with figures, taken apart, and their numbers from 1."""
    plain = pc.extract_regex(lines, pattern=_DATA_LINE)
    matched = np.asarray(plain.is_valid())
    left = np.flatnonzero(~matched)
    looks = np.asarray(pc.match_substring(lines.take(pa.array(left)), b"/sec"))
    odd_indices = left[looks]
    plain = plain.filter(pa.array(matched)) if len(left) else plain
    line_nos = np.flatnonzero(matched) + 1
    if not len(odd_indices):
        return plain, line_nos
    odd = pc.extract_regex(lines.take(pa.array(odd_indices)), pattern=_ODD_DATA_LINE)
    matched = np.asarray(odd.is_valid())
    both = pa.concat_arrays([plain, odd.filter(pa.array(matched))])
    line_nos = np.concatenate([line_nos, odd_indices[matched] + 1])
    order = np.argsort(line_nos)
    return both.take(pa.array(order)), line_nos[order]


def _read_furniture(lines: pa.LargeBinaryArray, indices: NDArray[np.int64]) -> _Furniture:
    found = _Furniture()
    for index, raw in zip(indices.tolist(), lines.take(pa.array(indices)).to_pylist(), strict=True):
        line = raw.strip()
        connected = _CONNECTED.search(line)
        if connected:
            found.connects.append(_connection(connected, index + 1))
        elif listening := _LISTENING.match(line):
            found.listening_ports.add(int(listening[2]))
            found.protocol = listening[1].decode().lower()
        elif connecting := _CONNECTING.match(line):
            found.is_client = True
            found.protocol = connecting[1].decode().lower()
        elif _SERVER_REPORT.match(line):
            found.server_reports.add(index + 1)
        elif not _FURNITURE.match(line):
            if _MESSAGE.match(line):
                found.messages.append(line[:200].decode("utf-8", "replace"))
            else:
                found.unparsed.add(index + 1, line)
    return found


def _connection(match: re.Match[bytes], line_no: int) -> dict[str, Any]:
    stamp = _STAMP.search(match[6])
    return {
        "line_no": line_no,
        "id": int(match[1]),
        "local_address": match[2].decode("ascii", "replace").split("%")[0],
        "local_port": int(match[3]),
        "peer_address": match[4].decode("ascii", "replace").split("%")[0],
        "peer_port": int(match[5]),
        # Another zone's abbreviation is not a zone: CST is five of them.
        "connected": stamp[1].decode() if stamp and stamp[2] in (b"UTC", b"GMT") else None,
        "reverse": b"(reverse)" in match[6],
    }


def _columns(rows: pa.StructArray) -> dict[str, NDArray[Any]]:
    """What is printed in the lines with figures, as numbers."""
    ids = rows.field("id")
    is_sum = pc.equal(ids, b"SUM")
    if pc.any(is_sum).as_py():
        ids = pc.if_else(is_sum, b"-1", ids)
    return {
        "id": ids.cast(pa.large_string()).cast(pa.int64()).to_numpy(),
        "mark": to_factors(rows.field("mark"), {"": 0, "*": 1, "FD": 2}).astype(np.int64),
        "start_s": to_floats(rows.field("start")),
        "end_s": to_floats(rows.field("end")),
        "size_bytes": to_floats(rows.field("size"))
        * to_factors(rows.field("size_prefix"), BINARY_PREFIXES),
        "throughput_bps": to_floats(rows.field("rate"))
        * to_factors(rows.field("rate_unit"), _RATE_UNITS),
        **_tail_columns(rows.field("tail")),
    }


def _tail_columns(tail: pa.Array) -> dict[str, NDArray[np.float64]]:
    """What -e and UDP add; nothing is taken apart in a log that has neither."""
    columns: dict[str, NDArray[np.float64]] = {}
    if not pc.any(pc.match_substring(tail, b"/")).as_py():
        return columns
    if pc.any(pc.match_substring(tail, b" ms ")).as_py():
        udp = pc.extract_regex(tail, pattern=_UDP_TAIL)
        columns["jitter_s"] = to_floats(udp.field("jitter_ms")) / MS_PER_S
        columns["lost"], columns["datagrams"] = (
            to_floats(udp.field("lost")),
            to_floats(udp.field("sent")),
        )
    if pc.any(pc.match_substring_regex(tail, r"^ +[0-9]+/[0-9]+ +[0-9]")).as_py():
        sender = pc.extract_regex(tail, pattern=_SENDER_TAIL)
        columns["retransmits"] = to_floats(sender.field("retransmits"))
        columns["rtt_s"] = to_floats(sender.field("rtt_us")) / US_PER_S
    return columns


def _frame(
    columns: dict[str, NDArray[Any]], line_nos: NDArray[np.int64], furniture: _Furniture
) -> pd.DataFrame:
    """Add who each line is about: stream, ends, side, kind."""
    connects = furniture.connects
    ids, marks = columns.pop("id"), columns.pop("mark")
    stream = _stream_numbers(ids, line_nos, connects)
    orphan = (stream < 0) & (ids != _SUM)
    stream[orphan] = len(connects) + np.unique(ids[orphan], return_inverse=True)[1]
    # Where the connection was not printed, the row takes the empty last entry of each list.
    ends = np.where((stream >= 0) & (stream < len(connects)), stream, len(connects))
    stamps = np.array([*(c["connected"] for c in connects), "NaT"], dtype="datetime64[ns]")
    sides, kinds = _sides(ends, marks, furniture), _line_kinds(stream, ids, marks, columns)
    _mark_server_reports(sides, kinds, columns["start_s"], line_nos, furniture.server_reports)
    return pd.DataFrame(
        {
            "stream": stream,
            "stream_id": _printed_ids(ids, marks),
            "kind": to_categories(kinds, list(KINDS_OF_LINE)),
            "side": to_categories(sides, list(SIDES)),
            "protocol": to_categories(
                np.full(len(stream), furniture.protocol == "udp", dtype=np.int8), ["tcp", "udp"]
            ),
            "local_address": take_text([c["local_address"] for c in connects], ends),
            "local_port": np.array([*(c["local_port"] for c in connects), 0])[ends],
            "peer_address": take_text([c["peer_address"] for c in connects], ends),
            "peer_port": np.array([*(c["peer_port"] for c in connects), 0])[ends],
            "connected_utc": pd.DatetimeIndex(stamps[ends], tz="UTC"),
            **columns,
            "line_no": line_nos,
        }
    )


def _stream_numbers(
    ids: NDArray[np.int64], line_nos: NDArray[np.int64], connects: list[dict[str, Any]]
) -> NDArray[np.int64]:
    """For each line the last connection before it with the same id; -1 = there is none."""
    if not connects or not len(ids):
        return np.full(len(ids), -1, dtype=np.int64)
    shift = int(max(line_nos[-1], connects[-1]["line_no"])) + 1
    opened = np.array([c["id"] * shift + c["line_no"] for c in connects])
    order = np.argsort(opened)
    position = np.searchsorted(opened[order], ids * shift + line_nos) - 1
    candidate = order[np.maximum(position, 0)]
    fits = (position >= 0) & (opened[candidate] // shift == ids)
    return np.where(fits, candidate, -1)


def _sides(
    ends: NDArray[np.int64], marks: NDArray[np.int64], furniture: _Furniture
) -> NDArray[np.int8]:
    """0 sender, 1 receiver: the listening end receives, unless stream or line is the reverse one."""
    ports = furniture.listening_ports
    if not ports and not furniture.is_client:
        return np.full(len(ends), 2, dtype=np.int8)  # no banner: not known
    listens = [c["local_port"] in ports for c in furniture.connects]
    receives = [
        here ^ (here and c["reverse"]) for here, c in zip(listens, furniture.connects, strict=True)
    ]
    receives_here = np.array([*receives, not furniture.is_client], dtype=bool)[ends]
    return np.asarray(receives_here ^ (marks == 1), dtype=np.int8)


def _line_kinds(
    stream: NDArray[np.int64],
    ids: NDArray[np.int64],
    marks: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
) -> NDArray[np.int8]:
    """Codes of `KINDS_OF_LINE`.

    A later line from 0 is its stream's summary; a lone one is, unless it is one tick long.
    """
    _, first_rows, group, sizes = np.unique(
        stream * 3 + marks, return_index=True, return_inverse=True, return_counts=True
    )
    first = np.zeros(len(stream), dtype=bool)
    first[first_rows] = True
    lone = sizes[group] == 1
    from_zero = columns["start_s"] == 0
    ticks = columns["end_s"][first & ~lone & from_zero]
    tick = float(np.median(ticks)) if len(ticks) else np.nan
    summary = from_zero & (~first | (lone & ~np.isclose(columns["end_s"], tick, atol=1e-3)))
    repeats = (ids == _SUM) | (marks == 2)
    return np.asarray(summary + 2 * repeats, dtype=np.int8)


def _printed_ids(ids: NDArray[np.int64], marks: NDArray[np.int64]) -> pd.Categorical[Any]:
    """The id as printed: 3, *3, FD3, SUM."""
    values, positions = np.unique((ids + 1) * 3 + marks, return_inverse=True)
    names = [
        ("", "*", "FD")[value % 3] + ("SUM" if value < 3 else str(value // 3 - 1))
        for value in values.tolist()
    ]
    return to_categories(positions, names)


def _mark_server_reports(
    sides: NDArray[np.int8],
    kinds: NDArray[np.int8],
    start_s: NDArray[np.float64],
    line_nos: NDArray[np.int64],
    reports: set[int],
) -> None:
    """A UDP client prints the receiver's summary under `Server Report:`, after a header or not."""
    if reports:
        near = np.isin(line_nos, [n + step for n in reports for step in (1, 2)]) & (start_s == 0)
        sides[near], kinds[near] = 1, 1


def _notes(frame: pd.DataFrame, *, cut: bool) -> tuple[str, ...]:
    notes = ["the last line is cut"] if cut else []
    stream = frame["stream"].to_numpy()
    own = stream >= 0
    nameless = np.unique(stream[own & (frame["peer_port"].to_numpy() == 0)])
    if len(nameless):
        notes.append(f"{len(nameless)} streams have no connection line, so their peer is not known")
    streams = len(np.unique(stream[own]))
    open_ended = streams - len(np.unique(stream[own & (frame["kind"].cat.codes.to_numpy() == 1)]))
    if open_ended:
        notes.append(f"{open_ended} of {streams} streams have no summary: they did not end")
    return tuple(notes)
