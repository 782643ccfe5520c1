"""Changes between standard and summer time in the local times that a monitor printed.

A clock that is put forward leaves an hour out, and looks like an hour of missed ticks; one that is
put back prints an hour twice. Neither says so. A jump is taken for such a change where the clock of
some zone jumped at that very time and as far, and the rest of the step is one that the monitor
could have made: then what follows is counted on as if the clock had gone on. Zones are those of
the time zone database that had, at the start of the log, the abbreviation that its head ends with.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

from perfkit.units import NS_PER_S

# Lord Howe Island changes by half an hour, Troll by two hours, all others by one.
_SHIFTS_S = (3600, -3600, 1800, -1800, 7200, -7200)
_MOST_CHANGES = 16  # of one log: they come twice a year
_STEP_S = 450  # ticks may have been missed at the same time
_LONGEST_STEP_S = 900  # of a monitor whose missed ticks can be told from half an hour


def undo_changes(
    naive_ns: NDArray[np.int64], zone: str | tzinfo, began_ns: int
) -> tuple[NDArray[np.int64], list[str]]:
    """What each time is ahead of a clock that nobody changed.

    Args:
        naive_ns: Times as printed, in nanoseconds as if they were UTC; 0 = unreadable.
        zone: What the head calls its zone; empty = nothing. Or an offset that never changes.
        began_ns: When the log began, as printed.

    Returns:
        Nanoseconds to take off each time, and a note for each change.
    """
    shift_ns = np.zeros(len(naive_ns), np.int64)
    known = np.flatnonzero(naive_ns > 0)
    steps_ns = np.diff(naive_ns[known])
    if not (steps_ns > 0).any() or (steps_ns.min() >= 0 and steps_ns.max() < 1800 * NS_PER_S):
        return shift_ns, []
    usual_s = float(np.median(steps_ns[steps_ns > 0])) / NS_PER_S
    if usual_s > _LONGEST_STEP_S:
        return shift_ns, []
    notes = []
    for place in _jumps(steps_ns, usual_s)[:_MOST_CHANGES]:
        before_ns, after_ns = int(naive_ns[known[place]]), int(naive_ns[known[place + 1]])
        change_s = _find_change(before_ns, after_ns, usual_s, _zones(zone, began_ns))
        if change_s:
            shift_ns[known[place + 1] :] += change_s * NS_PER_S
            way = "forward" if change_s > 0 else "back"
            notes.append(
                f"the clock was put {way} by {abs(change_s) // 60} min before "
                f"{_naive(after_ns):%d-%m %H:%M:%S}, to or from summer time: no ticks were missed, "
                "and later times are counted on from before"
            )
    return shift_ns, notes


def _jumps(steps_ns: NDArray[np.int64], usual_s: float) -> list[int]:
    """Steps that are a change of clocks and a step of the monitor's together."""
    found = np.zeros(len(steps_ns), dtype=bool)
    for change_s in _SHIFTS_S:
        rest_ns = steps_ns - change_s * NS_PER_S
        found |= (rest_ns > 0) & (rest_ns <= _longest_rest_s(usual_s) * NS_PER_S)
    found &= (steps_ns < 0) | (steps_ns > 1.5 * usual_s * NS_PER_S)
    return np.flatnonzero(found).tolist()


def _longest_rest_s(usual_s: float) -> float:
    return max(_STEP_S, 1.5 * usual_s)


def _find_change(before_ns: int, after_ns: int, usual_s: float, zones: tuple[tzinfo, ...]) -> int:
    """By how many seconds a zone's clock jumped between two printed times; 0 if none did."""
    for change_s in _SHIFTS_S:
        rest = timedelta(microseconds=(after_ns - before_ns) // 1000 - change_s * 1_000_000)
        if 0 < rest.total_seconds() <= _longest_rest_s(usual_s) and any(
            _leads(zone, _naive(before_ns), rest, _naive(after_ns)) for zone in zones
        ):
            return change_s
    return 0


def _leads(zone: tzinfo, before: datetime, rest: timedelta, after: datetime) -> bool:
    """Whether a clock of the zone that shows `before` shows `after` when `rest` has gone by."""
    for fold in (0, 1):
        moment = before.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == before:
            shown = (moment + rest).astimezone(zone).replace(tzinfo=None)
            if abs(shown - after) < timedelta(milliseconds=1):
                return True
    return False


def _naive(ns: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=ns // 1000)


def _zones(zone: str | tzinfo, began_ns: int) -> tuple[tzinfo, ...]:
    """Zones that had this name, or this offset, when the log began; all of them if none had."""
    return _having(zone, _naive(began_ns).replace(microsecond=0)) or _all_zones()


@functools.lru_cache(maxsize=64)
def _having(zone: str | tzinfo, at: datetime) -> tuple[tzinfo, ...]:
    def has(known: tzinfo, fold: int) -> bool:
        moment = at.replace(tzinfo=known, fold=fold)
        if isinstance(zone, str):
            return zone == moment.tzname()
        return zone.utcoffset(at) == moment.utcoffset()

    return tuple(known for known in _all_zones() if has(known, 0) or has(known, 1))


@functools.cache
def _all_zones() -> tuple[tzinfo, ...]:
    return tuple(ZoneInfo(name) for name in sorted(available_timezones()))
