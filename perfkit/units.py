"""Every conversion and every formatter of a figure; nobody else multiplies by 8, 1000 or 1024.

Rates of networks are SI: 1 Mbit/s = 10^6 bit/s. Sizes printed by iperf's text are binary:
1 MByte = 2^20 bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Integral

BITS_PER_BYTE = 8
SI_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_PRINTED_SI_PREFIXES = {"k" if name == "K" else name: size for name, size in SI_PREFIXES.items()}
BINARY_PREFIXES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
MS_PER_S = 10**3
US_PER_S = 10**6
NS_PER_S = 10**9


_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LARGEST = 1e15  # up to here every whole number is a float too


def parse_number(value: object, *, whole: bool) -> float:
    """A number that somebody gave, as text or as a value: the one rule for shell, forms and files.

    Only what everybody reads alike is a number. Python takes `1_0`, `010`, ` 10`, `+10` and True
    for numbers as well, each of which is more likely to be a mistake.

    Args:
        whole: An int is asked for: no fraction and no exponent, also none of zeros.

    Returns:
        An int where `whole`, else a float.

    Raises:
        ValueError: it is none; the message says what is needed.
    """
    if isinstance(value, str):
        form = _WHOLE if whole else _NUMBER
        number = float(value) if form.fullmatch(value) else math.nan
    elif isinstance(value, bool):
        number = math.nan
    elif isinstance(value, Integral):
        number = float(value) if abs(int(value)) <= _LARGEST else math.nan
    else:
        number = value if isinstance(value, float) and not whole else math.nan
    if not abs(number) <= _LARGEST:
        raise ValueError(
            "a whole number is needed, in plain digits: 10"
            if whole
            else "a number is needed, in plain digits: 10 or 2.5"
        )
    return int(number) if whole else number


def bytes_to_bits(value: float) -> float:
    """Bytes (or bytes/s) to bits (or bit/s)."""
    return value * BITS_PER_BYTE


def mbps_to_bps(value: float) -> float:
    """Mbit/s, SI, to bit/s."""
    return value * SI_PREFIXES["M"]


def bps_to_mbps(value: float) -> float:
    """bit/s to Mbit/s, SI."""
    return value / SI_PREFIXES["M"]


def bits_to_gbit(value: float) -> float:
    """Bits to Gbit, SI."""
    return value / SI_PREFIXES["G"]


def minutes_to_s(value: float) -> float:
    """Minutes to seconds."""
    return value * 60.0


def s_to_ms(value: float) -> float:
    """Seconds to milliseconds."""
    return value * 1000.0


def format_rate(bps: float) -> str:
    """A rate with its SI prefix: `1.23 Gbit/s`, `850.00 kbit/s`; `n/a` for NaN."""
    return _scaled(bps, "bit/s", _PRINTED_SI_PREFIXES)


def format_mbps(bps: float) -> str:
    """A rate of a test, in the unit and with the decimal of the report: `338.5 Mbit/s`."""
    return f"{bps_to_mbps(bps):.1f} Mbit/s" if math.isfinite(bps) else "n/a"


def format_size(size_bytes: float) -> str:
    """A size with a binary prefix: `1.50 MiB`; `n/a` for NaN."""
    return _scaled(size_bytes, "B", BINARY_PREFIXES, infix="i")


def format_duration(seconds: float) -> str:
    """`850 ms`, `12.3 s`, `4 min 10 s`, `2 h 05 min`; `n/a` for NaN and infinities."""
    if not math.isfinite(seconds):
        return "n/a"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if round(s_to_ms(seconds)) < 1000:
        return f"{s_to_ms(seconds):.0f} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def format_count(count: float, noun: str) -> str:
    """A number of things in words: `1 host`, `0 hosts`."""
    return f"{count:.0f} {noun}{'' if count == 1 else 's'}"


def format_some(words: Sequence[str], most: int, apart: str = ", ") -> str:
    """The first of several things, and how many more there are: `a, b and 3 more`."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{apart.join(words[:most])}{more}"


def _scaled(value: float, unit: str, prefixes: dict[str, int], infix: str = "") -> str:
    if not math.isfinite(value):
        return "n/a"
    prefix, factor, digits = "", 1, 0
    for name, size in prefixes.items():
        if abs(value) >= size * (1 - 5e-6):  # as printed: 999,999 is 1.00 M, not 1000.00 k
            prefix, factor, digits = name, size, 2 if name else 0
    return f"{value / factor:.{digits}f} {prefix}{infix if prefix else ''}{unit}"
