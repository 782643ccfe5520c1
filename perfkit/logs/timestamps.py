"""From the stamps a monitor printed to moments and intervals.

Moments are int64 nanoseconds since 1970 UTC. A stamp is the end of its row's interval, so the
first row gives only the start of the second.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfkit.logs.clock_changes import undo_changes
from perfkit.logs.recast import to_floats, to_whole
from perfkit.units import MS_PER_S, NS_PER_S

DAY_S = 86400
HOUR_NS = 3600 * NS_PER_S
_ZONES = ("UTC", "GMT", "Z")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_CLOCK = r"(?P<h>[0-9]{1,2}):(?P<m>[0-9]{2}):(?P<s>[0-9]{2})(?:\.(?P<f>[0-9]{1,6}))?\s*$"
_PRINTED = (  # the last two are a spreadsheet's
    r"^\s*(?P<day>[0-9]{1,2})-(?P<month>[0-9]{1,2}) " + _CLOCK,
    r"^\s*(?P<name>[A-Z][a-z]{2})-(?P<day>[0-9]{1,2}) " + _CLOCK,
    r"^\s*(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>[0-9]{4}) +" + _CLOCK,
    r"^\s*(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2}) +" + _CLOCK,
)
LATEST_EPOCH_S = 9.2e9  # what int64 nanoseconds can hold
_LATEST_YEAR = 2261


@dataclass(frozen=True, slots=True)
class Intervals:
    """What lies between stamps; arrays are one shorter than the stamps.

    Attributes:
        dt_s: Length of each row's interval, in seconds.
        missed: Ticks were missed before this row, so it covers more than one.
        keep: False where the clock went back.
        repair: Factor from a rate over the planned step to the rate over the real interval.
    """

    dt_s: NDArray[np.float64]
    missed: NDArray[np.bool_]
    keep: NDArray[np.bool_]
    repair: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def from_epoch(epoch_s: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Moments from seconds since 1970; a row without a readable one gets 0, so it is dropped.

    Args:
        epoch_s: Used up: the moments take its memory.
    """
    notes: tuple[str, ...] = ()
    least, most = epoch_s.min(initial=0.0), epoch_s.max(initial=0.0)
    if not -LATEST_EPOCH_S < least <= most < LATEST_EPOCH_S:
        unreadable = ~(np.abs(epoch_s) < LATEST_EPOCH_S)  # NaN is one
        epoch_s[unreadable] = 0.0
        notes = (f"{int(np.count_nonzero(unreadable))} rows have no readable epoch",)
    epoch_s *= MS_PER_S
    moments = to_whole(np.rint(epoch_s, out=epoch_s))
    moments *= NS_PER_S // MS_PER_S
    return moments, notes


@dataclass(slots=True)
class PrintedClock:
    """Where a run's printed times have come to, for the next block of its rows.

    Attributes:
        last_ns: The last time as it was printed, with its year; 0 = none yet.
        ahead_ns: How far changes of the clock have put it ahead since the run began.
    """

    last_ns: int = 0
    ahead_ns: int = 0


