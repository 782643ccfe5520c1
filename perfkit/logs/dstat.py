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
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import LogError, ParseError, TruncatedError
from perfkit.logs import frames
from perfkit.logs.arrowtext import to_categories
from perfkit.logs.dstat_heads import EPOCH, TIMES, Block, find_blocks
from perfkit.logs.dstat_resaved import is_resaved, restore
from perfkit.logs.dstat_rows import Table, read_rows
from perfkit.logs.format import Format, Reading, UnparsedLines
from perfkit.logs.stamps import Intervals, find_zone, from_epoch, from_printed, intervals
from perfkit.units import BINARY_PREFIXES, BITS_PER_BYTE, NS_PER_S

_CPU = {
    "usr": "user", "sys": "system", "idl": "idle", "wai": "wait",
    "stl": "steal", "hiq": "hardirq", "siq": "softirq",
}  # fmt: skip
_MEMORY = {"buff": "buffers", "buf": "buffers", "cach": "cache", "avai": "available"}
_DISK = {"read": "read", "writ": "write"}
_QUOTED_START = (b'"dstat ', b'"dool ', b'"pcp-dstat ', b'"host:"', b'"cmdline:"')
# ----system---- ----total-cpu-usage---- or, by dool, with box-drawing lines.
_SCREEN = re.compile(
    r"(?m)^(?=[^\n]*(?:usage|system|dsk/|net/|paging|load-avg|procs|swap))"
    r"[-─]{1,20}[a-z0-9/─-]{1,60}(?:[ ┬][a-z0-9/ ─┬-]{1,400})?\s*\n[^\n]{0,400}[|│]"
)
_SCREEN_BYTES = 2000


@dataclass(slots=True)
class _State:
    """What is collected on the way through a file, and what the next block must know."""

    zone: tzinfo | None
    year: int
    unparsed: UnparsedLines = field(default_factory=UnparsedLines)
    notes: list[str] = field(default_factory=list)
    misfits: list[tuple[int, str, int, int]] = field(default_factory=list)
    last_ns: int = 0  # the stamp of the last row, and the step before it
    step_ns: int = 0


def sniff(head: bytes) -> bool:
    """Whether the first bytes are the CSV of dstat, dool or pcp-dstat, or their screen output.

    The CSV may lack its banner, or have been saved again by a spreadsheet.
    """
    start = head.lstrip()[:400]
    return start.lower().startswith(_QUOTED_START) or is_resaved(start) or _is_screen(head)


def parse(data: bytes, path: Path, *, zone: str = "", year: int = 0) -> Reading:
    """Read one file.

    Args:
        zone: The zone of printed times, `Europe/Helsinki` or `+0200`, where the head does not say
            it or says it wrongly; epochs are UTC whatever it is.
        year: The year of the first printed time, where the head has none.

    Returns:
        A `monitor` frame in the order of the rows; a file with heads and no rows is an empty
        frame and a note. Columns perfkit has no name for are kept as `other:<group>/<name>`;
        columns of text (a process's name) are left out and noted.

    Raises:
        TruncatedError: the file is empty.
        ParseError: no line names the columns; no row has as many cells as there are names, so
            that none can be told apart; it is screen output.
        LogError: there is no such zone.
    """
    if not data.strip():
        raise TruncatedError(path, "the file is empty: the monitor never wrote to it")
    state = _State(_zone(zone, path), year)
    if is_resaved(data[:400]):
        data = restore(data)
        state.notes.append("a spreadsheet saved this file again: figures may have been rounded")
    elif not data.lstrip().startswith(b'"') and _is_screen(data):
        raise ParseError(
            path, 1, _text(data[:200]), "screen output, rounded; run the monitor with --output FILE"
        )
    cut = not data.endswith(b"\n")
    if cut:
        data = _without_last_line(data, state)
    parts = [
        _read_block(data, block, number, state) for number, block in enumerate(find_blocks(data))
    ]
    if not parts:
        raise ParseError(path, 1, _text(data[:200]), "no line names columns")
    frame = _together(parts, state)
    if frame.empty and state.misfits:
        line_no, line, cells, width = state.misfits[0]
        raise ParseError(
            path, line_no, line, f"{cells} cells under {width} names: which is which cannot be told"
        )
    return Reading(
        path=path,
        format="dstat",
        kind="monitor",
        frame=frame,
        unparsed=state.unparsed.result(),
        notes=tuple(dict.fromkeys(state.notes)),
        partial=cut,
    )


FORMAT = Format(name="dstat", kind="monitor", sniff=sniff, parse=parse)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _zone(name: str, path: Path) -> tzinfo | None:
    try:
        return find_zone(name) if name else None
    except ValueError as exc:
        raise LogError(path, str(exc)) from exc


def _is_screen(head: bytes) -> bool:
    return bool(_SCREEN.search(_text(head[:_SCREEN_BYTES])))


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
    runs = sum(part.attrs.pop("is_start") for part in parts)
    if runs > 1:
        state.notes.append(f"{runs} runs of the monitor in one file")
    if len(parts) > runs:
        state.notes.append(f"the columns changed {len(parts) - runs} times while it ran")
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(host=frame["host"].astype("str").astype("category"))
