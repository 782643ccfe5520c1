"""queues.csv, what the queues of devices have dropped, once a second: bytes in, `queues` frame out."""

from __future__ import annotations

from perfkit.logs.headed import Cells, Row, count, device, sampled


def _row(cells: Cells) -> Row:
    return float(cells[0]), device(cells[1]), count(cells[2])


FORMAT = sampled("queuestat", "queues", b"epoch,device,drops", row=_row)
