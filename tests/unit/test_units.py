"""Conversions and formatters: known figures, borders, and figures that are not there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit import units
from perfkit.units import parse_number


@pytest.mark.parametrize(
    ("bps", "text"),
    [
        (0, "0 bit/s"),
        (999, "999 bit/s"),
        (1_000, "1.00 kbit/s"),
        (999_999, "1.00 Mbit/s"),
        (1_234_000_000, "1.23 Gbit/s"),
        (-5_000_000, "-5.00 Mbit/s"),
        (2.5e15, "2500.00 Tbit/s"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_a_rate_is_printed_with_its_si_prefix(bps: float, text: str) -> None:
    assert units.format_rate(bps) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_572_864, "1.50 MiB"), (500, "500 B")],
)
def test_a_size_is_printed_with_a_binary_prefix(size_bytes: float, text: str) -> None:
    assert units.format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (12.3, "12.3 s"),
        (59.97, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.6, "1 h 00 min"),
        (7379, "2 h 03 min"),
        (-90, "-1 min 30 s"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_a_duration_is_printed_in_the_units_people_say(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@given(st.floats(min_value=1, max_value=1e14))
def test_a_printed_rate_is_the_rate_to_its_last_digit(bps: float) -> None:
    number, unit = units.format_rate(bps).split(" ")
    prefix = unit.removesuffix("bit/s")
    assert float(number) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix] == (
        pytest.approx(bps, rel=0.006, abs=0.5)
    )


def test_conversions_are_the_factors_of_their_names() -> None:
    assert units.bytes_to_bits(1) == 8
    assert units.bps_to_mbps(1_500_000) == 1.5
    assert units.bits_to_gbit(2e9) == 2
    assert units.minutes_to_s(1.5) == 90
    assert units.s_to_ms(0.25) == 250


def test_one_of_a_thing_is_not_several() -> None:
    said = [units.format_count(count, "host") for count in (0, 1, 2.0)]
    assert said == ["0 hosts", "1 host", "2 hosts"]


def test_of_several_things_the_first_are_named_and_the_others_counted() -> None:
    assert units.format_some([], 2) == ""
    assert units.format_some(["a", "b"], 2) == "a, b"
    assert units.format_some(("a", "b", "c"), 2, "; ") == "a; b and 1 more"


@pytest.mark.parametrize(
    ("said", "whole", "number"),
    [
        ("10", 10, 10.0),
        ("0", 0, 0.0),
        ("-3", -3, -3.0),
        (7, 7, 7.0),
        (np.int64(7), 7, 7.0),
        ("2.5", None, 2.5),
        (".5", None, 0.5),
        ("1e3", None, 1000.0),
        (5.0, None, 5.0),  # papermill's -p clients 5.0
        ("5.0", None, 5.0),
        *(
            (text, None, None)
            for text in ("1_0", "010", "+5", " 5", "5 ", "\uff11\uff10", "\u0663")
        ),
        *(
            (text, None, None)
            for text in ("", ".", "5.", "e5", "E5", "0x10", "1,5", "1 000", "5\n")
        ),
        *((text, None, None) for text in ("nan", "inf", "-inf", "Infinity", "1e999", "9" * 5000)),
        *(
            (value, None, None)
            for value in (True, False, None, float("nan"), float("inf"), 10**400)
        ),
        *((value, None, None) for value in ([5], b"5", 5j)),
    ],
)
def test_only_what_everybody_reads_alike_is_a_number(
    said: object, whole: int | None, number: float | None
) -> None:
    for wanted, is_whole in ((whole, True), (number, False)):
        if wanted is None:
            with pytest.raises(ValueError, match="number is needed, in plain digits"):
                parse_number(said, whole=is_whole)
        else:
            found = parse_number(said, whole=is_whole)
            assert (found, type(found)) == (wanted, type(wanted))
