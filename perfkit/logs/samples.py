"""Observations that a test's own script prints, one a line: bytes in, `samples` frame out.

The head is `epoch,quantity,value,note`; a script of yours that prints it, and such lines, has figures
without a reader of its own::

    epoch,quantity,value,note
    1795350000.125,rtt_s,0.0312,unloaded
    1795350000.175,rtt_s,,loaded
    # server: 3 connections refused

`epoch` is in seconds since 1970; an empty value says that what was waited for did not come. `note` is a
word or a sentence, and ends with the line. A line that begins with `#` says what went wrong.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from perfkit.logs.format import Format, OtherLines, Reading
from perfkit.logs.headed import has_head, lines_below
from perfkit.logs.sample_rows import SampleRows
from perfkit.logs.timestamps import LATEST_EPOCH_S

_HEAD = b"epoch,quantity,value,note"
_NUMBER = rb"[0-9]{1,20}(?:\.[0-9]{0,12})?(?:[eE][-+]?[0-9]{1,3})?"
_ROW = re.compile(
    rb"(?P<epoch>%b),(?P<quantity>[a-z][a-z0-9_]{0,63}),(?P<value>%b|nan|),(?P<note>[^\n]{0,200})"
    % (_NUMBER, _NUMBER)
)
_SAID = re.compile(rb"#")


def sniff(head: bytes) -> bool:
    """Whether the first line is the head."""
    return has_head(head, _HEAD)


def parse(data: bytes, path: Path) -> Reading:
    """Read one log.

    Raises:
        ParseError: the first line is not the head.
    """
    _, lines = lines_below(data, path, _HEAD)
    other, rows = OtherLines(), SampleRows()
    cut = lines.pop() if lines else b""  # what follows the last line feed
    for line_no, line in enumerate(lines, start=2):
        row = _row(line)
        if row:
            rows.add(*row, line_no)
        elif line.strip():
            other.add(line_no, line, _SAID)
    if cut.strip():  # its last figure may lack digits
        other.unparsed.add(len(lines) + 2, cut)
    return Reading(
        path=path,
        format="samples",
        kind="samples",
        frame=rows.frame(),
        unparsed=other.unparsed.result(),
        messages=tuple(text.lstrip("# ") for text in other.messages),
        partial=not data.endswith(b"\n"),
    )


FORMAT = Format(name="samples", kind="samples", sniff=sniff, parse=parse)


def _row(line: bytes) -> tuple[float, str, float, str] | None:
    found = _ROW.fullmatch(line)
    if found is None:
        return None
    epoch, value = float(found["epoch"]), float(found["value"] or "nan")
    if not 0 < epoch < LATEST_EPOCH_S or math.isinf(value):
        return None
    return epoch, found["quantity"].decode(), value, found["note"].decode("utf-8", "replace")
