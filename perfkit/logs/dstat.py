"""dstat and dool CSV (dstat 0.7 to 0.8, dool, the CSV of pcp-dstat): bytes in, `monitor` frame out.

A file is a stream of blocks: each start of the tool appends a head (banner, host, command line,
group titles, column names) and rows, with other columns and even another host. A column is known
by its group and name, never by its place. What a row is, and what is done to it:

- Its stamp is the end of the interval it averages.
- The first row of a block averages since boot; it is dropped.
- After a missed tick the tool divides several seconds' counters by the planned step. Rates are
  brought back to the real interval, so rate times `dt_s` is what was counted.
- Rates of networks and disks are in bits when dool 1.3 or later ran without `--bytes`; only the
  head says so. Memory is in bytes always.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from perfkit.errors import ParseError, TruncatedError
from perfkit.logs import frames
from perfkit.logs.arrowtext import to_categories
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.stamps import Intervals, from_epoch, from_printed, intervals
from perfkit.units import BINARY_PREFIXES, BITS_PER_BYTE

_CPU = {
    "usr": "user", "sys": "system", "idl": "idle", "wai": "wait",
    "stl": "steal", "hiq": "hardirq", "siq": "softirq",
}  # fmt: skip
_MEMORY = {"buff": "buffers", "buf": "buffers", "cach": "cache", "avai": "available"}
_DISK = {"read": "read", "writ": "write"}
_TIMES = {"time", "date/time"}
_BANNER = re.compile(r"(?i)(pcp-dstat|dstat|dool) *([0-9.]*).*csv output")
_HEAD_WORDS = ("author:", "host:", "cmdline:")


@dataclass(slots=True)
class _Block:
    """One run of the tool: its head, and where its rows lie in the file."""

    tool: str = "dstat"
    version: tuple[int, ...] = ()
    host: str = ""
    command: str = ""
    date: str = ""
    titles: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    start: int = 0
    end: int = 0

    @property
    def in_bits(self) -> bool:
        """Whether byte rates are in bits: dool writes them so since 1.3 unless told otherwise."""
        words = self.command.split()
        if "--bits" in words:
            return True
        if "--bytes" in words or "--dstat" in words or self.tool != "dool":
            return False
        return not self.version or self.version >= (1, 3)

    def keys(self) -> list[tuple[str, str]]:
        """(group, name) of each column; a title spans the empty cells after it."""
        keys, title = [], ""
        for place, name in enumerate(self.names):
            if place < len(self.titles) and self.titles[place]:
                title = self.titles[place]
            group, _, own = name.rpartition(":")  # dstat 0.7.3 and dool may write net/eth0:recv
            keys.append((group or title, own or name))
        return keys


def sniff(head: bytes) -> bool:
    """Whether the first bytes are the CSV of dstat, dool or pcp-dstat, with or without banner."""
    text = head.lstrip()[:400].lower()
    return text.startswith((b'"dstat ', b'"dool ', b'"pcp-dstat ', b'"host:"', b'"cmdline:"'))


def parse(data: bytes, path: Path) -> Reading:
    """Read one file.

    Returns:
        A `monitor` frame in the order of the rows; a file with heads and no rows is an empty
        frame and a note. Columns perfkit has no name for are kept as `other:<group>/<name>`.

    Raises:
        TruncatedError: the file is empty.
        ParseError: no line names the columns.
    """
    if not data.strip():
        raise TruncatedError(path, "the file is empty: the monitor never wrote to it")
    blocks = list(_blocks(data))
    if not blocks:
        raise ParseError(path, 1, data[:200].decode("utf-8", "replace"), "no line names columns")
    unparsed, notes = UnparsedLines(), list[str]()
    parts = [
        _read_block(data, block, number, unparsed, notes) for number, block in enumerate(blocks)
    ]
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if len(parts) > 1:
        notes.append(f"{len(parts)} runs of the monitor in one file")
        frame["host"] = frame["host"].astype("str").astype("category")
    cut = not data.endswith(b"\n")
    return Reading(
        path=path,
        format="dstat",
        kind="monitor",
        frame=frame,
        unparsed=unparsed.result(),
        notes=tuple(dict.fromkeys([*(["the last line may be cut"] if cut else []), *notes])),
        partial=cut,
    )


FORMAT = Format(name="dstat", kind="monitor", sniff=sniff, parse=parse)


def _blocks(data: bytes) -> Iterator[_Block]:
    """The blocks in their order; a head belongs to the rows after it."""
    lines = list(_quoted_lines(data))
    head = _Block()
    pending: list[list[str]] = []
    starts = [*(start for start, _, _ in lines), len(data)]
    for (_, end, cells), rows_end in zip(lines, starts[1:], strict=True):
        word = cells[0].lower()
        banner = _BANNER.match(cells[0])
        if banner:
            version = tuple(int(n) for n in banner[2].split(".") if n)
            head = _Block(tool=banner[1].lower(), version=version)
        elif word.startswith(_HEAD_WORDS):
            _read_head(head, cells)
        else:
            pending.append(cells)
        if pending and (rows_end == len(data) or data[end:rows_end].strip()):
            head.names = pending[-1]
            head.titles = pending[-2] if len(pending) > 1 else []
            head.start, head.end = end, rows_end
            yield head
            pending = []
            head = _Block(head.tool, head.version, head.host, head.command, head.date)


def _quoted_lines(data: bytes) -> Iterator[tuple[int, int, list[str]]]:
    """Start, end and cells of each line that begins with a quote: only heads do."""
    start = 0 if data.startswith(b'"') else _next_quoted(data, 0)
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        text = data[start:end].decode("utf-8", "replace").strip()
        cells = [cell.strip() for cell in next(csv.reader([text], strict=False), [""])]
        while len(cells) > 1 and not cells[-1]:
            cells.pop()
        yield start, end, cells
        start = _next_quoted(data, end - 1)


def _next_quoted(data: bytes, position: int) -> int:
    """Where the next line that begins with a quote starts; the end if there is none."""
    return data.find(b'\n"', position) + 1 or len(data)


def _read_head(head: _Block, cells: list[str]) -> None:
    for key, value in pairwise(cells):
        if key.lower() == "host:":
            head.host = value
        elif key.lower() == "date:":
            head.date = value
        elif key.lower() == "cmdline:":
            head.command = value
            if "dool" in value.split(" ")[0]:
                head.tool = "dool" if head.tool == "dstat" and not head.version else head.tool


def _read_block(
    data: bytes, block: _Block, number: int, unparsed: UnparsedLines, notes: list[str]
) -> pd.DataFrame:
    keys = block.keys()
    times = [place for place, (_, name) in enumerate(keys) if name in _TIMES]
    table = _rows(data, block, len(keys), times, unparsed)
    count = max(len(table[0]) - 1, 0)
    if not count:
        notes.append("no data: the monitor wrote no row after the one since boot")
    moments = _moments(table, keys, block, notes)
    if moments is None:
        nothing = np.full(count, np.nan)
        gaps = Intervals(nothing, nothing > 0, ~(nothing > 0), np.ones(count))
        stamps = pd.DatetimeIndex([pd.NaT] * count, tz="UTC")
    else:
        gaps = intervals(moments, real_rates=block.tool == "pcp-dstat")
        stamps = pd.DatetimeIndex(moments[1:], tz="UTC")
    notes.extend(gaps.notes)
    columns = {
        "host": to_categories(np.zeros(count, dtype=np.int8), [block.host]),
        "block": np.full(count, number),
        "t_utc": stamps.as_unit("ns"),
        "dt_s": gaps.dt_s,
        "missed": gaps.missed,
        **_named_columns(table, keys, block, gaps.repair),
    }
    frame = pd.DataFrame(columns)[gaps.keep].reset_index(drop=True)
    for name, count in frames.forget_impossible(frame, "monitor").items():
        notes.append(f"{count} values of {name} cannot be and are taken as unknown")
    return frame


def _rows(
    data: bytes, block: _Block, width: int, times: list[int], unparsed: UnparsedLines
) -> list[NDArray[np.float64]]:
    """The block's cells, one array a column; a time column holds text."""
    body = data[block.start : block.end].strip(b"\n")
    if not body:
        return [np.empty(0) for _ in range(width)]
    first = body[: body.find(b"\n")] if b"\n" in body else body
    # A dstat whose terminal is too narrow ends each row with one comma too many.
    columns = width + (first.count(b",") == width and first.endswith(b","))
    names = [str(place) for place in range(columns)]
    types = {n: pa.string() if int(n) in times else pa.float64() for n in names}
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(body),
            read_options=pa_csv.ReadOptions(column_names=names),
            parse_options=pa_csv.ParseOptions(quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types=types, null_values=[""]),
        )
    except pa.ArrowInvalid:  # a damaged row somewhere: look at each
        return _rows_singly(data, block, width, times, unparsed)
    return [table.column(n).to_numpy() for n in names[:width]]


