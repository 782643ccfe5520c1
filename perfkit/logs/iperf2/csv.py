"""iperf 2's CSV (-y C; 2.0.x, 2.1, 2.2; client and server): bytes in, `traffic` frame out.

A row is stamp, two endpoints, id, interval, bytes, bits/s, and for UDP jitter and losses; 2.1.9
and later add more with -e, and 2.2 names the columns in a header and has the interval in two. What follows the rate is
read by its name; without a header the number of columns tells the names. Who wrote a row is found
out by `perfkit.logs.iperf2.endpoints`.

A stamp is local time without zone, except in 2.1.9 and later with -e; the caller may know the zone.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.errors import TruncatedError
from perfkit.logs.arrow_text import split_lines, to_floats
from perfkit.logs.format import Format, OtherLines, Reading
from perfkit.logs.frames import SIDES
from perfkit.logs.iperf2.endpoints import Endpoints, Rows
from perfkit.logs.line_prefix import find_prefix, read_processes
from perfkit.logs.plausible import leave_impossible
from perfkit.logs.traffic import NUMBER, SENDER, UNKNOWN, describe_streams
from perfkit.units import MS_PER_S, US_PER_S, bytes_to_bits

_ROW = (
    r"^(?:(?P<zone>[+-][0-9]{4}):)?(?P<stamp>[0-9]{14})(?P<part>\.[0-9]{1,9})?,"
    r"(?P<first>[0-9A-Za-z.:%_-]+),(?P<first_port>[0-9]{1,5}),"
    r"(?P<second>[0-9A-Za-z.:%_-]+),(?P<second_port>[0-9]{1,5}),"
    rf"(?P<id>-?[0-9]{{1,9}}),(?P<start>{NUMBER})[-,](?P<end>{NUMBER}),"
    r"(?P<size>[0-9]{1,18}),(?P<rate>-?[0-9]{1,18})"
    r"(?P<tail>(?:,[^,\s]*)*)(?P<rest>[ \t][^\n]*)?\n?$"
)
_SNIFF = re.compile(
    rb"(?m)^.{0,200}?(?<!\d)\d{14}(?:\.\d+)?,[^,\s]{1,64},\d{1,5},[^,\s]{1,64},\d{1,5},-?\d+,\d|"
    rb"^.{0,200}?\btime,srcaddress,srcport,"
)
# Where a row begins in its line, and a line that has something else in front.
_BEGIN = re.compile(
    rb"(?P<own>(?<!\d)(?:[+-]\d{4}:)?\d{14}(?:\.\d+)?,[^,\s]{1,64},\d{1,5},[^,\s]{1,64},\d|"
    rb"time,srcaddress,)"
)
_OTHER_LINE = re.compile(rb"(?m)^(?!(?:[+-]\d{4}:)?\d{14}[.,])[^\n]+")
_TEXT = re.compile(rb"\[ ID\]|Server listening on|Client connecting to")
_HEADER = b"time,srcaddress,"
_BEFORE_TAIL = 10  # columns of a header up to the rate; interval start and end are two
_PLAIN = re.compile(rb"\s*$|Waiting for server threads|-{8,}")
_MESSAGE = re.compile(rb"(?i)WARN|.*(?:failed|error|refused|timed? ?out|denied|unable|did not)")
_DEFAULT_PORT = 5001
_YEAR_S = 366 * 86400
_LOSSES = ("jitter", "errors", "datagrams", "errpercent", "outoforder")
_WRITES = ("writecnt", "writeerr", "tcpretry", "tcpcwnd", "tcprtt", "tcprttvar")
_READS = ("readcnt", *(f"bin{n}" for n in range(8)))
_LAYOUTS: dict[int, tuple[str, ...]] = {
    0: (), 5: _LOSSES, 6: _WRITES, 8: (*_LOSSES, "count", "failures", "pps"), 9: _READS
}  # fmt: skip
_MOST_COLUMNS = 10  # of a layout without header, and one more
_NO_COUNT = 2.0**32 - 1  # 2.2 prints -1 as an unsigned number
_ROUNDING = 3.0


@dataclass(slots=True)
class _OtherLines(OtherLines):
    """The lines that are no rows; the columns of headers, by the header's place in the file."""

    headers: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


def sniff(head: bytes) -> bool:
    """Whether the first bytes are rows of iperf 2's CSV, or its header, and no text report."""
    return _SNIFF.search(head) is not None and _TEXT.search(head) is None


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None) -> Reading:
    """Read one file.

    Args:
        zone: Of stamps without one; None = they are taken as UTC. A stamp in the hour that comes
            twice when the clocks go back is no time.

    Returns:
        A `traffic` frame in the order of the rows. `stream` -1 are the rows with a negative id,
        which add up others. `connected_utc` is the earliest stamp less its interval's end.
        Where the file does not tell the side, it is `unknown` and `local` is the client.

    Raises:
        TruncatedError: the file is empty.
    """
    if not data.strip():
        raise TruncatedError(path, "the file is empty: the test never wrote to it")
    parse_own = functools.partial(_parse_own, zone=zone)
    if any(find_prefix(line[0], _BEGIN) for line in _OTHER_LINE.finditer(data)):
        return read_processes(data, path, _BEGIN, parse_own)
    return parse_own(data, path)


