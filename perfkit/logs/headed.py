"""Files whose first line is a known head, as perfkit's own samplers write: bytes in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from perfkit.errors import ParseError
from perfkit.logs.format import UnparsedLines

Row = TypeVar("Row")


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


def parsed(
    lines: Sequence[bytes], parse_row: Callable[[bytes], Row | None]
) -> tuple[list[Row], UnparsedLines]:
    """A row a line that is one, and the others; empty lines are neither.

    What follows the last line feed is no row: half of a count is a count too.

    Args:
        lines: All below the head, see `lines_below`.
    """
    rows, unparsed = list[Row](), UnparsedLines()
    for line_no, line in enumerate(lines[:-1], start=2):
        row = parse_row(line)
        if row is not None:
            rows.append(row)
        elif line.strip():
            unparsed.add(line_no, line)
    if lines and lines[-1].strip():
        unparsed.add(len(lines) + 1, lines[-1])
    return rows, unparsed
