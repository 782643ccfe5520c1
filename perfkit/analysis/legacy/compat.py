"""What the 2011 analysis scripts printed, defects included: their rows, byte for byte, as mawk does.

The scripts took fields by place. A line is a record, a field is what blanks part; a field that is
no number counts as 0. What they did with that:

- iperf: every line with `MBytes`, anywhere in it, is a client; field 5 is its transfer and field 7
  its bandwidth, in whatever unit.
- dstat: every line is a sample; fields 4, 5 and 7 are CPU usr, sys and wait, and 100 less field 6
  is the total. The comma became the separator while the first line was being read, so the first
  line is parted at blanks: it has no such fields, and counts as 100 %.
- One subtest, `120s`. A log that could not be opened ended a script before it printed.

The numbers are mawk 1.3.4's: doubles, read by strtod, printed as integers below 2^31 and else with
six digits. A division by zero is its `-nan`, the sign that x86 gives it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

SUBTEST = "120s"
_NUMBER = re.compile(
    rb"[+-]?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?"
    rb"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))"
)
_BLANKS = re.compile(rb"[ \t]+")
_LARGEST_INTEGER = 2**31 - 1


def iperf_row(paths: Sequence[Path]) -> list[str] | None:
    """Clients, transfer, bandwidth and bandwidth a client; None when the script printed no row.

    As mawk prints them: what nothing was ever added to is nothing.

    Args:
        paths: The logs in the order of their names, as the shell gave them.
    """
    clients, transfer, bandwidth = None, None, None
    lines = _lines(paths)
    if lines is None:
        return None
    for line in lines:
        if b"MBytes" in line:
            fields = _split_at_blanks(line)
            clients = (clients or 0.0) + 1
            transfer = (transfer or 0.0) + _field(fields, 5)
            bandwidth = (bandwidth or 0.0) + _field(fields, 7)
    figures = (clients, transfer, bandwidth, _quotient(bandwidth or 0.0, clients or 0.0))
    return ["" if figure is None else print_number(figure) for figure in figures]


def dstat_row(path: Path) -> list[str] | None:
    """Records, CPU usr, sys, total and wait; None when the script printed no row."""
    lines = _lines([path])
    if lines is None:
        return None
    records, usr, sys, total, wait = 0.0, 0.0, 0.0, 0.0, 0.0
    for line in lines:
        fields = line.split(b",") if records else _split_at_blanks(line)
        records += 1
        usr += _field(fields, 4)
        sys += _field(fields, 5)
        total += 100.0 - _field(fields, 6)
        wait += _field(fields, 7)
    figures = (records, *(_quotient(figure, records) for figure in (usr, sys, total, wait)))
    return [print_number(figure) for figure in figures]


def read_number(field: bytes) -> float:
    """A field as mawk's strtod reads it: the number it begins with, or 0."""
    match = _NUMBER.match(field.lstrip())
    if not match:
        return 0.0
    text = match[0].decode("ascii").lower()
    if "0x" in text:
        try:
            return float.fromhex(text)
        except OverflowError:
            return -math.inf if text[0] == "-" else math.inf
    return float(text)


def print_number(figure: float) -> str:
    """A number as mawk prints it."""
    if math.isnan(figure):
        return "-nan" if math.copysign(1.0, figure) < 0 else "nan"
    if math.isinf(figure):
        return "-inf" if figure < 0 else "inf"
    if figure == int(figure) and -_LARGEST_INTEGER <= figure <= _LARGEST_INTEGER:
        return str(int(figure))
    return f"{figure:.6g}"


def _lines(paths: Iterable[Path]) -> list[bytes] | None:
    """All lines of all logs; None when one cannot be read, or there is none."""
    lines: list[bytes] = []
    opened = False
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        opened = True
        lines += data.removesuffix(b"\n").split(b"\n") if data else []
    return lines if opened else None


def _split_at_blanks(line: bytes) -> list[bytes]:
    return [field for field in _BLANKS.split(line) if field]


def _field(fields: Sequence[bytes], number: int) -> float:
    return read_number(fields[number - 1]) if number <= len(fields) else 0.0


def _quotient(dividend: float, divisor: float) -> float:
    if divisor:
        return dividend / divisor
    if dividend == 0 or math.isnan(dividend):
        return dividend if math.isnan(dividend) else -math.nan
    return math.copysign(math.inf, dividend)
