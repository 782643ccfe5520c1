"""dstat and dool CSV (dstat 0.6 to 0.8, dool, the CSV of pcp-dstat): bytes in, `monitor` frame out.

A file is a stream of blocks: each start of the tool appends a head (banner, host, command line,
group titles, column names) and rows, with other columns and even another host. A column is known
by its group and name, never by its place. What a row is, and what is done to it:

- Its stamp is the end of the interval it averages.
- The first row after a start averages since boot; it is dropped.
- After a missed tick the tool divides several seconds' counters by the planned step. Rates are
  brought back to the real interval, so rate times `dt_s` is what was counted.
- Rates of networks and disks are in bits when dool 1.3 or later ran without `--bytes`; only the
  head says so. Memory is in bytes always. pcp-dstat counts memory and disks in KiB.

The screen output of these tools is no data: it is rounded to four characters. It is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs import frames
from perfkit.logs.arrow_text import to_categories
from perfkit.logs.dstat.columns import named_columns, note_cells, note_unit
from perfkit.logs.dstat.heads import EPOCH, TIMES, CsvBlock, find_blocks
from perfkit.logs.dstat.on_disk import find_only_block, read_plain_rows
from perfkit.logs.dstat.prefix import has_prefix, split_monitors
from perfkit.logs.dstat.resaved import is_resaved, restore
from perfkit.logs.dstat.rows import LineNumbers, Table, read_rows
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.timestamps import Intervals, PrintedClock, from_epoch, from_printed, intervals
from perfkit.units import MS_PER_S, NS_PER_S

_QUOTED_START = (b'"dstat ', b'"dool ', b'"pcp-dstat ', b'"host:"', b'"cmdline:"')
# ----system---- ----total-cpu-usage---- by dstat; dool draws the lines of boxes.
_SCREEN_TITLES = re.compile(r"[-\u2500-\u257f][-A-Za-z0-9/_. \u2500-\u257f]{4,1000}")
_SCREEN_WORDS = ("usage", "system", "dsk/", "net/", "paging", "load", "procs")
_SCREEN_BAR = re.compile(r"[|\u2500-\u257f]")
_SCREEN_BYTES = 2000
_START_BYTES = 400
_NS_PER_MS = NS_PER_S // MS_PER_S
_STAMPS = pd.DatetimeTZDtype("ns", "UTC")


@dataclass(slots=True)
class _State:
    """What is collected on the way through a file, and what the next block must know."""

    zone: tzinfo | None
    year: int
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)
    notes: list[str] = field(default_factory=list)
    misfits: list[tuple[int, str, int, int]] = field(default_factory=list)
    runs: int = 0
    blocks: int = 0
    last_ns: int = 0  # the stamp of the last row
    clock: PrintedClock = field(default_factory=PrintedClock)  # of the run
    dt_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # the block's steps


def sniff(head: bytes) -> bool:
    """Whether the first bytes are the CSV of dstat, dool or pcp-dstat, or their screen output.

    The CSV may lack its banner, have been saved again by a spreadsheet, or stand behind a prefix.
    """
    start = head[:_START_BYTES].lstrip()
    is_csv = start.lower().startswith(_QUOTED_START) or is_resaved(start)
    return is_csv or has_prefix(start) or _is_screen(head)


def parse(data: bytes, path: Path, *, zone: tzinfo | None = None, year: int = 0) -> Reading:
    """Read one file.

    Args:
        zone: The zone of printed times, taken before the head's; epochs are UTC whatever it is.
        year: The year of the first printed time, where the head has none.

    Returns:
        A `monitor` frame in the order of the rows; a file with heads and no rows is an empty
        frame and a note. Columns perfkit has no name for are kept as `other:<group>/<name>`;
        columns of text (a process's name) are left out and noted.

    Raises:
        TruncatedError: the file is empty.
        ParseError: no line names the columns; no row has as many cells as there are names, so
            that none can be told apart; it is screen output.
    """
    start = data[:_START_BYTES].lstrip()
    if not start and not data.strip():
        raise TruncatedError(path, "the file is empty: the monitor never wrote to it")
    state = _State(zone, year)
    if is_resaved(start):
        data = restore(data)
        state.notes.append("a spreadsheet saved this file again: figures may have been rounded")
    elif not start.startswith(b'"') and _is_screen(data):
        raise ParseError(
            path, 1, _text(data[:200]), "screen output, rounded; run the monitor with --output FILE"
        )
    cut = not data.endswith(b"\n")
    if cut:
        data = _without_last_line(data, state)
    texts = [data]
    if has_prefix(start):
        texts, notes = split_monitors(data)
        state.notes += notes
    parts = [part for text in texts for part in _read_blocks(text, state)]
    if not parts:
        raise ParseError(path, 1, _text(data[:200]), "no line with column names")
    frame = _together(parts, state)
    if frame.empty and state.misfits:
        line_no, line, cells, width = state.misfits[0]
        raise ParseError(
            path, line_no, line, f"{cells} cells but {width} column names: they cannot be matched"
        )
    return _reading(path, frame, state, partial=cut)


def _read_blocks(data: bytes, state: _State) -> Iterator[pd.DataFrame]:
    line_numbers = LineNumbers(data)
    for block in find_blocks(data):
        table = read_rows(data, block, line_numbers, state.unparsed)
        yield _to_frame(table, block, state.blocks, state)
        state.blocks += 1


def parse_file(path: Path) -> Reading | None:
    """Read a large file without loading it; None when it must be loaded.

    Only a file with one head and sound rows is read so; what comes out is what `parse` makes of it.

    Raises:
        OSError: it cannot be read.
    """
    found = find_only_block(path)
    if found is None or is_resaved(found[0]):
        return None
    head, block = found
    table = read_plain_rows(path, head, block)
    if table is None:
        return None
    state = _State(None, 0)
    return _reading(path, _to_frame(table, block, 0, state), state, partial=False)


FORMAT = Format(
    name="dstat", kind="monitor", sniff=sniff, parse=parse, takes_zone=True, parse_file=parse_file
)


def _reading(path: Path, frame: pd.DataFrame, state: _State, *, partial: bool) -> Reading:
    return Reading(
        path=path,
        format="dstat",
        kind="monitor",
        frame=frame,
        unparsed=state.unparsed.result(),
        notes=tuple(dict.fromkeys(state.notes)),
        partial=partial,
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_screen(head: bytes) -> bool:
    """Titles over names with a bar between the groups."""
    lines = [line.strip() for line in _text(head[:_SCREEN_BYTES]).split("\n")]
    return any(
        bool(_SCREEN_TITLES.fullmatch(titles))
        and any(word in titles for word in _SCREEN_WORDS)
        and bool(_SCREEN_BAR.search(names))
        for titles, names in pairwise(lines)
    )


def _without_last_line(data: bytes, state: _State) -> bytes:
    """A line without its end may have lost digits, so it is not trusted; a head line may be kept."""
    start = data.rfind(b"\n") + 1
    state.notes.append("the last line is cut, and left out")
    if data[start:].strip() and not data.startswith(b'"', start):
        state.unparsed.add(data.count(b"\n") + 1, data[start:])
        return data[:start]
    return data


def _together(parts: list[pd.DataFrame], state: _State) -> pd.DataFrame:
    if len(parts) == 1:
        return parts[0]
    if state.runs > 1:
        state.notes.append(f"{state.runs} runs of the monitor in one file")
    if len(parts) > state.runs:
        state.notes.append(f"the columns changed {len(parts) - state.runs} times during a run")
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(host=frame["host"].astype("str").astype("category"))


def _to_frame(table: Table, block: CsvBlock, number: int, state: _State) -> pd.DataFrame:
    state.runs += not block.goes_on or not number
    keys = block.keys()
    if table.misfit:
        state.misfits.append((*table.misfit, len(keys)))
    state.notes.extend(note_cells(table, keys, block))
    moments = _moments(table, keys, block, state) if len(table) else None
    gaps, stamps, first = _gaps(table, moments, block, state)
    if not len(stamps):
        state.notes.append(
            "no data: the monitor wrote only its first row, which averages since boot"
        )
    state.notes.extend(note_unit(table, keys, block, gaps.dt_s))
    columns = {
        "host": to_categories(np.zeros(len(stamps), dtype=np.int8), [block.host]),
        "block": np.full(len(stamps), number) if number else np.zeros(len(stamps), np.int64),
        "t_utc": stamps,
        "dt_s": gaps.dt_s,
        "missed": gaps.missed,
        **named_columns(table, keys, block, gaps.repair, first),
    }
    frame = pd.DataFrame(columns, copy=False)  # the columns are nobody else's
    if not gaps.keep.all():
        frame = frame[gaps.keep].reset_index(drop=True)
    for name, count in frames.forget_impossible(frame, "monitor").items():
        state.notes.append(f"{count} impossible values of {name} are taken as unknown")
    return frame


def _moments(
    table: Table, keys: list[tuple[str, str]], block: CsvBlock, state: _State
) -> NDArray[np.int64] | None:
    """The stamps, 0 where one cannot be read; None when there are none. Epoch is preferred."""
    places = {name: place for place, (_, name) in enumerate(keys)}
    printed = next((places[name] for name in TIMES if name in places), None)
    moments: NDArray[np.int64] | None = None
    more: tuple[str, ...] = ("no time column: run the monitor with --epoch",)
    if EPOCH in places and places[EPOCH] not in table.texts:
        moments, more = from_epoch(table.columns[places[EPOCH]])
    elif printed is not None:
        if not block.goes_on:
            state.clock = PrintedClock()
        moments, more = from_printed(
            table.columns[printed],
            block.date,
            zone=state.zone,
            year=state.year,
            clock=state.clock,
        )
    state.notes.extend(more)
    if moments is not None and not moments.any():
        return None  # the figures are there, if nobody knows of when
    if (
        moments is not None
        and len(moments) > 2
        and moments[0] == moments[-1]
        and (moments == moments[0]).all()
    ):
        state.notes.append(
            "all rows have the same time: a spreadsheet may have removed the seconds"
        )
        return None
    return moments


def _fill_stamps(moments: NDArray[np.int64], notes: list[str]) -> NDArray[np.bool_]:
    """Put rows whose stamp cannot be read evenly between their neighbours, in place.

    Their figures are not used, for nobody knows their moment; but the tick was not missed, so the
    row after them averages one step and not two.

    Returns:
        Which rows had a stamp.
    """
    readable: NDArray[np.bool_] = moments != 0
    if readable.all():
        return readable
    notes.append(f"{int((~readable).sum())} rows dropped: no stamp")
    known = np.flatnonzero(readable)
    if len(known):
        since_first = (moments[known] - moments[known[0]]) / NS_PER_S
        filled = np.round(np.interp(np.flatnonzero(~readable), known, since_first), 3)
        moments[~readable] = moments[known[0]] + (filled * MS_PER_S).astype(np.int64) * _NS_PER_MS
    return readable


def _gaps(
    table: Table, moments: NDArray[np.int64] | None, block: CsvBlock, state: _State
) -> tuple[Intervals, pd.DatetimeIndex, int]:
    """The intervals of the rows that count, their ends, and which row is the first of them.

    After a change of columns in a run that goes on even the first row is an interval's.
    """
    if moments is None:
        count = max(len(table) - 1, 0)
        nothing = np.full(count, np.nan)
        gaps = Intervals(nothing, nothing > 0, ~(nothing > 0), np.ones(count))
        return gaps, pd.DatetimeIndex([pd.NaT] * count, dtype=_STAMPS), 1
    first, readable = 1, _fill_stamps(moments, state.notes)
    if block.goes_on and state.last_ns:
        step_ns = np.nanmedian(state.dt_s) * NS_PER_S
        first = int(not 0 < moments[0] - state.last_ns <= 1.5 * step_ns)
    if first == 0:
        moments = np.concatenate([[state.last_ns], moments])
    gaps = intervals(moments, real_rates=block.tool == "pcp-dstat")
    gaps = replace(gaps, keep=gaps.keep & readable[first:])
    state.notes.extend(gaps.notes)
    if len(moments) > 1:
        state.last_ns = int(moments[-1])
        state.dt_s = gaps.dt_s
    return gaps, pd.DatetimeIndex(moments[1:], dtype=_STAMPS, copy=False), first
