"""A monitor's CSV that a spreadsheet saved again, back to what the tool wrote.

A spreadsheet takes the quotes away, fills every line with empty cells, and where decimals have
commas it separates with semicolons. What it rounded (`6.25E+11`) stays rounded.
"""

from __future__ import annotations

import csv
import re

_FIRST_CELL = rb"(?:(?:pcp-dstat|dstat|dool) [0-9.]*[^\n;\t,\"]{0,40}csv output|Host:|Cmdline:)"
_START = re.compile(
    rb"\s*(?:" + _FIRST_CELL + rb"[;,\t\n]|\"" + _FIRST_CELL + rb"\"[;\t])", re.IGNORECASE
)
_LONGEST_LINE = 100_000  # csv takes no cell over 131,072
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")
_FIGURE_OR_TIME = re.compile(
    r"-?[0-9]+(?:[.,:/-].*)?|-?[0-9.]+[eE][+-]?[0-9]+|[A-Z][a-z]{2}-[0-9]{2} .*"
)


def is_resaved(head: bytes) -> bool:
    """Whether a file begins as a monitor's CSV does, but with other quotes or separators."""
    return bool(_START.match(head[:400]))


def restore(data: bytes) -> bytes:
    """The file in the tool's own form, line for line, so that line numbers stay."""
    lines = data.decode("utf-8", "replace").split("\n")
    separator = _separator(lines)
    width = 0
    restored = []
    for line in lines:
        short = line[:_LONGEST_LINE]
        cells = [cell.strip() for cell in next(csv.reader([short], delimiter=separator), [])]
        filled = len(cells) - next((n for n, c in enumerate(reversed(cells)) if c), len(cells))
        if not filled:
            restored.append("")
        elif _FIGURE_OR_TIME.fullmatch(cells[0]):
            row = cells[: max(width, filled)]
            restored.append(",".join(_point(cell) for cell in row))
        else:
            width = filled  # the names of the columns are the last line of a head
            restored.append(",".join(f'"{cell}"' if cell else "" for cell in cells[:filled]))
    return "\n".join(restored).encode()


def _separator(lines: list[str]) -> str:
    head = "\n".join(lines[:12])
    return max(",;\t", key=lambda separator: (head.count(separator), separator != ","))


def _point(cell: str) -> str:
    if _DECIMAL_COMMA.fullmatch(cell):
        return cell.replace(",", ".")
    return cell.replace(",", " ")