def _parse_own(data: bytes, path: Path, *, zone: tzinfo | None) -> Reading:
    """Read what one process printed."""
    text = split_lines(data)
    matched = pc.extract_regex(text, pattern=_ROW)
    is_row = np.asarray(matched.is_valid())
    found = _read_others(text, np.flatnonzero(~is_row))
    rows = _rows(matched.filter(pa.array(is_row)), np.flatnonzero(is_row) + 1, found, zone)
    cut = not data.endswith(b"\n")
    _refuse(rows, found, text, cut_line_no=len(text) if cut else 0)
    rows.columns |= _tail_columns(rows)
    frame = Endpoints(rows).frame()
    if "out_of_order" in frame:  # a sender prints 0
        frame["out_of_order"] = frame["out_of_order"].where(frame["side"] != SIDES[SENDER])
    notes = _notes(rows, frame, zone)
    frame, said = leave_impossible(frame, found.unparsed, lambda line_no: text[line_no - 1].as_py())
    return Reading(
        path=path,
        format="iperf2-csv",
        kind="traffic",
        frame=frame,
        unparsed=found.unparsed.result(),
        notes=(*(["the last line may be cut"] if cut else []), *notes, *said),
        messages=tuple(dict.fromkeys(found.messages)),
        partial=cut,
    )


FORMAT = Format(name="iperf2-csv", kind="traffic", sniff=sniff, parse=parse, takes_zone=True)


def _read_others(text: pa.LargeBinaryArray, indices: NDArray[np.int64]) -> _OtherLines:
    found = _OtherLines()
    for index, line in zip(indices.tolist(), text.take(pa.array(indices)).to_pylist(), strict=True):
        if line.startswith(_HEADER):
            names = line.strip().decode("ascii", "replace").split(",")
            found.headers.append((index + 1, tuple(names[_BEFORE_TAIL:])))
        elif _MESSAGE.match(line) or not _PLAIN.match(line):
            found.add(index + 1, line, _MESSAGE)
    return found


def _rows(
    fields: pa.StructArray, line_no: NDArray[np.int64], found: _OtherLines, zone: tzinfo | None
) -> Rows:
    numbers = {name: to_floats(fields.field(name)) for name in ("id", "first_port", "second_port")}
    ids = numbers["id"].astype(np.int64)
    layouts = list(dict.fromkeys([*_LAYOUTS.values(), *(names for _, names in found.headers)]))
    commas = pc.count_substring(fields.field("tail"), b",").to_numpy(zero_copy_only=False)
    by_count = np.full(_MOST_COLUMNS + 1, -1, dtype=np.int64)
    by_count[list(_LAYOUTS)] = [layouts.index(names) for names in _LAYOUTS.values()]
    layout = by_count[np.minimum(commas, _MOST_COLUMNS)]
    if found.headers:
        header = np.searchsorted([number for number, _ in found.headers], line_no) - 1
        widths = np.array([len(names) for _, names in found.headers])
        named = np.array([layouts.index(names) for _, names in found.headers])
        layout = np.where((header >= 0) & (widths[header] == commas), named[header], layout)
    return Rows(
        fields=fields,
        line_no=line_no,
        id=ids,
        layout=layout,
        layouts=layouts,
        server_first=_server_first(numbers["first_port"], numbers["second_port"], ids),
        utc_s=_stamps(fields, zone),
        columns={
            "start_s": to_floats(fields.field("start")),
            "end_s": to_floats(fields.field("end")),
            "size_bytes": to_floats(fields.field("size")),
            "throughput_bps": _not_negative(to_floats(fields.field("rate"))),
        },
    )


