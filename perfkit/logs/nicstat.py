"""nic.csv, what a cloud's limits on a network card have held back, once a second: `limits` frame out.

Amazon's ENA driver counts packets that were queued or dropped because the instance exceeded what its
type may have: bandwidth in and out, packets a second, tracked connections, traffic to local services.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-network-performance-ena.html
"""

from __future__ import annotations

import re

from perfkit.logs.headed import Cells, Row, count, device, sampled

_COUNTER = re.compile(r"[a-z0-9_]{1,13}_allowance_exceeded")  # of ethtool's 32 characters


def _row(cells: Cells) -> Row:
    counter = cells[2].strip().decode("ascii")
    if not _COUNTER.fullmatch(counter):
        raise ValueError(counter)
    return float(cells[0]), device(cells[1]), counter, count(cells[3])


FORMAT = sampled("nicstat", "limits", b"epoch,device,counter,count", row=_row)
