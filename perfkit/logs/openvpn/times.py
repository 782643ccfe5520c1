"""Times that OpenVPN prints twice, as text and as time_t: the moment, and where the two disagree.

Both are of one clock, so they differ by the host's zone and by nothing else. Where they differ by
what no zone is, one of them is not what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo

import pandas as pd

from perfkit.logs.fields import read_time_t
from perfkit.logs.local_times import LOCAL_TIME, read_moment

_WEST_S, _EAST_S = -12 * 3600, 14 * 3600
_ZONE_STEP_S = 900
_WITHIN_S = 2  # the clock was looked at twice
_SUMMER_TIME_S = 7200  # at most, on Antarctica


class PrintedTimes:
    """Reads the times of a file; knows what must be said about them.

    Args:
        zone: Of local times, if the caller knows it; None = they are taken as UTC.
    """

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._notes: list[str] = []
        self._offsets_s: set[int] = set()
        self._disagreements: list[str] = []

    def read(self, cells: Sequence[str]) -> pd.Timestamp | None:
        """The moment of `printed local time[, time_t]`; the Unix time is preferred."""
        text = cells[0].strip() if cells else ""
        stamp = cells[1].strip() if len(cells) > 1 else ""
        printed, unix = read_moment(text, zone=self._zone or UTC), read_time_t(stamp)
        if unix is None:
            if stamp and printed is not None:
                self._notes.append(
                    f"time_t {stamp[:40]!r} cannot be read: the printed time is taken"
                )
            if printed is not None and self._zone is None:
                self._notes.append(LOCAL_TIME)
            return printed
        if printed is not None:
            self._compare(printed, unix, text)
        elif text:
            self._disagreements.append(
                f"printed time {text[:40]!r} does not match time_t {stamp} "
                f"({unix:%Y-%m-%d %H:%M:%S} UTC)"
            )
        return unix

    def notes(self) -> list[str]:
        """What must be said, the first disagreement for all."""
        disagreements = list(self._disagreements)
        if self._offsets_s and max(self._offsets_s) - min(self._offsets_s) > _SUMMER_TIME_S:
            disagreements.append("printed times and their time_t differ by several offsets")
        if not disagreements:
            return self._notes
        more = f" ({len(disagreements) - 1} more disagree)" if len(disagreements) > 1 else ""
        return [*self._notes, f"{disagreements[0]}; time_t is taken{more}"]

    def _compare(self, printed: pd.Timestamp, unix: pd.Timestamp, text: str) -> None:
        """Note a printed time that no zone, or not the one that is known, brings to its time_t."""
        apart_s = (printed - unix).total_seconds()
        apart = f"{abs(apart_s):.0f} s" if abs(apart_s) < 36_000 else f"{abs(apart_s) / 3600:.0f} h"
        between = f"printed time {text!r} and time_t are {apart} apart"
        offset_s = round(apart_s / _ZONE_STEP_S) * _ZONE_STEP_S
        if self._zone is not None:
            # Of an hour that comes twice the printed time may be the second.
            again = read_moment(text, zone=self._zone, fold=1) or printed
            if min(abs(apart_s), abs((again - unix).total_seconds())) > _WITHIN_S:
                self._disagreements.append(f"{between} in the given time zone")
        elif not _WEST_S <= offset_s <= _EAST_S:
            self._disagreements.append(f"{between}, more than the offset of any time zone")
        elif abs(apart_s - offset_s) > _WITHIN_S:
            self._disagreements.append(f"{between}, which is no offset of a time zone")
        else:
            self._offsets_s.add(offset_s)
