"""nic.csv, what a cloud's limits on a network card have held back, once a second: `limits` frame out.

Amazon's ENA driver counts packets that were queued or dropped because the instance exceeded what its
type may have: bandwidth in and out, packets a second, tracked connections, traffic to local services.

Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-network-performance-ena.html
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import to_categories
from perfkit.logs.format import Format, Reading
from perfkit.logs.headed import has_head, lines_below, parsed
from perfkit.logs.timestamps import from_epoch

_HEAD = b"epoch,device,counter,count"
_LARGEST = 2**53  # integers a float holds exactly
_LONGEST_NAME = 15  # of a device, IFNAMSIZ
_COUNTER = re.compile(r"[a-z0-9_]{1,13}_allowance_exceeded")  # of ethtool's 32 characters


def sniff(head: bytes) -> bool:
    """Whether the first line is the head perfkit's own sampler writes."""
    return has_head(head, _HEAD)


def parse(data: bytes, path: Path) -> Reading:
    """Read one file; `host` is empty, the file does not say it.

    Raises:
        ParseError: the first line is not the head.
    """
    rows, unparsed = parsed(lines_below(data, path, _HEAD)[1], _row)
    moments, notes = from_epoch(np.array([row[0] for row in rows], dtype=np.float64))
    frame = pd.DataFrame(
        {
            "host": to_categories(np.zeros(len(rows), dtype=np.int8), [""]),
            "t_utc": pd.DatetimeIndex(moments, tz="UTC").as_unit("ns"),
            "device": _categories([row[1] for row in rows]),
            "counter": _categories([row[2] for row in rows]),
            "count": np.array([row[3] for row in rows], dtype=np.int64),
        }
    )
    return Reading(
        path=path,
        format="nicstat",
        kind="limits",
        frame=frame,
        unparsed=unparsed.result(),
        notes=notes,
        partial=not data.endswith(b"\n"),
    )


FORMAT = Format(name="nicstat", kind="limits", sniff=sniff, parse=parse)


def _categories(texts: list[str]) -> pd.Categorical:
    names = sorted(set(texts))
    places = {name: place for place, name in enumerate(names)}
    return to_categories(np.array([places[text] for text in texts], dtype=np.int32), names)


def _row(line: bytes) -> tuple[float, str, str, int] | None:
    """The four values of a line; None when a card cannot have them."""
    try:
        moment, device, counter, count = (cell.decode("ascii") for cell in line.split(b","))
        epoch, name, number = float(moment), device.strip(), int(count)
    except ValueError:
        return None
    sound = 0 < len(name) <= _LONGEST_NAME and name.isprintable() and 0 <= number < _LARGEST
    sound = sound and math.isfinite(epoch) and _COUNTER.fullmatch(counter.strip()) is not None
    return (epoch, name, counter.strip(), number) if sound else None
