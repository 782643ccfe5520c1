"""The rows under a head of a monitor's CSV: cells to one array a column.

Arrow reads all rows at once. Only where that fails is each row looked at (the damaged part of a
file, not all of it), and one that has other cells than the head has columns is not understood,
with two exceptions: empty cells at the end that are too many, and pcp-dstat's one empty cell for a
whole group that had no figures. What it says behind a row after missed ticks is taken away.

A cell that holds `inf`, `nan` or more than any counter can is unknown, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from perfkit.logs.dstat.fit import Fitter
from perfkit.logs.dstat.heads import TIMES, CsvBlock
from perfkit.logs.format import UnparsedLines

_BLOCK_BYTES = 4_000_000  # what one thread reads; no row is longer in a sound file
_PARTS = 16  # what rows that do not fit are divided into, to find those that do
_COPIERS = 2  # threads; more wait for the memory
_SINGLY_BYTES = 4000  # below this Arrow is no faster
_SAMPLE = 20  # rows that decide whether a column holds figures or text
_LARGEST = 1e25  # 64 bits of KiB a second in bits are 1.5e23
# Behind a row; where the tick before had no figures it is in front, for that line had no end.
_MISSED = re.compile(rb',?"?missed \d{1,9} ticks?"?,*\s*$|^,?"missed \d{1,9} ticks?"')
Cells = list[Any]  # float64 arrays; Arrow strings where a column holds times or text


@dataclass(slots=True)
class Table:
    """A block's cells.

    Attributes:
        columns: One array a column of the head.
        texts: Places of the columns that hold text, such as a process's name; times are not.
        unknown: By the place of a column, how many of its cells were no figure a tool can count.
        misfit: Line number, line and count of cells of the first whole row that was not read.
    """

    columns: Cells
    texts: frozenset[int] = frozenset()
    unknown: dict[int, int] = field(default_factory=dict)
    misfit: tuple[int, str, int] | None = None

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0


@dataclass(slots=True)
class RowPlan:
    """What the columns of a block hold, and how its rows may deviate."""

    width: int
    times: frozenset[int]
    texts: frozenset[int]
    spans: tuple[int, ...]
    absent_groups: bool
    unknown: dict[int, int] = field(default_factory=dict)
    misfit: tuple[int, str, int] | None = None

    def is_text(self, place: int) -> bool:
        """Whether a column's cells are kept as they are printed."""
        return place in self.times or place in self.texts

    def forget(self, place: int, figures: NDArray[np.float64], empty: int | None = None) -> None:
        """Make what is no figure NaN, in place, and count it.

        Args:
            empty: How many cells are NaN because they are empty; None = all that are.
        """
        with np.errstate(all="ignore"):
            if np.einsum("i,i->", figures, figures) < _LARGEST**2:  # on one core; NaN is not
                return
            unknown = ~(np.abs(figures) < _LARGEST)
        known_empty = int(np.isnan(figures).sum()) if empty is None else empty
        figures[unknown] = np.nan
        if count := int(np.count_nonzero(unknown)) - known_empty:
            self.unknown[place] = self.unknown.get(place, 0) + count


class LineNumbers:
    """Numbers of lines by where they begin; asked for in their order, so nothing is counted twice."""

    def __init__(self, data: bytes) -> None:
        self._data, self._start, self._line_no = data, 0, 1

    def at(self, start: int) -> int:
        """The number, from 1, of the line that begins at a byte."""
        self._line_no += self._data.count(b"\n", self._start, start)
        self._start = start
        return self._line_no


def read_rows(
    data: bytes, block: CsvBlock, line_numbers: LineNumbers, unparsed: UnparsedLines
) -> Table:
    """All rows of a block, in order; those not understood go to `unparsed`."""
    plan = plan_rows(data, block)
    parts = _Rows(data, plan, line_numbers, unparsed).read(block.start, block.end)
    columns = (
        parts[0] if len(parts) == 1 else [_joined(pieces) for pieces in zip(*parts, strict=True)]
    )
    return Table(columns=columns, texts=plan.texts, unknown=plan.unknown, misfit=plan.misfit)


def plan_rows(data: bytes, block: CsvBlock) -> RowPlan:
    """What the columns of a block hold, told by its first rows."""
    times = frozenset(p for p, (_, name) in enumerate(block.keys()) if name in TIMES)
    width = len(block.names)
    sample = [
        cells
        for cells in (line.split(b",") for line in _first_lines(data, block.start, block.end))
        if len(cells) in (width, width + 1)
    ]
    texts = frozenset(
        place
        for place in range(width)
        if place not in times and _is_text([cells[place] for cells in sample])
    )
    return RowPlan(width, times, texts, tuple(block.spans()), block.tool == "pcp-dstat")


def _first_lines(data: bytes, start: int, end: int) -> list[bytes]:
    lines = list[bytes]()
    while start < end and len(lines) < _SAMPLE:
        line_end = data.find(b"\n", start, end) + 1 or end
        lines.append(_without_missed(data[start:line_end].strip()))
        start = line_end
    return lines


def _without_missed(line: bytes) -> bytes:
    return _MISSED.sub(b"", line) if b"missed" in line else line


