"""Cells of a VPN's log: end points and Unix times from text to values, and rows to a frame."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import frame_of, text_categories
from perfkit.logs.frames import get_columns
from perfkit.units import NS_PER_S

_TRANSPORT = re.compile(r"(?:udp|tcp)[46]?(?:-server|-client)?:")
_LONGEST_ADDRESS = 80


def read_time_t(text: str) -> pd.Timestamp | None:
    """A moment from seconds since 1970, with or without a fraction; None if it is none."""
    whole, _, fraction = text.strip().partition(".")
    if not re.fullmatch(r"[0-9]{1,10}", whole) or not re.fullmatch(r"[0-9]{0,9}", fraction):
        return None
    if int(whole) >= 9_200_000_000:
        return None
    return pd.Timestamp(int(whole) * NS_PER_S + int(fraction.ljust(9, "0")), unit="ns", tz="UTC")


def split_end_point(text: str) -> tuple[str, int] | None:
    """Address and port of a peer; port 0 when none is printed, as with IPv6 up to 2.6.

    `10.77.0.2:50148`, `fd77::5`, `[fd77::5]:1194`, `[AF_INET6]::ffff:10.77.0.2:50148`,
    `udp4:10.77.0.2:50148` (2.7). An IPv4 address mapped into IPv6 is the IPv4 address.

    Returns:
        None when it is no address.
    """
    text = text.strip()[:_LONGEST_ADDRESS].removeprefix("[AF_INET]")
    internet6 = text.startswith("[AF_INET6]")
    text = _TRANSPORT.sub("", text.removeprefix("[AF_INET6]"), count=1)
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1 or internet6:  # after [AF_INET6] the port is always there
        address, _, port = text.rpartition(":")
    else:
        address, port = text, ""
    known = _address(address)
    if known is None and not port:  # ::ffff:10.77.0.2:50148
        address, _, port = text.rpartition(":")
        known = _address(address)
    if known is None or not re.fullmatch(r"[0-9]{0,5}", port):
        return None
    return known, int(port or 0)


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def to_frame(rows: Sequence[Mapping[str, Any]], kind: str) -> pd.DataFrame:
    """Rows as a frame of a kind, each column in the type it is declared with.

    A column that need not be there is, if a row has it; what a row lacks is NaN, NaT or empty.
    """
    seen = {name for row in rows for name in row}
    columns: dict[str, Any] = {}
    for column in get_columns(kind):
        if column.name not in seen and not column.required:
            continue
        values = [row.get(column.name) for row in rows]
        match column.dtype:
            case "text":
                columns[column.name] = text_categories([value or "" for value in values])
            case "time":
                columns[column.name] = pd.DatetimeIndex(values, dtype="datetime64[ns, UTC]")
            case "int":
                columns[column.name] = np.array(values, dtype=np.int64)
            case _:
                columns[column.name] = np.array(values, dtype=np.float64)
    return frame_of(columns)
