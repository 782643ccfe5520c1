"""Files whose first line is a known head, as perfkit's own samplers write: bytes in, frame out.

The head names the columns: the moment of a sample, and then columns of its frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perfkit.errors import ParseError
from perfkit.logs.arrow_text import to_categories
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.frames import find_column
from perfkit.logs.timestamps import from_epoch

LARGEST = 2**53  # integers a float holds exactly
_LONGEST_NAME = 15  # of a device, IFNAMSIZ
Cells = Sequence[bytes]
Row = tuple[Any, ...]  # epoch, and the values of the other columns


def has_head(data: bytes, *heads: bytes) -> bool:
    """Whether the first line is one of these heads."""
    return data.split(b"\n", 1)[0].strip() in heads


def lines_below(data: bytes, path: Path, *heads: bytes) -> tuple[bytes, list[bytes]]:
    """The head and the lines below it; the first of them is line 2.

    Raises:
        ParseError: the first line is none of these heads; the last of them is the one expected.
    """
    first, *lines = data.split(b"\n")
    if first.strip() not in heads:
        shown = first[:200].decode("utf-8", "replace")
        raise ParseError(path, 1, shown, f"{heads[-1].decode()} expected")
    return first.strip(), lines


def sampled(name: str, kind: str, *heads: bytes, row: Callable[[Cells], Row]) -> Format:
    """The format of a file of one of perfkit's samplers.

    Args:
        kind: Of the frame; `host` is empty, the file does not say it.
        heads: Of all versions, the newest last; what an earlier one has not is an empty cell.
        row: The values of a line's cells. Raises ValueError where they cannot be what they stand for.
    """

    def parse(data: bytes, path: Path) -> Reading:
        head, lines = lines_below(data, path, *heads)
        rows, unparsed = _parsed(lines, head.count(b","), heads[-1].count(b","), row)
        names = heads[-1].decode().split(",")
        epoch, *columns = zip(*rows, strict=True) if rows else [()] * len(names)
        moments, notes = from_epoch(np.array(epoch, dtype=np.float64))
        frame = pd.DataFrame(
            {
                "host": to_categories(np.zeros(len(rows), dtype=np.int8), [""]),
                "t_utc": pd.DatetimeIndex(moments, tz="UTC").as_unit("ns"),
                **{
                    column: _column(kind, column, values)
                    for column, values in zip(names[1:], columns, strict=True)
                },
            }
        )
        return Reading(
            path=path,
            format=name,
            kind=kind,
            frame=frame,
            unparsed=unparsed.result(),
            notes=notes,
            partial=not data.endswith(b"\n"),
        )

    return Format(name=name, kind=kind, sniff=lambda head: has_head(head, *heads), parse=parse)


def count(cell: bytes) -> int:
    """A counter's figure.

    Raises:
        ValueError: it is none.
    """
    if not 0 <= (figure := int(cell)) < LARGEST:
        raise ValueError(cell)
    return figure


def device(cell: bytes) -> str:
    """The name of an interface.

    Raises:
        ValueError: the kernel gives none such.
    """
    name = cell.strip().decode("ascii")
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(name)
    return name


def _parsed(
    lines: Cells, commas: int, most_commas: int, row: Callable[[Cells], Row]
) -> tuple[list[Row], UnparsedLines]:
    """A row a line that is one, and the others; empty lines are neither.

    What follows the last line feed is no row: half of a count is a count too.
    """
    rows, unparsed = list[Row](), UnparsedLines()
    absent = [b""] * (most_commas - commas)
    for line_no, line in enumerate(lines, start=2):
        is_whole = line_no <= len(lines) and line.count(b",") == commas
        try:
            values = row([*line.split(b","), *absent]) if is_whole else (math.nan,)
        except ValueError:
            values = (math.nan,)
        if math.isfinite(values[0]):
            rows.append(values)
        elif line.strip():
            unparsed.add(line_no, line)
    return rows, unparsed


def _column(kind: str, name: str, values: Sequence[Any]) -> Any:
    spec = find_column(kind, name)
    if spec is not None and spec.dtype == "text":
        codes, names = pd.factorize(np.array(values, dtype=object), sort=True)
        return to_categories(codes, list(names))
    is_whole = spec is not None and spec.dtype == "int"
    return np.array(values, dtype=np.int64 if is_whole else np.float64)
