"""The rows under a head of a monitor's CSV: cells to one array a column.

Arrow reads all rows at once. Only where that fails is each row looked at, and one that has other
cells than the head has columns is not understood, with two exceptions: empty cells at the end
that are too many, and pcp-dstat's one empty cell for a whole group that had no figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from perfkit.logs.dstat_heads import TIMES, Block
from perfkit.logs.format import UnparsedLines

_BLOCK_BYTES = 4_000_000  # what one thread reads; no row is longer in a sound file
_WIDEST = 200  # cells, so that a damaged head cannot make the search deep
_SAMPLE = 20  # rows that decide whether a column holds figures or text
Cells = list[Any]  # float64 arrays; Arrow strings where a column holds times or text


@dataclass(slots=True)
class Table:
    """A block's cells.

    Attributes:
        columns: One array a column of the head.
        texts: Places of the columns that hold text, such as a process's name; times are not.
        misfit: Line number, line and count of cells of the first whole row that was not read.
    """

    columns: Cells
    texts: frozenset[int] = frozenset()
    misfit: tuple[int, str, int] | None = None

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0


@dataclass(slots=True)
class _Plan:
    """What the columns of a block hold, and how its rows may deviate."""

    width: int
    times: frozenset[int]
    texts: frozenset[int]
    spans: tuple[int, ...]
    absent_groups: bool
    misfit: tuple[int, str, int] | None = None


def read_rows(data: bytes, block: Block, unparsed: UnparsedLines) -> Table:
    """All rows of a block, in order; those not understood go to `unparsed`."""
    plan = _plan(data, block)
    columns = _read_at_once(data, block, plan)
    if columns is None:
        columns = _read_singly(data, block, plan, unparsed)
    return Table(columns=columns, texts=plan.texts, misfit=plan.misfit)


def _plan(data: bytes, block: Block) -> _Plan:
    times = frozenset(p for p, (_, name) in enumerate(block.keys()) if name in TIMES)
    width = len(block.names)
    sample = [
        cells
        for cells in (line.split(b",") for line in _first_lines(data, block))
        if len(cells) in (width, width + 1)
    ]
    texts = frozenset(
        place
        for place in range(width)
        if place not in times and _is_text([cells[place] for cells in sample])
    )
    return _Plan(width, times, texts, tuple(block.spans()), block.tool == "pcp-dstat")


def _first_lines(data: bytes, block: Block) -> list[bytes]:
    lines, start = list[bytes](), block.start
    while start < block.end and len(lines) < _SAMPLE:
        end = data.find(b"\n", start, block.end) + 1 or block.end
        lines.append(data[start:end].strip())
        start = end
    return lines


def _is_text(cells: Sequence[bytes]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return sum(_number(cell) is None for cell in filled) * 2 > len(filled)


def _number(cell: bytes) -> float | None:
    try:
        return float(cell) if b"_" not in cell else None
    except ValueError:
        return None


def _read_at_once(data: bytes, block: Block, plan: _Plan) -> Cells | None:
    """All rows by Arrow, without a copy; None when one does not fit."""
    first = next((line for line in _first_lines(data, block) if line), b"")
    if not first and not data[block.start : block.end].strip():
        return [np.empty(0) for _ in range(plan.width)]
    # A dstat whose terminal is too narrow ends each row with one comma too many.
    columns = plan.width + (first.count(b",") == plan.width and first.endswith(b","))
    names = [str(place) for place in range(columns)]
    as_text = plan.times | plan.texts
    types = {n: pa.string() if int(n) in as_text else pa.float64() for n in names}
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(memoryview(data)[block.start : block.end]),
            read_options=pa_csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(quote_char='"' if plan.texts else False),
            convert_options=pa_csv.ConvertOptions(column_types=types, null_values=[""]),
        )
    except pa.ArrowInvalid:
        return None
    return [
        table.column(n).combine_chunks() if int(n) in as_text else _writable(table.column(n))
        for n in names[: plan.width]
    ]


def _writable(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy()  # Arrow's own memory where it is in one piece
    return values if values.flags.writeable else values.copy()


def _read_singly(data: bytes, block: Block, plan: _Plan, unparsed: UnparsedLines) -> Cells:
    """Row by row: what a damaged file, or one of pcp's, needs."""
    rows = []
    first_line = data.count(b"\n", 0, block.start) + 1
    cut_line = data.count(b"\n") + 1  # the line without an end, if the file has one
    fitter = _Fitter(plan)
    for line_no, line in enumerate(data[block.start : block.end].split(b"\n"), start=first_line):
        if not line.strip():
            continue
        cells = fitter.fit(line.split(b","))
        row = _row(cells, plan) if cells is not None else None
        if row is None:
            unparsed.add(line_no, line)
            if plan.misfit is None and line_no != cut_line:
                text = line[:200].decode("utf-8", "replace")
                plan.misfit = (line_no, text, line.count(b",") + 1)
        else:
            rows.append(row)
    as_text = plan.times | plan.texts
    return [
        pa.array(column, pa.string()) if place in as_text else np.array(column, dtype=np.float64)
        for place, column in enumerate(zip(*rows, strict=True) if rows else [[]] * plan.width)
    ]


