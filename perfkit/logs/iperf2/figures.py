"""The lines of an iperf 2 log that hold figures, taken apart for the whole log at once.

Arrow's regular expressions (RE2: linear time, whatever the input) work outside the interpreter, so
a large log is read in slices by threads. RE2 matches in one pass, at three times the speed, only
if a pattern is plain and captures no more than four texts: hence who, interval, size and rate,
which trims and dictionaries then divide.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.logs.arrow_text import to_factors, to_floats
from perfkit.logs.traffic import NUMBER, RATE_UNITS
from perfkit.units import BINARY_PREFIXES, MS_PER_S, US_PER_S

SUM = -1
Columns = dict[str, NDArray[Any]]

# What this misses but looks like figures gets the second, tolerant pattern.
_DATA_LINE = (
    r"^\[ *(?P<who>[*FD]*(?:[0-9]{1,9}|SUM))\] +"
    rf"(?P<interval>{NUMBER}- *{NUMBER}) +sec +"
    rf"(?P<size>{NUMBER} [KMGT]?)Bytes +"
    rf"(?P<rate>{NUMBER} [KMGT]?(?:bits|Bytes))/sec"
)
_ODD_DATA_LINE = (
    r"^\[ *(?P<who>(?:\*|FD)? *(?:[0-9]{1,9}|SUM))(?:-[0-9]+)?\] *"
    rf"(?P<interval>{NUMBER} *- *{NUMBER}) +sec +"
    rf"(?P<size>(?:{NUMBER}|-?nan|inf) +[KMGT]?)Bytes +"
    rf"(?P<rate>(?:{NUMBER}|-?nan|inf) +[KMGT]?(?:bits|Bytes))/sec"
)
_MARKS = {b"": 0, b"*": 1, b"FD": 2}
_NOT_UNIT = "0123456789. -nanif"
_NOT_NUMBER = " KMGTbitsBytes"
_TAIL = r"^[^/]*/sec"  # no slash comes before the rate's
# -e on a sender: Write/Err Rtry Cwnd/RTT(var) NetPwr; 2.0.x has no variance. --bounceback has four
# times of the bounces in place of Write/Err.
_BEFORE_RETRIES = r"(?:[0-9]+|[0-9]+=[0-9.]+/[0-9.]+/[0-9.]+)/[0-9.]+(?: ms)? +"
_SENDER = rf"{_TAIL} +{_BEFORE_RETRIES}[0-9]+(?:\s*$|\s+[-0-9])"  # of UDP: pps
_SENDER_TAIL = (
    rf"{_TAIL} +{_BEFORE_RETRIES}(?P<retransmits>[0-9]{{1,18}})"
    rf"(?: +-?[0-9]+K/(?P<rtt_us>{NUMBER})|\s*$|\s+[-0-9])"
)
_DATAGRAMS = r" ms +-?[0-9]+/ *-?[0-9]+ +\("
_UDP_TAIL = (
    rf"{_TAIL} +(?:(?P<jitter_ms>{NUMBER})|-?nan) ms "
    r"+(?P<lost>-?[0-9]{1,18})/ *(?P<sent>-?[0-9]{1,18}) "
)
OPTIONAL = (("jitter_s", "lost", "datagrams"), ("retransmits", "rtt_s"))  # only in some logs
_NAMES = (
    *("line_no", "id", "mark", "start_s", "end_s", "size_bytes", "throughput_bps"),
    *(name for names in OPTIONAL for name in names),
)
_SLICE_LINES = 20_000  # worth a thread, and small enough that what lies between takes little memory


def read_figures(lines: pa.LargeBinaryArray) -> tuple[Columns, NDArray[np.int64]]:
    """Take apart the lines with figures.

    Returns:
        The columns `id` (`SUM` for a sum), `mark` (1: the reverse direction, 2: both), `start_s`,
        `end_s`, `size_bytes`, `throughput_bps` and what -e and UDP add, NaN where a line has it
        not; and the lines' numbers, from 1 and ascending.
    """
    starts = range(0, len(lines), _SLICE_LINES)
    if len(starts) < 2:
        columns = _read_slice(lines)
    else:
        slices = [lines[start : start + _SLICE_LINES] for start in starts]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            columns = _gathered(pool.map(_read_slice, slices, starts), len(lines))
    return columns, columns.pop("line_no")


def _gathered(parts: Iterable[Columns], most_rows: int) -> Columns:
    """Parts under each other, each put into its place as it comes: only a few exist at a time."""
    whole: Columns = {}
    count = 0
    for columns in parts:
        rows = slice(count, count + len(columns["line_no"]))
        for name, values in columns.items():
            if name not in whole:
                absent = np.nan if values.dtype.kind == "f" else 0
                whole[name] = np.full(most_rows, absent, values.dtype)
            whole[name][rows] = values
        count = rows.stop
    return {name: whole[name][:count] for name in _NAMES if name in whole}


def _read_slice(lines: pa.LargeBinaryArray, lines_before: int = 0) -> Columns:
    rows = pc.extract_regex(lines, pattern=_DATA_LINE)
    line_nos = np.arange(lines_before + 1, lines_before + len(lines) + 1)
    if not rows.null_count:
        return _columns(rows, lines, line_nos)
    is_plain = rows.is_valid()
    plain = np.asarray(is_plain)
    columns = _columns(rows.filter(is_plain), lines, line_nos[plain], is_plain)
    odd_lines, odd_nos = lines.take(pa.array(np.flatnonzero(~plain))), line_nos[~plain]
    rows = pc.extract_regex(odd_lines, pattern=_ODD_DATA_LINE)
    if rows.null_count == len(rows):
        return columns
    odd = rows.is_valid()
    more = _columns(rows.filter(odd), odd_lines, odd_nos[np.asarray(odd)], odd)
    columns = _gathered((columns, more), len(lines))
    order = np.argsort(columns["line_no"])
    return {name: values[order] for name, values in columns.items()}


def _columns(
    rows: pa.StructArray,
    lines: pa.LargeBinaryArray,
    line_nos: NDArray[np.int64],
    chosen: pa.BooleanArray | None = None,
) -> Columns:
    """What is printed in lines with figures, as numbers; `chosen` = all, or which lines `rows` are."""
    ids, marks = _ids(rows.field("who"))
    start_s, end_s = _interval(rows.field("interval"))
    return {
        "line_no": line_nos,
        "id": ids,
        "mark": marks,
        "start_s": start_s,
        "end_s": end_s,
        "size_bytes": _scaled(rows.field("size"), BINARY_PREFIXES),
        "throughput_bps": _scaled(rows.field("rate"), RATE_UNITS),
        **_tail_columns(lines, chosen),
    }


def _ids(who: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and marks of `3`, `*3`, `FD3`, `SUM`; most logs have plain ones only."""
    try:
        ids = who.cast(pa.large_string()).cast(pa.int64()).to_numpy()
        return ids, np.zeros(len(ids), dtype=np.int64)
    except pa.ArrowInvalid:
        encoded = who.dictionary_encode()
    found = [_id(text) for text in encoded.dictionary.to_pylist()]
    both = np.array(found, dtype=np.int64).reshape(-1, 2)[encoded.indices.to_numpy()]
    return both[:, 0], both[:, 1]


