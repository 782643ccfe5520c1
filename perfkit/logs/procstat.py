"""procstat.csv, one process's CPU time and memory once a second: bytes in, `process` frame out.

Earlier versions wrote no `pss_bytes`.
"""

from __future__ import annotations

import math

from perfkit.logs.headed import LARGEST, Cells, Row, sampled

_EARLIER_HEAD = b"epoch,pid,cpu_s,rss_bytes"


def _row(cells: Cells) -> Row:
    epoch, pid, *used = map(float, cells[:4])
    used += [float(cell) for cell in cells[4:] if cell.strip()]
    if not 0 < pid < LARGEST or not all(0 <= figure < LARGEST for figure in used):
        raise ValueError(cells)
    return epoch, pid, *used, *[math.nan] * (3 - len(used))


FORMAT = sampled("procstat", "process", _EARLIER_HEAD, _EARLIER_HEAD + b",pss_bytes", row=_row)
