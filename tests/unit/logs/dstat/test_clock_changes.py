"""Logs with printed local times that go through a change to or from summer time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from perfkit.logs.dstat import csv
from perfkit.logs.format import Reading
from perfkit.logs.frames import check
from perfkit.logs.timestamps import get_zone

FORMATS = {"Dstat 0.7.4": "%d-%m %H:%M:%S", "dool 1.3.8": "%b-%d %H:%M:%S"}

# Zone, and the moment in UTC at which its clock changes.
CHANGES = [
    ("Europe/Berlin", "2027-03-28T01:00"),
    ("Europe/Berlin", "2027-10-31T01:00"),
    ("Europe/London", "2027-03-28T01:00"),  # its winter time is called GMT
    ("Europe/London", "2027-10-31T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/Chicago", "2026-11-01T07:00"),  # CST is five zones
    ("Australia/Sydney", "2026-10-03T16:00"),  # spring in the south
    ("Australia/Sydney", "2027-04-03T16:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),  # half an hour
    ("Australia/Lord_Howe", "2027-04-03T15:00"),
    ("America/Santiago", "2026-09-06T04:00"),  # at midnight, so the day changes too
    ("America/Santiago", "2027-04-04T03:00"),
    ("Antarctica/Troll", "2027-03-28T01:00"),  # two hours
    ("Antarctica/Troll", "2027-10-31T01:00"),
    ("America/St_Johns", "2026-03-08T05:30"),  # half an hour off the full one
]


def log(
    moments: Sequence[datetime], zone: str, *, banner: str = "Dstat 0.7.4", word: str = ""
) -> str:
    """What a monitor on a host in a zone writes at these moments; 100 byte/s come in."""
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    began = local[0].strftime(f"%d %b %Y %H:%M:%S {word or '%Z'}")
    rows = "".join(f"{time.strftime(FORMATS[banner])},100,200\n" for time in local)
    return (
        f'"{banner} CSV output"\n"Host:","h1",,,,"User:","u"\n'
        f'"Cmdline:","dool --bytes -tn",,,,"Date:","{began}"\n'
        f'"system","net/total",\n"time","recv","send"\n{rows}'
    )


def around(change: str, step_s: int = 1, rows: int = 10) -> list[datetime]:
    at = datetime.fromisoformat(change).replace(tzinfo=UTC)
    return [at + timedelta(seconds=step_s * n - step_s * rows // 2) for n in range(rows)]


def parse(text: str, zone: str = "") -> Reading:
    reading = csv.parse(text.encode(), Path("monitor.csv"), zone=get_zone(zone) if zone else None)
    check(reading.frame, "monitor")
    return reading


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize("banner", FORMATS)
@pytest.mark.parametrize("step_s", [1, 5, 60])
def test_a_change_of_clocks_is_no_missed_tick(
    zone: str, change: str, banner: str, step_s: int
) -> None:
    moments = around(change, step_s)
    reading = parse(log(moments, zone, banner=banner))
    frame = reading.frame
    assert frame["dt_s"].tolist() == [step_s] * 9
    assert not frame["missed"].any()
    assert frame["net_total_recv_bps"].tolist() == [800.0] * 9
    assert sum("the clock was put" in note for note in reading.notes) == 1
    assert not any("missed in" in note or "went back" in note for note in reading.notes)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_zone_that_is_given_places_every_row_in_utc(zone: str, change: str) -> None:
    moments = around(change)
    reading = parse(log(moments, zone), zone=zone)
    assert reading.frame["t_utc"].tolist() == [pd.Timestamp(moment) for moment in moments[1:]]
    assert reading.notes == ()


@pytest.mark.parametrize("offset", ["+01", "+0100"])
def test_an_offset_that_is_given_holds_until_the_clock_changes(offset: str) -> None:
    moments = around("2027-03-28T01:00")
    frame = parse(log(moments, "Europe/Berlin"), zone=offset).frame
    assert frame["t_utc"].tolist() == [pd.Timestamp(moment) for moment in moments[1:]]


def test_a_head_with_an_offset_or_without_a_zone_does_as_well() -> None:
    moments = around("2027-03-28T01:00")
    for word in ("+01", "+0100"):
        frame = parse(log(moments, "Europe/Berlin", word=word)).frame
        assert frame["t_utc"].tolist() == [pd.Timestamp(moment) for moment in moments[1:]]
    bare = log(moments, "Europe/Berlin").replace(' CET"', '"')
    assert parse(bare).frame["dt_s"].tolist() == [1] * 9


def test_ticks_that_were_missed_at_a_change_are_missed_and_the_hour_is_not() -> None:
    moments = around("2027-03-28T01:00")
    frame = parse(log([*moments[:5], *moments[7:]], "Europe/Berlin")).frame
    assert frame["dt_s"].tolist() == [1, 1, 1, 1, 3, 1, 1]
    assert frame["missed"].tolist() == [False] * 4 + [True] + [False] * 2


@pytest.mark.parametrize(
    ("zone", "word", "at"),
    [
        ("UTC", "UTC", "2027-03-28T02:00"),  # a clock that never changes
        ("Europe/Berlin", "", "2027-07-15T10:00"),  # no day for it
        ("Europe/Berlin", "", "2027-03-29T01:00"),  # a day late
        ("Europe/Berlin", "", "2027-03-28T05:00"),  # hours late
        ("Asia/Tokyo", "", "2027-03-28T01:00"),  # where JST is, clocks do not change
        ("Europe/Berlin", "", "2027-10-31T01:00"),  # the clock goes back then, not forward
    ],
)
def test_an_hour_without_rows_at_any_other_time_is_missed_ticks(
    zone: str, word: str, at: str
) -> None:
    moments = around(at)
    late = [moment + timedelta(hours=1) for moment in moments[5:]]
    if at.startswith("2027-10-31"):
        late = [moment + timedelta(hours=2) for moment in moments[5:]]
    reading = parse(log([*moments[:5], *late], zone, word=word))
    assert reading.frame["missed"].sum() == 1
    assert any("ticks missed in 1 places" in note for note in reading.notes)
    assert not any("the clock was put" in note for note in reading.notes)


def test_a_clock_that_is_set_back_at_any_other_time_still_drops_the_row() -> None:
    moments = around("2027-07-15T10:00")
    back = [moment - timedelta(hours=1) for moment in moments[5:]]
    reading = parse(log([*moments[:5], *back], "Europe/Berlin"))
    assert any("the clock went back" in note for note in reading.notes)


def test_both_changes_of_a_year_are_taken_out_of_one_log() -> None:
    spring = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    moments = [spring + timedelta(minutes=10 * n) for n in range(6 * 24 * 218)]
    frame = parse(log(moments, "Europe/Berlin")).frame
    assert frame["dt_s"].tolist() == [600] * (len(moments) - 1)
    assert not frame["missed"].any()


def test_a_block_after_the_change_goes_on_where_the_block_before_it_was() -> None:
    moments = around("2027-03-28T01:00", rows=20)
    text = log(moments[:14], "Europe/Berlin")
    later = log(moments[14:], "Europe/Berlin").split('"system"')[1]
    frame = parse(text + '"system"' + later).frame
    assert frame["dt_s"].tolist() == [1] * 19
    assert frame["block"].tolist() == [0] * 13 + [1] * 6


def test_a_change_between_two_blocks_of_one_run_is_found() -> None:
    moments = around("2027-10-31T01:00", rows=20)
    text = log(moments[:10], "Europe/Berlin")
    later = log(moments[10:], "Europe/Berlin").split('"system"')[1]
    assert parse(text + '"system"' + later).frame["dt_s"].tolist() == [1] * 19


def test_a_new_start_after_the_change_has_its_own_clock() -> None:
    moments = around("2027-03-28T01:00", rows=20)
    reading = parse(
        log(moments[:15], "Europe/Berlin") + "\n\n" + log(moments[15:], "Europe/Berlin")
    )
    assert reading.frame["dt_s"].tolist() == [1] * 18
    first = reading.frame["t_utc"][reading.frame["block"] == 1].iloc[0]
    assert first == pd.Timestamp("2027-03-28T03:00:06Z")  # as printed, and said so


def test_a_run_that_begins_in_the_hour_that_comes_twice_is_placed_by_its_heads_zone() -> None:
    for hour, minute in ((0, 30), (1, 30)):
        begun = datetime(2027, 10, 31, hour, minute, tzinfo=UTC)
        moments = [begun + timedelta(seconds=n) for n in range(5)]
        frame = parse(log(moments, "Europe/Berlin"), zone="Europe/Berlin").frame
        assert frame["t_utc"].iloc[0] == pd.Timestamp(moments[1])


def test_the_year_turns_between_the_head_and_the_first_row_and_between_blocks() -> None:
    begun = datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC)
    moments = [begun + timedelta(seconds=n) for n in range(8)]
    text = (
        log(moments, "UTC")
        .replace("31-12 23:59:58,100,200\n", "")
        .replace("31-12 23:59:59,100,200\n", "")
    )
    assert parse(text).frame["t_utc"].iloc[0] == pd.Timestamp("2027-01-01T00:00:01Z")
    later = log(moments[5:], "UTC").split('"system"')[1]
    frame = parse(log(moments[:5], "UTC") + '"system"' + later).frame
    assert frame["dt_s"].tolist() == [1] * 7
    assert np.all(np.diff(frame["t_utc"].to_numpy()) == np.timedelta64(1, "s"))


def test_a_log_that_jumps_an_hour_at_every_row_ends_quickly_and_is_named() -> None:
    begun = datetime(2027, 1, 1, tzinfo=UTC)
    moments = [begun + timedelta(seconds=n + 3600 * (n // 2)) for n in range(4000)]
    assert any("missed in" in note for note in parse(log(moments, "Europe/Berlin")).notes)
