"""A monitor's CSV that was printed through `ts`, docker compose or a journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from perfkit.logs import registry
from perfkit.logs.dstat import csv
from perfkit.logs.format import SNIFF_BYTES, Reading, clean
from perfkit.logs.frames import check

DATA = Path(__file__).parents[3] / "data"
CAPTURES = [*sorted((DATA / "dool").glob("*.csv")), *sorted((DATA / "dstat").glob("*.csv"))]


def clock(n: int) -> str:
    return f"10:{n // 60 % 60:02}:{n % 60:02}"


WRAPS: dict[str, Callable[[int, str], str]] = {
    "compose": lambda _, line: f"monitor-1  | {line}",
    "docker -t": lambda n, line: f"2026-01-05T{clock(n)}.123456789Z {line}",
    "compose -t": lambda n, line: f"monitor-1  | 2026-01-05T{clock(n)}.123456789Z {line}",
    "ts": lambda n, line: f"Jan 05 {clock(n)} {line}",
    "ts %F %T": lambda n, line: f"2026-01-05 {clock(n)} {line}",
    "ts [%F %T]": lambda n, line: f"[2026-01-05 {clock(n)}] {line}",
    "ts -s": lambda n, line: f"{clock(n)} {line}",
    "ts %.s": lambda n, line: f"{1767607200 + n}.123456 {line}",
    "journal": lambda n, line: f"Jan 05 {clock(n)} vpn dool[812]: {line}",
    "rsyslog": lambda n, line: f"2026-01-05T{clock(n)}.123456+01:00 vpn monitor[1]: {line}",
}


def parse(text: str) -> Reading:
    reading = csv.parse(clean(text.encode()), Path("monitor.csv"))
    check(reading.frame, "monitor")
    return reading


def wrapped(text: str, wrap: str) -> str:
    return "".join(f"{WRAPS[wrap](n, line)}\n" for n, line in enumerate(text.splitlines()))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("wrap", WRAPS)
def test_what_others_put_in_front_of_every_line_changes_no_row(path: Path, wrap: str) -> None:
    text = path.read_text()
    told, expected = wrapped(text, wrap), parse(text)
    reading = parse(told)
    pd.testing.assert_frame_equal(reading.frame, expected.frame)
    assert (reading.unparsed.count, reading.partial) == (0, False)
    assert set(expected.notes) <= set(reading.notes)
    assert any("the lines have a prefix" in note for note in reading.notes)
    head = clean(told.encode())[:SNIFF_BYTES]
    assert [n for n, f in registry.formats().items() if f.sniff(head)] == ["dstat"]


def test_a_line_that_is_not_understood_keeps_its_number_behind_a_prefix() -> None:
    lines = (DATA / "dool" / "monitor.csv").read_text().splitlines(keepends=True)
    text = "".join([*lines[:8], "killed,1\n", *lines[8:]])
    assert parse(wrapped(text, "ts")).unparsed.line_nos == parse(text).unparsed.line_nos == (9,)


def test_two_monitors_in_one_file_are_told_apart_by_what_is_in_front() -> None:
    one = (DATA / "dool" / "monitor.csv").read_text().splitlines()
    two = (DATA / "dool" / "bits.csv").read_text().splitlines()
    mixed = [f"a-1  | {line}" for line in one]
    for place, line in enumerate(two):
        mixed.insert(2 * place + 1, f"b-1  | {line}")
    reading = parse("\n".join([*mixed, "db-1 | ready"]) + "\n")
    sizes = reading.frame["block"].value_counts().sort_index().tolist()
    assert sizes == [len(parse("\n".join(lines) + "\n").frame) for lines in (one, two)]
    assert any("2 monitors in one file" in note for note in reading.notes)
    assert any("1 lines without a monitor's prefix" in note for note in reading.notes)


def test_a_prefixed_log_whose_end_is_cut_loses_only_its_last_row() -> None:
    text = (DATA / "dool" / "monitor.csv").read_text()
    whole, cut = parse(text), parse(wrapped(text, "ts")[:-5])
    assert cut.partial
    pd.testing.assert_frame_equal(cut.frame, whole.frame.head(len(whole.frame) - 1))
