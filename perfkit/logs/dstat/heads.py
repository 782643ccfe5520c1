"""The heads in a monitor's CSV: where each block starts, who wrote it, which columns it has.

Every start of the tool puts a head into the file: banner (only into a new file), host, command
line with the date, group titles, column names. Titles and names alone are a change of columns in
a run that goes on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from perfkit.logs.dstat.command import asks_for_bits, tool_of

TIMES = frozenset({"time", "date/time"})
EPOCH = "epoch"
_BANNER = re.compile(r"(?i)(pcp-dstat|dstat|dool) *v?([0-9.]*).*csv output")
_MISSED = re.compile(r"(?i)missed \d+ ticks?")  # what pcp-dstat says of itself, no column's name
_HEAD_WORDS = ("author:", "host:", "cmdline:")
_UNQUOTED = re.compile(r',[^",]')
_BITS_SINCE = (1, 3)  # dool's version
_LONGEST_NUMBER = 9
_LINE_FEED = 10
_LONGEST_LINE = 100_000  # csv takes no cell over 131,072


@dataclass(slots=True)
class CsvBlock:
    """Rows of one set of columns: the head they are under, and where they lie in the file.

    Attributes:
        goes_on: The head had no host line, so these rows follow those of the block before.
        has_banner: The head has a banner of its own: tool and version are this run's.
        start, end: The rows, as offsets in the file.
    """

    tool: str = "dstat"
    version: tuple[int, ...] = ()
    host: str = ""
    command: str = ""
    date: str = ""
    titles: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    goes_on: bool = False
    has_banner: bool = False
    start: int = 0
    end: int = 0

    @property
    def in_bits(self) -> bool:
        """Whether byte rates are in bits: dool writes them so since 1.3 unless told otherwise.

        Before that, and in dstat and pcp-dstat always, `--bits` changes the screen and not the CSV.
        """
        if self.tool != "dool" or (self.version and self.version < _BITS_SINCE):
            return False
        return asks_for_bits(self.command) is not False

    @property
    def guess(self) -> str:
        """What `in_bits` rests on where the head leaves it open; empty where it does not."""
        if self.tool != "dool" or asks_for_bits(self.command) is False:
            return ""
        unit = "bits" if self.in_bits else "bytes"
        if not self.version:
            return (
                f"dool's version is not known: rates are taken as {unit}, as dool 1.3 writes them"
            )
        if not self.in_bits and not self.has_banner:
            version = ".".join(map(str, self.version))
            return f"a run without a banner is taken for dool {version} too: rates are {unit}"
        if self.in_bits and not self.command:
            return f"the head has no command line: rates are taken as {unit}, dool's own choice"
        return ""

    @property
    def in_kib(self) -> bool:
        """Whether memory and disks are in KiB, as pcp's metrics are.

        A pcp banner over dstat's own titles is a file that someone put together.
        """
        return self.tool == "pcp-dstat" and "total cpu usage" not in self.titles

    def keys(self) -> list[tuple[str, str]]:
        """(group, name) of each column; a title spans the empty cells after it."""
        keys, title = [], ""
        for place, name in enumerate(self.names):
            if place < len(self.titles) and self.titles[place]:
                title = self.titles[place]
            group, _, own = name.rpartition(":")  # dstat 0.7.3 and dool may write net/eth0:recv
            keys.append((group or title, own or name))
        return keys

    def spans(self) -> list[int]:
        """How many columns each group has, in order."""
        starts = [p for p in range(len(self.names)) if p < len(self.titles) and self.titles[p]]
        borders = [*dict.fromkeys([0, *starts]), len(self.names)]
        return [end - start for start, end in pairwise(borders)]


def find_blocks(data: bytes) -> Iterator[CsvBlock]:
    """The blocks in their order; a head belongs to the rows after it."""
    lines = list(_head_lines(data))
    head, pending, is_first = CsvBlock(), list[list[str]](), True
    starts = [*(start for start, _, _ in lines), len(data)]
    for (_, end, cells), rows_end in zip(lines, starts[1:], strict=True):
        banner = _BANNER.match(cells[0])
        if banner:
            numbers = (n for n in banner[2].split(".") if n)
            version = tuple(int(n[:_LONGEST_NUMBER]) for n in numbers)
            head = CsvBlock(tool=banner[1].lower(), version=version, has_banner=True)
            is_first = True
        elif cells[0].lower().startswith(_HEAD_WORDS):
            if not is_first:
                head = replace(head, command="", date="", has_banner=False)
            _read_head(head, cells)
            is_first = True
        else:
            pending.append(cells)
        if pending and (rows_end == len(data) or data[end:rows_end].strip()):
            head.names = pending[-1]
            head.titles = pending[-2] if len(pending) > 1 else []
            head.start, head.end, head.goes_on = end, rows_end, not is_first
            yield head
            head, pending, is_first = replace(head, titles=[], names=[]), [], False


def _head_lines(data: bytes) -> Iterator[tuple[int, int, list[str]]]:
    """Start, end and cells of each head line: it begins with a quote, and all its cells have one.

    pcp-dstat quotes text in rows as well; a row has figures beside it.
    """
    start = 0 if data.startswith(b'"') else _next_quoted(data, 0)
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        text = data[start : min(end, start + _LONGEST_LINE)].decode("utf-8", "replace").strip()
        cells = [cell.strip() for cell in next(csv.reader([text], strict=False), [""])]
        while len(cells) > 1 and not cells[-1]:
            cells.pop()
        spoken = _BANNER.match(cells[0]) or cells[0].lower().startswith(_HEAD_WORDS)
        if spoken or not (_UNQUOTED.search(text) or _MISSED.fullmatch(cells[0])):
            yield start, end, cells
        start = _next_quoted(data, end - 1)


def _next_quoted(data: bytes, position: int) -> int:
    """Where the next line that begins with a quote starts; the end if there is none."""
    quote = data.find(b'"', position + 1)  # rows have none as a rule, and one byte is found fast
    if quote < 0 or data[quote - 1] == _LINE_FEED:
        return quote if quote >= 0 else len(data)
    return data.find(b'\n"', quote) + 1 or len(data)


def _read_head(head: CsvBlock, cells: list[str]) -> None:
    for key, value in pairwise(cells):
        if key.lower() == "host:":
            head.host = value
        elif key.lower() == "date:":
            head.date = value
        elif key.lower() == "cmdline:":
            head.command = value
            _read_tool(head, tool_of(value))


def _read_tool(head: CsvBlock, tool: str) -> None:
    """The tool of a run without a banner: another one may have appended to the file."""
    if head.has_banner or not tool or tool == head.tool:
        return
    if (tool, head.tool) != ("dstat", "pcp-dstat"):  # which may be called dstat
        head.tool, head.version = tool, ()
