"""queues.csv, what the queues of devices have dropped, once a second: bytes in, `queues` frame out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import to_categories
from perfkit.logs.format import Format, Reading
from perfkit.logs.headed import has_head, lines_below, parsed
from perfkit.logs.timestamps import from_epoch

_HEAD = b"epoch,device,drops"
_LARGEST = 2**53  # integers a float holds exactly
_LONGEST_NAME = 15  # of a device, IFNAMSIZ


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
    names = sorted({row[1] for row in rows})
    places = {name: place for place, name in enumerate(names)}
    frame = pd.DataFrame(
        {
            "host": to_categories(np.zeros(len(rows), dtype=np.int8), [""]),
            "t_utc": pd.DatetimeIndex(moments, tz="UTC").as_unit("ns"),
            "device": to_categories(np.array([places[r[1]] for r in rows], dtype=np.int32), names),
            "drops": np.array([row[2] for row in rows], dtype=np.int64),
        }
    )
    return Reading(
        path=path,
        format="queuestat",
        kind="queues",
        frame=frame,
        unparsed=unparsed.result(),
        notes=notes,
        partial=not data.endswith(b"\n"),
    )


FORMAT = Format(name="queuestat", kind="queues", sniff=sniff, parse=parse)


def _row(line: bytes) -> tuple[float, str, int] | None:
    """The three values of a line; None when a device cannot have them."""
    try:
        moment, device, drops = line.split(b",")
        epoch, name, count = float(moment), device.strip().decode("ascii"), int(drops)
    except ValueError:
        return None
    sound = 0 < len(name) <= _LONGEST_NAME and name.isprintable() and 0 <= count < _LARGEST
    return (epoch, name, count) if sound and math.isfinite(epoch) else None
