"""iperf 2 text (2.0.x, 2.1, 2.2; client and server): bytes in, `traffic` frame out.

A server's log holds many streams at once, and ids come again after a stream has ended. A
`connected with` line opens a stream; every later line with its id belongs to it until the id is
opened again. Lines with figures are taken apart for the whole file at once by Arrow's regular
expressions (RE2: linear time, whatever the input); only the few other lines are looked at singly.

Sizes are binary (1 MByte = 2^20 bytes), rates are SI, as iperf prints them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from perfkit.errors import TruncatedError
from perfkit.logs.arrowtext import split_lines, take_text, to_categories
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.frames import KINDS_OF_LINE, SIDES
from perfkit.logs.iperf2_figures import SUM, Columns, read_figures
from perfkit.logs.stamps import LATEST_EPOCH_S
from perfkit.logs.traffic import RECEIVER, SUMMARY, last_row_before
from perfkit.units import NS_PER_S

_CONNECTED = re.compile(
    rb"\[ *(?:\*|FD)? *(\d{1,9})\] local (\S{1,64}) port (\d{1,5}) "
    rb"connected with (\S{1,64}) port (\d{1,5})(.*)"
)
_STAMP = re.compile(rb"on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? \((\w+)\)")
_MSS = re.compile(rb"icwnd/mss/irtt=\d{1,9}/(\d{1,6})/")
_OUT_OF_ORDER = re.compile(
    rb"\[ *\*?(\d{1,9})\] +[\d.]+- *[\d.]+ +sec +(\d{1,15}) datagrams received out-of-order"
)
_NEVER = int(pd.NaT.value)
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


@dataclass(slots=True)
class _Furniture:
    """What the lines without figures say."""

    connects: list[dict[str, Any]] = field(default_factory=list)
    listening_ports: set[int] = field(default_factory=set)
    is_client: bool = False
    protocol: str = "tcp"
    messages: list[str] = field(default_factory=list)
    server_reports: set[int] = field(default_factory=set)  # line numbers
    out_of_order: list[tuple[int, int, int]] = field(default_factory=list)  # line, id, count
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
    if not data or data.isspace():
        raise TruncatedError(path, "the log is empty: the test never wrote to it")
    lines = split_lines(data)
    columns, line_nos = read_figures(lines)
    is_data = np.zeros(len(lines), dtype=bool)
    is_data[line_nos - 1] = True
    furniture = _read_furniture(lines, np.flatnonzero(~is_data))
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
        elif late := _OUT_OF_ORDER.match(line):
            found.out_of_order.append((index + 1, int(late[1]), int(late[2])))
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
        "connected_ns": _moment(stamp[1]) if stamp and stamp[2] in (b"UTC", b"GMT") else _NEVER,
        "reverse": b"(reverse)" in match[6],
        "mss": float(mss[1]) if (mss := _MSS.search(match[6])) and int(mss[1]) else np.nan,
    }


@functools.lru_cache(maxsize=4096)
def _moment(stamp: bytes) -> int:
    """`2026-11-22 12:33:13` in nanoseconds since 1970; 13:87 is no moment, nor is the year 9999."""
    try:
        moment = datetime.strptime(stamp.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return _NEVER
    seconds = int(moment.timestamp())
    return seconds * NS_PER_S if abs(seconds) < LATEST_EPOCH_S else _NEVER


def _frame(columns: Columns, line_nos: NDArray[np.int64], furniture: _Furniture) -> pd.DataFrame:
    """Add who each line is about: stream, ends, side, kind."""
    connects = furniture.connects
    ids, marks = columns.pop("id"), columns.pop("mark")
    stream = _stream_numbers(ids, line_nos, connects)
    orphan = (stream < 0) & (ids != SUM)
    stream[orphan] = len(connects) + np.unique(ids[orphan], return_inverse=True)[1]
    # Where the connection was not printed, the row takes the empty last entry of each list.
    ends = np.where((stream >= 0) & (stream < len(connects)), stream, len(connects))
    moments = np.array([*(c["connected_ns"] for c in connects), _NEVER], dtype="datetime64[ns]")
    sides, kinds = _sides(ends, marks, furniture), _line_kinds(stream, ids, marks, columns)
    _mark_server_reports(sides, kinds, columns["start_s"], line_nos, furniture.server_reports)
    if furniture.protocol == "udp":
        late = _out_of_order(ids, line_nos, furniture.out_of_order)
        received = (sides == RECEIVER) & (kinds == SUMMARY)
        columns["out_of_order"] = np.where(received & np.isnan(late), 0.0, late)
    mss_bytes = np.array([*(c["mss"] for c in connects), np.nan])
    if np.isfinite(mss_bytes).any():
        columns["mss_bytes"] = mss_bytes[ends]
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
            "connected_utc": pd.DatetimeIndex(moments[ends], tz="UTC"),
            **columns,
            "line_no": line_nos,
        },
        copy=False,  # the columns are nobody else's
    )


def _out_of_order(
    ids: NDArray[np.int64], line_nos: NDArray[np.int64], said: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    """Datagrams that came late, said in a line of their own after the one they are about.

    Where none did there is no such line: a receiver's summary without one has 0.
    """
    late = np.full(len(ids), np.nan)
    rows = last_row_before([(line_no, of) for line_no, of, _ in said], line_nos, ids)
    for row, (_, _, count) in zip(rows.tolist(), said, strict=True):
        if row >= 0:
            late[row] = count
    return late


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
    columns: Columns,
) -> NDArray[np.int8]:
    """Codes of `KINDS_OF_LINE`.

    A later line from 0 is its stream's summary; a lone one is, unless it is one tick long.
    """
    group = (stream + 1) * 3 + marks  # few and small, so they are counted and not sorted
    sizes = np.bincount(group)
    first_rows = np.zeros(len(sizes), dtype=np.int64)
    first_rows[group[::-1]] = np.arange(len(group))[::-1]  # the last written stays
    first = np.zeros(len(stream), dtype=bool)
    first[first_rows[sizes > 0]] = True
    lone = sizes[group] == 1
    from_zero = columns["start_s"] == 0
    ticks = columns["end_s"][first & ~lone & from_zero]
    tick = float(np.median(ticks)) if len(ticks) else np.nan
    summary = from_zero & (~first | (lone & ~np.isclose(columns["end_s"], tick, atol=1e-3)))
    repeats = (ids == SUM) | (marks == 2)
    return np.asarray(summary + 2 * repeats, dtype=np.int8)


def _printed_ids(ids: NDArray[np.int64], marks: NDArray[np.int64]) -> pd.Categorical[Any]:
    """The id as printed: 3, *3, FD3, SUM."""
    positions, values = pd.factorize((ids + 1) * 3 + marks, sort=True)
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
    stream, peer_port = frame["stream"].to_numpy(), frame["peer_port"].to_numpy()
    kinds = frame["kind"].array.codes
    # Streams are numbered from 0, so they are counted by marking them; sums are -1, the last place.
    has_line, is_nameless, has_ended = np.zeros((3, stream.max(initial=-1) + 2), dtype=bool)
    has_line[stream] = True
    is_nameless[stream[peer_port == 0]] = True
    has_ended[stream[kinds == 1]] = True
    streams, nameless, ended = (
        int(np.count_nonzero(marked[:-1])) for marked in (has_line, is_nameless, has_ended)
    )
    if nameless:
        notes.append(f"{nameless} streams have no connection line, so their peer is not known")
    if streams > ended:
        notes.append(f"{streams - ended} of {streams} streams have no summary: they did not end")
    return tuple(notes)