def _id(text: bytes) -> tuple[int, int]:
    number = text.lstrip(b"*FD ")
    return (
        SUM if number == b"SUM" else int(number),
        _MARKS.get(text.removesuffix(number).rstrip(), 0),
    )


def _interval(text: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and end of `0.0000-1.0000`; all clients of a log have the same intervals."""
    encoded = text.dictionary_encode()
    parts = pc.split_pattern(encoded.dictionary.cast(pa.large_string()), "-").flatten()
    ends = to_floats(pc.ascii_trim_whitespace(parts)).reshape(-1, 2)
    places = encoded.indices.to_numpy()
    return ends[:, 0][places], ends[:, 1][places]


def _scaled(text: pa.Array, factors: Mapping[str, float]) -> NDArray[np.float64]:
    """`516 K` as 528384; NaN for nan and inf."""
    text = text.cast(pa.large_string())
    figures = pc.ascii_rtrim(text, characters=_NOT_NUMBER)
    numbers = to_floats(figures)
    numbers[np.isinf(numbers)] = np.nan
    unit = text[0].as_py()[len(figures[0].as_py()) :] if len(text) else ""
    if pc.all(pc.ends_with(text, pattern=unit)).as_py():  # it begins with a space
        numbers *= factors[unit.strip()]
    else:
        numbers *= to_factors(pc.ascii_ltrim(text, characters=_NOT_UNIT), factors)
    return numbers


def _tail_columns(lines: pa.LargeBinaryArray, chosen: pa.BooleanArray | None) -> Columns:
    """What -e and UDP add; nothing is taken apart in logs that have neither."""
    columns: Columns = {}
    slashes, rows = _count_slashes(lines), len(lines)
    if chosen is not None:
        others = lines.filter(pc.invert(chosen))
        slashes, rows = slashes - _count_slashes(others), rows - len(others)
    if slashes == rows:  # the rate's; whoever adds something writes one more
        return columns
    if chosen is not None:
        lines = lines.filter(chosen)
    if pc.any(pc.match_substring_regex(lines, _DATAGRAMS)).as_py():
        udp = pc.extract_regex(lines, pattern=_UDP_TAIL)
        columns["jitter_s"] = to_floats(udp.field("jitter_ms")) / MS_PER_S
        columns["lost"] = to_floats(udp.field("lost"))
        columns["datagrams"] = to_floats(udp.field("sent"))
    if pc.any(pc.match_substring_regex(lines, _SENDER)).as_py():
        sender = pc.extract_regex(lines, pattern=_SENDER_TAIL)
        columns["retransmits"] = to_floats(sender.field("retransmits"))
        columns["rtt_s"] = to_floats(sender.field("rtt_us")) / US_PER_S
    return columns


def _count_slashes(lines: pa.LargeBinaryArray) -> int:
    _, offsets, text = lines.buffers()
    if not len(lines) or text is None:
        return 0
    borders = np.frombuffer(offsets, dtype=np.int64)[[lines.offset, lines.offset + len(lines)]]
    return int(np.count_nonzero(np.frombuffer(text, np.uint8)[slice(*borders)] == ord("/")))