def _is_text(cells: Sequence[bytes]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return sum(_number(cell) is None for cell in filled) * 2 > len(filled)


def _number(cell: bytes) -> float | None:
    try:
        return float(cell) if b"_" not in cell else None
    except ValueError:
        return None


def _read_at_once(
    rows: pa.Buffer,
    plan: RowPlan,
    first: bytes,
    *,
    use_threads: bool,
) -> Cells | None:
    """All rows by Arrow; None when one does not fit.

    Args:
        first: The first of the rows.
    """
    # A dstat whose terminal is too narrow ends each row with one comma too many.
    columns = plan.width + (first.count(b",") == plan.width and first.endswith(b","))
    names = [str(place) for place in range(columns)]
    types = {name: pa.float64() for name in names}
    types |= {str(place): pa.string() for place in plan.times | plan.texts}
    try:
        table = pa_csv.read_csv(
            rows,
            read_options=pa_csv.ReadOptions(
                column_names=names, block_size=_BLOCK_BYTES, use_threads=use_threads
            ),
            parse_options=pa_csv.ParseOptions(quote_char='"' if plan.texts else False),
            convert_options=pa_csv.ConvertOptions(column_types=types, null_values=[""]),
        )
    except pa.ArrowInvalid:
        return None
    if any(_has_line_feed(table.column(place)) for place in plan.texts):
        return None  # a quote that nothing closes takes the next rows with it
    columns = table.columns[: plan.width]
    del table
    return _in_one_piece(columns, plan, use_threads=use_threads)


def _has_line_feed(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring(column, "\n")).as_py())


def _in_one_piece(columns: list[Any], plan: RowPlan, *, use_threads: bool) -> Cells:
    """Columns' strings, and figures in arrays that may be written to; empties the list."""

    def take(place: int) -> Any:
        column, columns[place] = columns[place], None  # its memory is free for the next one
        if pa.types.is_string(column.type):
            return column.combine_chunks()
        chunks = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
        figures = np.concatenate(chunks, dtype=np.float64) if chunks else np.empty(0)
        plan.forget(place, figures, column.null_count)
        return figures

    if not use_threads:
        return [take(place) for place in range(len(columns))]
    with ThreadPoolExecutor(_COPIERS) as copiers:
        return list(copiers.map(take, range(len(columns))))


def _joined(pieces: Sequence[Any]) -> Any:
    if isinstance(pieces[0], np.ndarray):
        return np.concatenate(pieces)
    return pa.concat_arrays(pieces)


class _Rows:
    """Reads a block's rows, in order: together where all fit, else in ever smaller parts.

    So a file pays for its damage where the damage is. What is left in the end is looked at row by
    row.
    """

    def __init__(
        self, data: bytes, plan: RowPlan, line_numbers: LineNumbers, unparsed: UnparsedLines
    ) -> None:
        self._data, self._plan = data, plan
        self._line_numbers, self._unparsed = line_numbers, unparsed
        self._fitter = Fitter(plan.spans, absent_groups=plan.absent_groups)

    def read(self, start: int, end: int) -> list[Cells]:
        """The cells of the rows between two bytes, part by part."""
        columns = self._together(start, end)
        if columns is not None:
            return [columns]
        borders = self._borders(start, end)
        if len(borders) == 2 or end - start <= _SINGLY_BYTES:
            return [self._singly(start, end)]
        return [part for piece in pairwise(borders) for part in self.read(*piece)]

    def _borders(self, start: int, end: int) -> list[int]:
        """Where to divide, after line feeds; a long line stays whole."""
        places = range(start, end, max(1, (end - start) // _PARTS))
        ends = [self._data.find(b"\n", place, end) + 1 or end for place in places[1:]]
        return list(dict.fromkeys([start, *ends, end]))

    def _together(self, start: int, end: int) -> Cells | None:
        lines = _first_lines(self._data, start, end)
        first = next((line for line in lines if line), b"")
        if not first and not self._data[start:end].strip():
            return _no_cells(self._plan)
        rows = pa.py_buffer(memoryview(self._data)[start:end])
        return _read_at_once(rows, self._plan, first, use_threads=end - start > _BLOCK_BYTES)

    def _singly(self, start: int, end: int) -> Cells:
        """Row by row: what a damaged part, or one of pcp's, needs."""
        plan, rows = self._plan, []
        first_line = self._line_numbers.at(start)
        lines = self._data[start:end].split(b"\n")
        cut_line = first_line + len(lines) - 1 if end == len(self._data) else 0
        for line_no, printed in enumerate(lines, start=first_line):
            line = _without_missed(printed)
            if not line.strip():
                continue
            cells = self._fitter.fit(line.split(b","))
            row = _row(cells, plan) if cells is not None else None
            if row is None:
                self._unparsed.add(line_no, line)
                if plan.misfit is None and line_no != cut_line:
                    text = line[:200].decode("utf-8", "replace")
                    plan.misfit = (line_no, text, line.count(b",") + 1)
            else:
                rows.append(row)
        return _columns(rows, plan) if rows else _no_cells(plan)


def _columns(rows: list[list[float | str | None]], plan: RowPlan) -> Cells:
    columns: Cells = []
    for place, cells in enumerate(zip(*rows, strict=True)):
        if plan.is_text(place):
            columns.append(pa.array(cells, pa.string()))
        else:
            figures = np.array(cells, dtype=np.float64)  # None is NaN
            plan.forget(place, figures, cells.count(None))
            columns.append(figures)
    return columns


def _no_cells(plan: RowPlan) -> Cells:
    return [
        pa.array([], pa.string()) if plan.is_text(place) else np.empty(0)
        for place in range(plan.width)
    ]


def _row(cells: list[bytes], plan: RowPlan) -> list[float | str | None] | None:
    """One row's cells; None when one is not what its column holds."""
    row: list[float | str | None] = []
    for place, cell in enumerate(cells):
        if plan.is_text(place):
            row.append(cell.decode("utf-8", "replace") or None)
        elif not cell.strip():
            row.append(None)
        else:
            number = _number(cell)
            if number is None:
                return None
            row.append(number)
    return row
