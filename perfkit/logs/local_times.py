"""Moments that a VPN printed, from text to values.

Programs such as VPNs print most times in the zone of the host and do not say which that is.
Unless the caller does, such times are taken as UTC, and `LOCAL_TIME` is the note that says so; Unix
times (`time_t`) are preferred.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pandas as pd

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


@functools.lru_cache(maxsize=4096)  # many lines of a log have the same second
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
