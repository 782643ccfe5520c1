"""From the stamps a monitor printed to moments and intervals.

Moments are int64 nanoseconds since 1970 UTC. A stamp is the end of its row's interval, so the
first row gives only the start of the second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.units import MS_PER_S, NS_PER_S

DAY_S = 86400
_ZONES = {"UTC": "+0000", "GMT": "+0000", "Z": "+0000"}
_LATEST_EPOCH_S = 9.2e9  # what int64 nanoseconds can hold


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
    """Moments from seconds since 1970; a row without a readable one gets 0, so it is dropped."""
    readable = np.isfinite(epoch_s) & (np.abs(epoch_s) < _LATEST_EPOCH_S)
    bad = int((~readable).sum())
    ms = np.round(np.where(readable, epoch_s, 0.0) * MS_PER_S).astype(np.int64)
    notes = (f"{bad} rows have no readable epoch",) if bad else ()
    return ms * (NS_PER_S // MS_PER_S), notes


def from_printed(
    texts: Sequence[object], date: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Moments from `22-11 12:33:13` (dstat) or `Nov-22 12:33:13` (dool): no year, no zone.

    Args:
        date: The head's date, `22 Nov 2026 12:33:24 UTC`; gives both. An abbreviation other than
            UTC is not a zone (CST is five of them): times are then taken as they are printed.
    """
    words = date.split()
    year = next((word for word in words if re.fullmatch(r"(19|20)\d\d", word)), "")
    if not year or not len(texts):
        return None, ("times have no year: the head has no date; run the monitor with --epoch",)
    notes = []
    zone = words[-1]
    offset = _ZONES.get(zone)
    if re.fullmatch(r"[+-]\d\d(\d\d)?", zone):
        offset = f"{zone:0<5}"
    if offset is None:
        notes.append(f"time zone {zone!r} is ambiguous: times are taken as UTC as printed")
    day_first = bool(re.match(r"\s*\d", str(texts[0])))
    stamps = pd.to_datetime(
        pd.Series([f"{year} {str(text).strip()} {offset or '+0000'}" for text in texts]),
        format=f"%Y {'%d-%m' if day_first else '%b-%d'} %H:%M:%S %z",
        errors="coerce",
        utc=True,
    )
    unread = int(stamps.isna().sum())
    if unread:
        notes.append(f"{unread} rows have no readable time")
        if unread == len(stamps):
            return None, tuple(notes)
    seconds = stamps.ffill().bfill().astype("datetime64[s, UTC]").astype("int64").to_numpy()
    new_years = np.concatenate([[0], np.cumsum(np.diff(seconds) < -300 * DAY_S)])
    days = np.round(new_years * 365.25).astype(np.int64)
    return np.asarray((seconds + days * DAY_S) * NS_PER_S, dtype=np.int64), tuple(notes)


def intervals(t_ns: NDArray[np.int64], *, real_rates: bool) -> Intervals:
    """The intervals between stamps, which of them cover missed ticks, and how to mend rates.

    After a missed tick dstat and dool divide the counters of the whole gap by the planned step.
    With stamps finer than a second every rate is brought to its real interval; whole seconds
    cannot tell 0.6 s from 1.4 s, so then only gaps are mended.

    Args:
        real_rates: The tool divides by the real interval itself (pcp).
    """
    dt = np.diff(t_ns) / NS_PER_S
    forward = dt[dt > 0]
    if not len(forward):
        empty = np.zeros(len(dt), dtype=bool)
        return Intervals(dt, empty, empty.copy(), np.ones(len(dt)), _went_back(len(dt)))
    delay = float(np.median(forward))
    fine = bool((t_ns % NS_PER_S).any())
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
        notes += (f"{lost} ticks missed in {int(missed.sum())} places; rates repaired",)
    return Intervals(dt, missed, keep, repair, notes)


def _went_back(rows: int) -> tuple[str, ...]:
    return (f"{rows} rows dropped: the clock went back",) if rows else ()


def _level_jitter(dt: NDArray[np.float64], delay: float) -> None:
    """Whole-second stamps of a tick near the turn of the second read 0 s, and elsewhere 2 s.

    Each 0 is paired with its nearest double step; both become one step. In place.
    """
    doubles = np.flatnonzero(np.isclose(dt, 2 * delay)).tolist()
    for place in np.flatnonzero(dt == 0).tolist():
        if not doubles:
            return
        nearest = min(doubles, key=lambda other, here=place: abs(other - here))  # type: ignore[misc]
        doubles.remove(nearest)
        dt[place] = dt[nearest] = delay