def from_printed(
    texts: Sequence[str | None],
    date: str,
    *,
    zone: tzinfo | None = None,
    year: int = 0,
    clock: PrintedClock | None = None,
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Moments from `22-11 12:33:13` (dstat) or `Nov-22 12:33:13` (dool): no year, no zone.

    A spreadsheet may have put the year in: `22.11.2026 12:33:13`, `2026-11-22 12:33:13`. The year
    goes on at each turn from December to January.

    Args:
        texts: A list, or Arrow strings.
        date: The head's date, `22 Nov 2026 12:33:24 UTC`; gives both. An abbreviation other than
            UTC is not a zone (CST is five of them): times are then taken as they are printed, and
            a change to or from summer time is taken out of them.
        zone: The zone of the times, if the caller knows it; it is taken before the head's.
        year: The year of the first time, if the caller knows it.
        clock: Of the run that these rows go on with; it is brought forward.

    Returns:
        None when no time can be placed; otherwise 0 for each row that cannot.
    """
    parts = _time_parts(texts)
    if parts is None:
        return None, (
            "the times cannot be read: changed by a spreadsheet, or of an unknown format",
        )
    words = date.split()
    began = _began(date)
    said = began.year if began else _year_in(words)
    if not (year or said or (parts["year"] > 0).all()):
        return None, ("times have no year and the head has no date: record with --epoch",)
    unread = int((~parts["sound"]).sum())
    notes = [f"{unread} rows have no readable time"] if unread else []
    clock = clock or PrintedClock()
    naive = _naive_ns(parts, _years(parts, year or said, None if year else began, clock))
    word = words[-1] if words else ""
    if zone is None:
        fixed, more = _zone_of(word)
        notes += more
        name = word if word.isalpha() else ""
        fixed_by: str | tzinfo = fixed if word[:1] in ("+", "-") else name
    else:
        fixed = fixed_by = zone
    ahead = np.zeros(len(naive), np.int64)
    if not isinstance(fixed, ZoneInfo) and (
        fixed is not UTC or (zone is None and word not in ("UTC", "Z"))
    ):
        ahead, more = _ahead(naive, fixed_by, began, clock)
        notes += more
    readable = parts["sound"] & (naive > 0)
    if readable.any():
        last = int(np.flatnonzero(readable)[-1])
        clock.last_ns, clock.ahead_ns = int(naive[last]), int(ahead[last])
    moments = _to_utc(naive - ahead, fixed, began, word)
    return np.where(readable, moments, 0), tuple(notes)


def _began(date: str) -> datetime | None:
    """When a head says that its run began, by the host's clock."""
    found = re.match(r"(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d)\b", date.strip())
    if not found or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(part) for part in found.group(1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second)
    except ValueError:
        return None


def _year_in(words: Sequence[str]) -> int:
    return next((int(word) for word in words if re.fullmatch(r"(19|20)\d\d", word)), 0)


def _years(
    parts: dict[str, NDArray[Any]], year: int, began: datetime | None, clock: PrintedClock
) -> NDArray[np.int64]:
    """The year of each time; it turns from December to January, also between head and first row."""
    month = parts["month"][0]
    if clock.last_ns:
        before = pd.Timestamp(clock.last_ns)
        year, month = before.year, before.month
    elif began:
        month = began.month
    turns = np.diff(parts["month"], prepend=month)
    years = year + np.cumsum((turns < -6).astype(int) - (turns > 6).astype(int))
    years = np.where(parts["year"] > 0, parts["year"], years)
    return np.asarray(np.clip(years, 1970, _LATEST_YEAR), dtype=np.int64)


def _ahead(
    naive_ns: NDArray[np.int64], zone: str | tzinfo, began: datetime | None, clock: PrintedClock
) -> tuple[NDArray[np.int64], list[str]]:
    """How far changes of the clock have put each time ahead, and what they were."""
    known = naive_ns[naive_ns > 0]
    first_ns = int(pd.Timestamp(began).as_unit("ns").value) if began else int(known[:1].sum())
    times = np.concatenate([[clock.last_ns], naive_ns])
    ahead_ns, notes = undo_changes(times, zone, first_ns)
    return ahead_ns[1:] + clock.ahead_ns, notes


def get_zone(name: str) -> tzinfo:
    """A time zone by its name (`Europe/Helsinki`, `UTC`) or offset (`+0200`).

    Raises:
        ValueError: there is none of that name.
    """
    if re.fullmatch(r"[+-]\d\d(:?\d\d)?", name):
        digits = name[1:].replace(":", "").ljust(4, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-offset if name[0] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(
            f"no time zone is called {name!r}; use a name such as Europe/Helsinki, or +0200"
        ) from exc


def _zone_of(word: str) -> tuple[tzinfo, list[str]]:
    """The zone at the end of a head's date."""
    if word in _ZONES:
        return UTC, []
    if re.fullmatch(r"[+-]\d\d(\d\d)?", word):
        return get_zone(word), []
    return UTC, [f"time zone {word!r} is ambiguous: times are taken as UTC as printed"]


def _time_parts(texts: Sequence[str | None]) -> dict[str, NDArray[Any]] | None:
    """Year (0 = none), month, day and time of each text; None if none is a time."""
    column = texts if isinstance(texts, pa.StringArray) else pa.array(list(texts), pa.string())
    plain = _plain_parts(column)
    if plain:
        return plain
    for pattern in _PRINTED:
        found = pc.extract_regex(column, pattern=pattern)
        sound = np.asarray(found.is_valid())
        if not sound.any():
            continue
        fields = {field.name for field in found.type}
        parts = {
            name: _whole(found.field(name)) if name in fields else np.zeros(len(sound), np.int64)
            for name in ("year", "month", "day", "h", "m", "s")
        }
        if "name" in fields:
            months = pc.index_in(found.field("name"), pa.array(_MONTHS, pa.string()))
            parts["month"] = np.asarray(pc.fill_null(months, -1), dtype=np.int64) + 1
        parts["ns"] = _whole(pc.utf8_rpad(pc.fill_null(found.field("f"), ""), 9, "0"))
        return _checked(parts, sound)
    return None


def _plain_parts(column: pa.StringArray) -> dict[str, NDArray[Any]] | None:
    """What all rows of a healthy dstat have, `22-11 12:33:13`, by place; None if one differs."""
    if column.null_count or not len(column) or column.offset:
        return None
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    if lengths != {"min": 14, "max": 14}:
        return None
    text = np.frombuffer(column.buffers()[2], np.uint8, 14 * len(column)).reshape(-1, 14)
    marks = (text[:, [2, 5, 8, 11]] == np.frombuffer(b"- ::", np.uint8)).all()
    digits = text[:, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]].astype(np.int64) - ord("0")
    if not marks or ((digits < 0) | (digits > 9)).any():
        return None
    pairs = digits[:, ::2] * 10 + digits[:, 1::2]
    parts = dict(zip(("day", "month", "h", "m", "s"), pairs.T, strict=True))
    nothing = np.zeros(len(text), np.int64)
    return _checked({**parts, "year": nothing, "ns": nothing}, np.ones(len(text), dtype=bool))


def _checked(
    parts: dict[str, NDArray[Any]], sound: NDArray[np.bool_]
) -> dict[str, NDArray[Any]] | None:
    sound &= (parts["month"] >= 1) & (parts["month"] <= 12)
    sound &= (parts["day"] >= 1) & (parts["day"] <= 31)
    sound &= (parts["h"] < 24) & (parts["m"] < 60) & (parts["s"] < 61)
    return {**parts, "sound": sound} if sound.any() else None


def _whole(text: pa.Array) -> NDArray[np.int64]:
    numbers = pc.if_else(pc.equal(pc.fill_null(text, ""), ""), "0", text).cast(pa.int64())
    return np.asarray(pc.fill_null(numbers, 0), dtype=np.int64)


def _naive_ns(parts: dict[str, NDArray[Any]], years: NDArray[np.int64]) -> NDArray[np.int64]:
    """Nanoseconds since 1970 as if printed in UTC; a day that its month does not have is 0."""
    months = (years - 1970) * 12 + parts["month"] - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    days = first + (parts["day"] - 1)
    seconds = parts["h"] * 3600 + parts["m"] * 60 + parts["s"]
    ns = (days.astype(np.int64) * DAY_S + seconds) * NS_PER_S + parts["ns"]
    return np.where(days.astype("datetime64[M]") == months.astype("datetime64[M]"), ns, 0)


def _to_utc(
    naive_ns: NDArray[np.int64], zone: tzinfo, began: datetime | None, word: str
) -> NDArray[np.int64]:
    """Local times to UTC; an hour that comes twice is summer time until the clock goes back.

    A run that began in that hour says by the zone in its head which of the two it was.
    """
    if zone is UTC:
        return naive_ns
    back = (np.flatnonzero(np.diff(naive_ns) < 0) + 1).tolist()
    if (
        began
        and word
        == began.replace(tzinfo=zone, fold=1).tzname()
        != began.replace(tzinfo=zone).tzname()
    ):
        back = [0, *back]
    summer = np.ones(len(naive_ns), dtype=bool)
    for place in back:
        summer[place : np.searchsorted(naive_ns[place:], naive_ns[place] + 2 * HOUR_NS) + place] = 0
    local = pd.DatetimeIndex(naive_ns).tz_localize(
        zone, ambiguous=summer, nonexistent="shift_forward"
    )
    return np.asarray(
        local.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[ns]"), np.int64
    )


def intervals(t_ns: NDArray[np.int64], *, real_rates: bool) -> Intervals:
    """The intervals between stamps, which of them cover missed ticks, and how to mend rates.

    After a missed tick dstat and dool divide the counters of the whole gap by the planned step.
    With stamps finer than a second every rate is brought to its real interval; whole seconds
    cannot tell 0.6 s from 1.4 s, so then only gaps are mended.

    Args:
        real_rates: The tool divides by the real interval itself (pcp).
    """
    dt = to_floats(np.diff(t_ns))
    dt /= NS_PER_S
    least, most = dt.min(initial=np.inf), dt.max(initial=0.0)
    if most <= 0:
        empty = np.zeros(len(dt), dtype=bool)
        return Intervals(dt, empty, empty.copy(), np.ones(len(dt)), _went_back(len(dt)))
    if least == most:  # as most logs are: nothing to look for
        fine = bool(t_ns[0] % NS_PER_S) or not float(dt[0]).is_integer()
        factor = 1.0 if real_rates or not fine else max(round(dt[0]), 1) / dt[0]
        none = np.zeros(len(dt), dtype=bool)
        return Intervals(dt, none, ~none, np.broadcast_to(factor, len(dt)))
    fine = bool(t_ns[0] % NS_PER_S) or bool((np.rint(dt) != dt).any())
    delay = float(np.median(dt[dt > 0]))
    if not fine:
        _level_jitter(dt, delay)
    missed, keep = dt > 1.5 * delay, dt > 0
    step = max(round(delay), 1)
    mend = (missed | (keep & fine)) & (not real_rates)
    repair = np.divide(step, dt, out=np.ones(len(dt)), where=mend)
    notes = _went_back(int((~keep).sum()))
    if missed.any():
        # The tool catches up: a short interval follows a long one, so all of them are counted.
        lost = max(round(dt[keep].sum() / delay) - int(keep.sum()), int(missed.sum()))
        rates = "rates are the tool's own" if real_rates else "rates repaired"
        notes += (f"{lost} ticks missed in {int(missed.sum())} places; {rates}",)
    return Intervals(dt, missed, keep, repair, notes)


def _went_back(rows: int) -> tuple[str, ...]:
    return (f"{rows} rows dropped: the clock went back or stood still",) if rows else ()


def _level_jitter(dt: NDArray[np.float64], delay: float) -> None:
    """Whole-second stamps of a tick near the turn of the second read 0 s, and elsewhere 2 s.

    Each 0 is paired with its nearest double step; both become one step. In place.
    """
    stood = np.flatnonzero(dt == 0).tolist()
    doubles = np.flatnonzero(np.isclose(dt, 2 * delay)).tolist() if stood else []
    for place in stood:
        if not doubles:
            return
        after = bisect_left(doubles, place)
        before = after > 0 and (
            after == len(doubles) or place - doubles[after - 1] <= doubles[after] - place
        )
        nearest = doubles.pop(after - before)
        dt[place] = dt[nearest] = delay