def _rows_singly(
    data: bytes, block: _Block, width: int, times: list[int], unparsed: UnparsedLines
) -> list[NDArray[np.float64]]:
    rows = []
    first_line = data.count(b"\n", 0, block.start) + 1
    for line_no, line in enumerate(data[block.start : block.end].split(b"\n"), start=first_line):
        if not line.strip():
            continue
        cells = line.split(b",")
        if len(cells) == width + 1 and not cells[-1]:
            cells.pop()
        row = _row(cells, times) if len(cells) == width else None
        if row is None:
            unparsed.add(line_no, line)
        else:
            rows.append(row)
    return [
        np.array(column, dtype=object if place in times else np.float64)
        for place, column in enumerate(zip(*rows, strict=True) if rows else [[]] * width)
    ]


def _row(cells: list[bytes], times: list[int]) -> list[float | str] | None:
    """One row's cells; None when one is not what its column holds."""
    try:
        return [
            cell.decode() if place in times else float(cell) if cell.strip() else np.nan
            for place, cell in enumerate(cells)
        ]
    except ValueError:
        return None


def _moments(
    table: list[NDArray[np.float64]],
    keys: list[tuple[str, str]],
    block: _Block,
    notes: list[str],
) -> NDArray[np.int64] | None:
    """The stamps; None when the file has none. Epoch is preferred."""
    places = {name: place for place, (_, name) in enumerate(keys)}
    printed = next((places[name] for name in _TIMES if name in places), None)
    moments: NDArray[np.int64] | None = None
    more: tuple[str, ...] = ("no time column: run the monitor with --epoch",)
    if "epoch" in places:
        moments, more = from_epoch(table[places["epoch"]])
    elif printed is not None:
        moments, more = from_printed(table[printed].tolist(), block.date)
    notes.extend(more)
    return moments