def _server_first(
    first: NDArray[np.float64], second: NDArray[np.float64], ids: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the first port is the listening one: the commoner, else 5001, else the lower."""
    ports, place, counts = np.unique(
        np.concatenate([first, second]), return_inverse=True, return_counts=True
    )
    score = counts * 2.0 + (ports == _DEFAULT_PORT) - ports / 2**17
    score[ports == 0] = -1  # a sum has no port
    first_score, second_score = np.split(score[place], 2)
    is_first = first_score > second_score
    unknown = first_score == second_score
    own = ~unknown & (ids >= 0)
    is_first[unknown] = own.any() and bool(is_first[own].mean() > 0.5)
    return np.asarray(is_first)


def _stamps(fields: pa.StructArray, local: tzinfo | None) -> NDArray[np.float64]:
    """Epoch seconds; NaN for what is no time and for the 1970 that 2.1.8 prints without -i."""
    moments = pc.strptime(
        fields.field("stamp").cast(pa.large_string()),
        format="%Y%m%d%H%M%S",
        unit="s",
        error_is_null=True,
    )
    whole_s = moments.cast(pa.int64()).cast(pa.float64()).to_numpy(zero_copy_only=False)
    zone = to_floats(fields.field("zone"))
    minutes = np.sign(zone) * (np.abs(zone) // 100 * 60 + np.abs(zone) % 100)
    if local is not None:
        whole_s = np.where(np.isnan(zone), _to_utc(whole_s, local), whole_s)
    utc_s = whole_s - np.nan_to_num(minutes) * 60 + np.nan_to_num(to_floats(fields.field("part")))
    return np.where(whole_s > _YEAR_S, utc_s, np.nan)


def _to_utc(local_s: NDArray[np.float64], zone: tzinfo) -> NDArray[np.float64]:
    """Seconds since 1970 as a zone's clock shows them to UTC; NaN in the hour that comes twice."""
    shown = pd.to_datetime(pd.Series(local_s), unit="s", errors="coerce")
    moments = shown.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward")
    since = moments.dt.tz_convert("UTC").dt.tz_localize(None) - pd.Timestamp(0)
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)


def _not_negative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values >= 0, values, np.nan)


def _tail_columns(rows: Rows) -> dict[str, NDArray[np.float64]]:
    """What follows the rate, by the names of each row's layout."""
    losses = _named(rows, "errors")
    datagrams = _not_negative(_named(rows, "datagrams"))
    rtt_us, retries = _not_negative(_named(rows, "tcprtt")), _named(rows, "tcpretry")
    return {
        "retransmits": _not_negative(np.where(retries < _NO_COUNT, retries, np.nan)),
        "rtt_s": np.where(rtt_us > 0, rtt_us, np.nan) / US_PER_S,
        "jitter_s": _not_negative(_named(rows, "jitter")) / MS_PER_S,
        "lost": np.where(np.isnan(datagrams), np.nan, losses),
        "out_of_order": np.where(
            np.isnan(datagrams), np.nan, _not_negative(_named(rows, "outoforder"))
        ),
        "datagrams": datagrams,
    }


def _named(rows: Rows, name: str) -> NDArray[np.float64]:
    values = np.full(len(rows.line_no), np.nan)
    for number, layout in enumerate(rows.layouts):
        here = rows.layout == number
        if name in layout and here.any():
            before = rf"(?:,[^,]*){{{layout.index(name)}}}"
            tail = rows.fields.field("tail").filter(pa.array(here))
            cell = pc.extract_regex(tail, pattern=rf"^{before},(?P<cell>-?{NUMBER})(?:,|$)")
            values[here] = to_floats(cell.field("cell"))
    return values


def _refuse(rows: Rows, found: _OtherLines, text: pa.LargeBinaryArray, cut_line_no: int) -> None:
    """Rows with columns nobody knows, an end before the start, or a cut that shows."""
    out = (rows.layout < 0) | ~(rows.columns["end_s"] >= rows.columns["start_s"])
    if len(out) and rows.line_no[-1] == cut_line_no:
        out[-1] |= _looks_cut(rows)
    for line_no in rows.line_no[out].tolist():
        found.unparsed.add(line_no, text[line_no - 1].as_py())
    rows.take(~out)


def _looks_cut(rows: Rows) -> bool:
    """Whether the last row has other columns than the one before, or lost digits of its rate."""
    if len(rows.layout) > 1 and rows.layout[-1] != rows.layout[-2]:
        return True
    figures = {name: float(values[-1]) for name, values in rows.columns.items()}
    bits = bytes_to_bits(figures["size_bytes"])
    expected = figures["throughput_bps"] * (figures["end_s"] - figures["start_s"])
    # Interval ends are rounded to 0.1 s; a lost digit is a factor of ten.
    return not expected / _ROUNDING <= bits <= expected * _ROUNDING


def _notes(rows: Rows, frame: pd.DataFrame, zone: tzinfo | None) -> list[str]:
    notes = describe_streams(frame)
    has_zone = np.asarray(pc.not_equal(rows.fields.field("zone"), b""))
    if zone is None and (np.isfinite(rows.utc_s) & ~has_zone).any():
        notes.append("the stamps are local time without a zone; they are taken as UTC")
    if unstamped := int(np.isnan(rows.utc_s).sum()):
        notes.append(
            f"{unstamped} of {len(frame)} rows have no time: stamped 1970, or in the hour that clocks repeat in autumn"
        )
    if rests := int(pc.sum(pc.not_equal(rows.fields.field("rest"), b"")).as_py() or 0):
        notes.append(
            f"{rests} of {len(frame)} rows have text after their last column, which is not read"
        )
    if (frame["side"] == SIDES[UNKNOWN]).any():
        notes.append("the file does not say whether the sender or the receiver wrote it")
    return notes
