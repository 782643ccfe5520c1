"""iperf 2 text (2.0.x, 2.1, 2.2; client and server): bytes in, `traffic` frame out.

A server's log holds many streams at once, and ids come again after a stream has ended. A
`connected with` line opens a stream; every later line with its id belongs to it until the id is
opened again. Lines with figures are taken apart for the whole file at once by Arrow's regular
expressions (RE2: linear time, whatever the input); only the few other lines are looked at singly.

Sizes are binary (1 MByte = 2^20 bytes), rates are SI, as iperf prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from perfkit.errors import TruncatedError
from perfkit.logs.arrow_text import frame_of, split_lines, take_text, to_categories
from perfkit.logs.format import Format, Reading
from perfkit.logs.frames import KINDS_OF_LINE, SIDES
from perfkit.logs.iperf2.banner import (
    BEGIN,
    CONNECTING,
    LISTENING,
    NEVER,
    Banners,
    read_banners,
)
from perfkit.logs.iperf2.figures import OPTIONAL, SUM, Columns, read_figures
from perfkit.logs.iperf2.streams import number_streams, split_runs
from perfkit.logs.line_prefix import find_prefix, read_processes
from perfkit.logs.plausible import leave_impossible
from perfkit.logs.traffic import RECEIVER, SUMMARY, UNKNOWN, describe_streams, last_row_before

_HEADER = re.compile(rb"(?m)^.{0,200}?\[(?: ID|SUM-cnt)\] Interval +Transfer")
_IPERF3 = re.compile(
    rb"iperf 3\.\d|iperf3: (?:error|interrupt|the )|\] local \S+ port \d+ connected to |Connecting to host|Server listening on \d|Bitrate"
)


def sniff(head: bytes) -> bool:
    """Whether the first bytes are iperf 2 text; iperf3's differ in a word here and there."""
    if _IPERF3.search(head):
        return False
    return bool(LISTENING.search(head) or CONNECTING.search(head) or _HEADER.search(head))


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
    lines = _take_apart(data)
    return _read(lines, data, path)


def parse_many(logs: Sequence[tuple[bytes, Path]]) -> list[Reading]:
    """Read many small logs: the lines with figures of all of them are taken apart at once.

    Raises:
        TruncatedError: one of the files is empty.
    """
    whole = [data for data, _ in logs if data.endswith(b"\n") and not data.isspace()]
    taken = iter(_take_apart_many(whole))
    return [
        _read(next(taken), data, path)
        if data.endswith(b"\n") and not data.isspace()
        else parse(data, path)
        for data, path in logs
    ]


FORMAT = Format(name="iperf2", kind="traffic", sniff=sniff, parse=parse, parse_many=parse_many)


@dataclass(slots=True)
class _Lines:
    """A log's lines; those without figures, and those that end before they begin, as text."""

    columns: Columns
    line_nos: NDArray[np.int64]
    others: list[tuple[int, bytes]]
    backwards: list[tuple[int, bytes]]
    is_cut: bool
    texts: pa.LargeBinaryArray


def _read(lines: _Lines, data: bytes, path: Path) -> Reading:
    if any(find_prefix(text, BEGIN) for _, text in lines.others):
        return read_processes(data, path, BEGIN, lambda own, _: _to_reading(_take_apart(own), path))
    return _to_reading(lines, path)


def _to_reading(lines: _Lines, path: Path) -> Reading:
    """What one process printed."""
    found = read_banners(lines.others)
    frame = frame_of(_columns(lines, found))
    for backward in lines.backwards:
        found.unparsed.add(*backward)
    possible, said = leave_impossible(
        frame, found.unparsed, lambda line_no: lines.texts[line_no - 1].as_py()
    )
    return Reading(
        path=path,
        format="iperf2",
        kind="traffic",
        frame=possible,
        unparsed=found.unparsed.result(),
        notes=(
            *(["the last line is cut"] if lines.is_cut else []),
            *describe_streams(possible),
            *said,
        ),
        messages=tuple(dict.fromkeys(found.messages)),
        partial=lines.is_cut,
    )


def _take_apart(data: bytes) -> _Lines:
    """The lines with figures as columns, and the others as text."""
    texts = split_lines(data)
    columns, line_nos = read_figures(texts)
    return _sorted(texts, columns, line_nos, ends_whole=data.endswith(b"\n"))