def _row(cells: list[bytes], plan: _Plan) -> list[float | str | None] | None:
    """One row's cells; None when one is not what its column holds."""
    row: list[float | str | None] = []
    for place, cell in enumerate(cells):
        if place in plan.times or place in plan.texts:
            row.append(cell.decode("utf-8", "replace") or None)
        elif not cell.strip():
            row.append(np.nan)
        else:
            number = _number(cell)
            if number is None:
                return None
            row.append(number)
    return row


class _Fitter:
    """Gives a row's cells to the columns.

    pcp-dstat writes one empty cell for a group that had no figures, whatever the group's width.
    Which groups those are follows from where the empty cells are, once for each such pattern.
    """

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._known: dict[tuple[bool, ...], list[int] | None] = {}

    def fit(self, cells: list[bytes]) -> list[bytes] | None:
        """As many cells as columns; None when there is no one way to that."""
        width = self._plan.width
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) == width:
            return cells
        if len(cells) > width or not self._plan.absent_groups:
            return None
        pattern = tuple(not cell.strip() for cell in cells)
        if pattern not in self._known:
            self._known[pattern] = _places(pattern, self._plan.spans)
        places = self._known[pattern]
        return None if places is None else [b"" if p < 0 else cells[p] for p in places]


def _places(empty: tuple[bool, ...], spans: tuple[int, ...]) -> list[int] | None:
    """For each column the cell it has, or -1; None when there is no way or more than one.

    Groups are read as filled or empty as a whole if that is possible. Ways that differ only in
    which empty cell is whose are one: the columns are empty either way.
    """
    if len(empty) > _WIDEST:
        return None
    for mixed in (False, True):
        ways = _ways(empty, spans, mixed=mixed)
        if ways:
            return ways[0] if ways[0] == ways[1] else None
    return None


def _ways(empty: tuple[bool, ...], spans: tuple[int, ...], *, mixed: bool) -> list[list[int]]:
    """The first and the last way to give cells to groups; none when there is none.

    Args:
        mixed: A group may have figures and empty cells beside each other.
    """

    def is_full(span: int, cell: int) -> bool:
        own = empty[cell : cell + spans[span]]
        whole = len(own) == spans[span] and (mixed or all(own) or not any(own))
        return whole and fits(span + 1, cell + spans[span])

    def is_absent(span: int, cell: int) -> bool:
        return empty[cell] and fits(span + 1, cell + 1)

    @cache
    def fits(span: int, cell: int) -> bool:
        if span == len(spans) or cell >= len(empty):
            return span == len(spans) and cell == len(empty)
        return is_full(span, cell) or is_absent(span, cell)

    def way(*, full_first: bool) -> list[int]:
        places, cell = list[int](), 0
        for span, columns in enumerate(spans):
            if is_full(span, cell) and (full_first or not is_absent(span, cell)):
                places += [-1 if empty[c] else c for c in range(cell, cell + columns)]
                cell += columns
            else:
                places += [-1] * columns
                cell += 1
        return places

    return [way(full_first=True), way(full_first=False)] if fits(0, 0) else []