def _named_columns(
    table: list[NDArray[np.float64]],
    keys: list[tuple[str, str]],
    block: _Block,
    repair: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    columns: dict[str, NDArray[np.float64]] = {}
    byte = 1 / BITS_PER_BYTE if block.in_bits else 1.0
    kilo = BINARY_PREFIXES["K"] if block.tool == "pcp-dstat" else 1
    for (group, name), values in zip(keys, table, strict=True):
        if name in _TIMES or name == "epoch":
            continue
        column = _column_name(group, name)
        while column in columns:  # a device listed twice
            column = f"other:{column}'" if not column.startswith("other:") else f"{column}'"
        figures = values[1:]
        if column.startswith("net_"):
            figures = figures * (byte * BITS_PER_BYTE) * repair
        elif column.startswith("disk_"):
            figures = figures * (byte * kilo) * repair
        elif column.startswith("mem_"):
            figures = figures * kilo
        columns[column] = figures
    if "cpu_idle_pct" in columns:
        busy = 100.0 - columns["cpu_idle_pct"] - columns.get("cpu_wait_pct", 0.0)
        columns["cpu_busy_pct"] = np.maximum(busy, 0.0)
    return columns


def _column_name(group: str, name: str) -> str:
    kind, _, device = group.partition("/")
    core = re.fullmatch(r"cpu(\d+) usage", group)
    if group in ("total cpu usage", "total usage") and name in _CPU:
        return f"cpu_{_CPU[name]}_pct"
    if core and name in _CPU:
        return f"cpu{core[1]}_{_CPU[name]}_pct"
    if group == "memory usage":
        return f"mem_{_MEMORY.get(name, name)}_bytes"
    if kind == "net" and name in ("recv", "send"):
        return f"net_{device}_{name}_bps"
    if kind == "dsk" and name in _DISK:
        return f"disk_{device}_{_DISK[name]}_bytes_per_s"
    return f"other:{group}/{name}"