def _take_apart_many(logs: Sequence[bytes]) -> Iterator[_Lines]:
    """The same of each of many logs that end with a line feed."""
    if not logs:
        return
    texts = split_lines(b"".join(logs))
    columns, line_nos = read_figures(texts)
    ends = np.cumsum([data.count(b"\n") for data in logs])
    rows = np.searchsorted(line_nos, ends, side="right")
    borders = zip(
        [0, *ends.tolist()], ends.tolist(), [0, *rows.tolist()], rows.tolist(), strict=False
    )
    for begin, end, first, after in borders:
        own = {name: values[first:after] for name, values in columns.items()}
        for names in OPTIONAL:
            there = [name for name in names if name in own]
            if not any(np.isfinite(own[name]).any() for name in there):  # another log has them
                own = {name: values for name, values in own.items() if name not in there}
        yield _sorted(texts[begin:end], own, line_nos[first:after] - begin, ends_whole=True)


def _sorted(
    texts: pa.LargeBinaryArray, columns: Columns, line_nos: NDArray[np.int64], *, ends_whole: bool
) -> _Lines:
    is_data = np.zeros(len(texts), dtype=bool)
    is_data[line_nos - 1] = True
    others = np.flatnonzero(~is_data)
    forwards = columns["end_s"] >= columns["start_s"]
    backwards = line_nos[~forwards].tolist()
    if backwards:
        columns = {name: values[forwards] for name, values in columns.items()}
        line_nos = line_nos[forwards]
    return _Lines(
        columns=columns,
        line_nos=line_nos,
        others=list(
            zip((others + 1).tolist(), texts.take(pa.array(others)).to_pylist(), strict=True)
        ),
        backwards=[(number, texts[number - 1].as_py()) for number in backwards],
        is_cut=not ends_whole and not bool(is_data[-1]),
        texts=texts,
    )


def _columns(lines: _Lines, banners: Banners) -> dict[str, Any]:
    """Add who each line is about: stream, ends, side, kind."""
    columns, line_nos, connects = lines.columns, lines.line_nos, banners.connects
    reports = _of_server_reports(columns["start_s"], line_nos, banners.server_reports)
    ids, marks = columns["id"], columns["mark"]
    plain = ~reports & (marks == 0) & (ids != SUM)
    stream = number_streams(columns, line_nos, connects, plain)
    # Where the connection was not printed, the row takes the empty last entry of each list.
    ends = np.where((stream >= 0) & (stream < len(connects)), stream, len(connects))
    moments = np.array([*(c["connected_ns"] for c in connects), NEVER], dtype="datetime64[ns]")
    banner = _last_banner(ends, line_nos, banners)
    sides = _sides(ends, marks, banner, banners)
    kinds = _line_kinds(stream, banner, reports, columns)
    sides[reports] = RECEIVER
    kinds[reports] = SUMMARY
    is_udp = _are_udp(banner, banners, columns)
    if is_udp.any():
        late = _out_of_order(ids, line_nos, banners.out_of_order)
        received = is_udp & (sides == RECEIVER) & (kinds == SUMMARY)
        columns["out_of_order"] = np.where(received & np.isnan(late), 0.0, late)
    mss_bytes = np.array([*(c["mss"] for c in connects), np.nan])
    if np.isfinite(mss_bytes).any():
        columns["mss_bytes"] = mss_bytes[ends]
    del columns["id"], columns["mark"]
    return {
        "stream": stream,
        "stream_id": _printed_ids(ids, marks),
        "kind": to_categories(kinds, list(KINDS_OF_LINE)),
        "side": to_categories(sides, list(SIDES)),
        "protocol": to_categories(is_udp.astype(np.int8), ["tcp", "udp"]),
        "local_address": take_text([c["local_address"] for c in connects], ends),
        "local_port": np.array([*(c["local_port"] for c in connects), 0])[ends],
        "peer_address": take_text([c["peer_address"] for c in connects], ends),
        "peer_port": np.array([*(c["peer_port"] for c in connects), 0])[ends],
        "connected_utc": pd.DatetimeIndex(moments[ends], tz="UTC"),
        **columns,
        "line_no": line_nos,
    }


