"""procstat.csv, one process's CPU time and memory once a second: bytes in, `process` frame out.

Earlier versions wrote no `pss_bytes`.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import to_categories
from perfkit.logs.format import Format, Reading
from perfkit.logs.headed import has_head, lines_below, parsed
from perfkit.logs.timestamps import from_epoch

_EARLIER_HEAD = b"epoch,pid,cpu_s,rss_bytes"
_HEAD = _EARLIER_HEAD + b",pss_bytes"
_HEADS = (_EARLIER_HEAD, _HEAD)
_LARGEST = 2**53  # integers a float holds exactly


def sniff(head: bytes) -> bool:
    """Whether the first line is the head perfkit's own sampler writes."""
    return has_head(head, *_HEADS)


def parse(data: bytes, path: Path) -> Reading:
    """Read one file; `host` is empty, the file does not say it.

    Raises:
        ParseError: the first line is not the head.
    """
    head, lines = lines_below(data, path, *_HEADS)
    rows, unparsed = parsed(lines, partial(_row, has_pss=head == _HEAD))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    moments, notes = from_epoch(table[:, 0])
    frame = pd.DataFrame(
        {
            "host": to_categories(np.zeros(len(table), dtype=np.int8), [""]),
            "t_utc": pd.DatetimeIndex(moments, tz="UTC").as_unit("ns"),
            "pid": table[:, 1].astype(np.int64),
            "cpu_s": table[:, 2],
            "rss_bytes": table[:, 3],
            "pss_bytes": table[:, 4],
        }
    )
    return Reading(
        path=path,
        format="procstat",
        kind="process",
        frame=frame,
        unparsed=unparsed.result(),
        notes=notes,
        partial=not data.endswith(b"\n"),
    )


FORMAT = Format(name="procstat", kind="process", sniff=sniff, parse=parse)


def _row(line: bytes, *, has_pss: bool) -> tuple[float, ...] | None:
    """The five figures of a line; None when they are not figures a process can have."""
    fields = line.split(b",") if has_pss else [*line.split(b","), b""]
    try:
        epoch, pid, cpu_s, rss = map(float, fields[:4])
        (pss,) = (float(field) if field.strip() else math.nan for field in fields[4:])
    except ValueError:
        return None
    sound = 0 < pid < _LARGEST and 0 <= cpu_s < _LARGEST and 0 <= rss < _LARGEST
    sound = sound and (0 <= pss < _LARGEST or not fields[4].strip())
    return (epoch, pid, cpu_s, rss, pss) if sound and math.isfinite(epoch) else None
