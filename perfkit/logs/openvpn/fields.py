"""What OpenVPN's files share: end points and moments, from text to values, and rows to frames.

OpenVPN prints most times in the zone of its host and does not say which that is. Unless the
caller does, such times are taken as UTC, and `LOCAL_TIME` is the note that says so; Unix times
(`time_t`) are preferred.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import to_categories
from perfkit.logs.frames import get_columns
from perfkit.units import NS_PER_S

LOCAL_TIME = "times are the host's local ones, printed without a zone: taken as UTC"
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,6}))?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_CTIME = re.compile(
    r"[A-Z][a-z]{2} +([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})"
)
_MOST_MINUTES = 24 * 60 - 1  # what Python takes for a zone
_LATEST_YEAR = 2261  # what int64 nanoseconds can hold
_TRANSPORT = re.compile(r"(?:udp|tcp)[46]?(?:-server|-client)?:")
_LONGEST_ADDRESS = 80


def read_moment(
    text: str, microseconds: int = 0, *, zone: tzinfo = UTC, fold: int = 0
) -> pd.Timestamp | None:
    """A moment from `2026-11-22 13:15:50` (2.5 and later) or `Sun Jan 1 23:42:00 2012` (ctime).

    Args:
        zone: Of a time that was printed without one.
        fold: 1 = the second of two equal times, where a clock was put back.

    Returns:
        The moment in UTC; None if the text is none.
    """
    text = text.strip()
    iso, ctime = _ISO.fullmatch(text), _CTIME.fullmatch(text)
    if iso:
        year, month, day, hour, minute, second = (int(part) for part in iso.groups()[:6])
        microseconds = int(iso[7].ljust(6, "0")) if iso[7] else microseconds
        zone = _printed_zone(iso[8]) if iso[8] else zone
    elif ctime and ctime[1] in _MONTHS:
        month, year = _MONTHS[ctime[1]], int(ctime[6])
        day, hour, minute, second = (int(ctime[place]) for place in (2, 3, 4, 5))
    else:
        return None
    if not 1970 <= year <= _LATEST_YEAR:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, second, microseconds, zone, fold=fold)
        return pd.Timestamp(moment.astimezone(UTC)).as_unit("ns")
    except (ValueError, OverflowError):
        return None


def _printed_zone(text: str) -> tzinfo:
    """`Z` or `+02:00`."""
    if text == "Z":
        return UTC
    minutes = min(int(text[1:3]) * 60 + int(text[-2:]), _MOST_MINUTES)
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


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
                codes: dict[str, int] = {}
                places = [codes.setdefault(value or "", len(codes)) for value in values]
                columns[column.name] = to_categories(np.array(places, dtype=np.int64), list(codes))
            case "time":
                columns[column.name] = pd.DatetimeIndex(values, dtype="datetime64[ns, UTC]")
            case "int":
                columns[column.name] = np.array(values, dtype=np.int64)
            case _:
                columns[column.name] = np.array(values, dtype=np.float64)
    return pd.DataFrame(columns)