def _out_of_order(
    ids: NDArray[np.int64], line_nos: NDArray[np.int64], said: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    """Datagrams that came late, said in a line of their own after the one they are about.

    Where none did there is no such line: a receiver's summary without one has 0.
    """
    late = np.full(len(ids), np.nan)
    lines, of, counts = zip(*said, strict=True) if said else ((), (), ())
    rows = last_row_before(lines, of, line_nos, ids)
    for row, count in zip(rows.tolist(), counts, strict=True):
        if row >= 0:
            late[row] = count
    return late


def _last_banner(
    ends: NDArray[np.int64], line_nos: NDArray[np.int64], banners: Banners
) -> NDArray[np.int64]:
    """For each line the banner that its connection, or else the line, comes after; -1 = none."""
    begin = [line_no for line_no, _, _ in banners.banners]
    opened = np.array([*(c["line_no"] for c in banners.connects), 0])[ends]
    return np.searchsorted(begin, np.where(opened > 0, opened, line_nos)) - 1


def _are_udp(banner: NDArray[np.int64], banners: Banners, columns: Columns) -> NDArray[np.bool_]:
    """Whether lines are of UDP: as the banner says; without one, where a line counts datagrams."""
    said = np.array([*(is_udp for _, _, is_udp in banners.banners), False])[banner]
    if "datagrams" in columns:
        said = said | ((banner < 0) & np.isfinite(columns["datagrams"]))
    return np.asarray(said)


def _sides(
    ends: NDArray[np.int64],
    marks: NDArray[np.int64],
    banner: NDArray[np.int64],
    banners: Banners,
) -> NDArray[np.int8]:
    """0 sender, 1 receiver: the listening end receives, unless stream or line is the reverse one."""
    if not banners.banners:
        return np.full(len(ends), UNKNOWN, dtype=np.int8)
    ports = banners.listening_ports
    listens = [c["local_port"] in ports for c in banners.connects]
    receives = [
        here ^ (here and c["reverse"]) for here, c in zip(listens, banners.connects, strict=True)
    ]
    receives_here = np.array([*receives, False], dtype=bool)[ends]
    is_server = np.array([*(not is_client for _, is_client, _ in banners.banners), False])[banner]
    receives_here |= (ends == len(banners.connects)) & is_server
    sides = np.asarray(receives_here ^ (marks == 1), dtype=np.int8)
    sides[(ends == len(banners.connects)) & (banner < 0)] = UNKNOWN
    return sides


def _line_kinds(
    stream: NDArray[np.int64],
    banner: NDArray[np.int64],
    reports: NDArray[np.bool_],
    columns: Columns,
) -> NDArray[np.int8]:
    """Codes of `KINDS_OF_LINE`.

    A later line from 0 is its stream's summary; a lone one is, unless it is one tick long.
    """
    ids, marks = columns["id"], columns["mark"]
    group = ((stream + 1) * 3 + marks) * 2 + reports  # few and small, so counted and not sorted
    sums = np.flatnonzero(ids == SUM)
    group[sums] = group.max(initial=0) + 1 + (banner[sums] + 1) * 3 + marks[sums]
    if np.count_nonzero(columns["start_s"][sums] == 0) > 2:  # of several groups of streams
        runs = split_runs(sums, columns)
        group[np.concatenate(runs)] = (
            group.max() + 1 + np.repeat(np.arange(len(runs)), [len(run) for run in runs])
        )
    sizes = np.bincount(group)
    first_rows = np.zeros(len(sizes), dtype=np.int64)
    first_rows[group[::-1]] = np.arange(len(group))[::-1]  # the last written stays
    first = np.zeros(len(stream), dtype=bool)
    first[first_rows[sizes > 0]] = True
    lone = sizes[group] == 1
    from_zero = columns["start_s"] == 0
    summary = from_zero & ~first
    goes_on = np.zeros(len(sizes), dtype=bool)
    goes_on[group[~from_zero]] = True
    if not goes_on.any():
        goes_on = (sizes > 1) & ~np.isin(np.arange(len(sizes)), group[reports | (ids == SUM)])
    alone = np.flatnonzero(lone & from_zero)
    for number in np.unique(banner[alone]).tolist():
        ticks = columns["end_s"][first & from_zero & goes_on[group] & (banner == number)]
        tick = float(np.median(ticks)) if len(ticks) else np.nan
        here = alone[banner[alone] == number]
        summary[here] = ~np.isclose(columns["end_s"][here], tick, atol=1e-3)
    repeats = (ids == SUM) | (marks == 2)
    return np.asarray(summary + 2 * repeats, dtype=np.int8)


def _of_server_reports(
    start_s: NDArray[np.float64], line_nos: NDArray[np.int64], reports: set[int]
) -> NDArray[np.bool_]:
    """A UDP client prints the receiver's summary under `Server Report:`, after a header or not."""
    if not reports:
        return np.zeros(len(line_nos), dtype=bool)
    near = np.isin(line_nos, [n + step for n in reports for step in (1, 2)])
    return np.asarray(near & (start_s == 0))


def _printed_ids(ids: NDArray[np.int64], marks: NDArray[np.int64]) -> pd.Categorical[Any]:
    """The id as printed: 3, *3, FD3, SUM."""
    positions, values = pd.factorize((ids + 1) * 3 + marks, sort=True)
    names = [
        ("", "*", "FD")[value % 3] + ("SUM" if value < 3 else str(value // 3 - 1))
        for value in values.tolist()
    ]
    return to_categories(positions, names)
