"""The levels of a campaign as a person writes them, in and out: counts, names, a precision, a budget.

Each `parse_*` takes what a shell, a form, papermill (which turns text into numbers where it can), a
manifest or Python code gives, and raises a ValueError that says what is wrong and what to give. Each
`format_*` is its inverse: what is kept in a manifest, read back as the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfkit.runs.folder import NAME_PATTERN
from perfkit.units import parse_number

MAX_CLIENTS = 4000
NARROWEST, WIDEST = 0.001, 0.5  # half-widths of an interval that may be asked for, as shares

_RANGE = re.compile(r"([^.:]+)\.\.([^.:]+)(?::(.+))?")
_BUDGET = re.compile(r"([0-9.]+) ?(min|usd)", re.IGNORECASE)
_TIMES_AND_MONEY = "give minutes or dollars with their unit: 60min, 20usd or 60min,20usd"


def parse_counts(value: object) -> tuple[int, ...]:
    """Client counts: `100`, `1,2,5`, `10..100:10` (both ends belong to it), a list of any of these.

    Returns:
        At least one count, in the order given, none twice.

    Raises:
        ValueError: one is no count from 1 to 4000 or comes twice, or a range has no such end.
    """
    counts = [count for item in parse_items(value) for count in _counts(item)]
    if not counts:
        raise ValueError("names no count; give one (10), a list (1,2,5) or a range (10..100:10)")
    for count in counts:
        if count < 1:
            raise ValueError(f"{count}: input should be greater than or equal to 1")
        if count > MAX_CLIENTS:
            raise ValueError(f"{count}: input should be less than or equal to {MAX_CLIENTS}")
    _refuse_twice(counts, "count")
    return tuple(counts)


def _counts(item: object) -> Sequence[int]:
    found = _RANGE.fullmatch(item) if isinstance(item, str) else None
    if found is None:
        return [int(parse_number(item, whole=True))]
    start, stop, step = (int(parse_number(part, whole=True)) for part in found.groups(default="1"))
    if step < 1 or stop <= start:
        raise ValueError(f"{item}: the range goes nowhere; write low..high or low..high:step")
    if stop > MAX_CLIENTS:  # before a list of so many is made
        raise ValueError(f"{stop}: input should be less than or equal to {MAX_CLIENTS}")
    counts = range(start, stop + 1, step)
    if counts[-1] != stop:
        raise ValueError(
            f"{item}: its steps end at {counts[-1]}, not at {stop}; write {start}..{counts[-1]}:{step}"
            f", and ,{stop} behind it if that is meant as well"
        )
    return counts


def format_counts(counts: Sequence[int]) -> int | str:
    """An int where it is one, else `1,2,5`."""
    return counts[0] if len(counts) == 1 else ",".join(map(str, counts))


def parse_names(value: object) -> tuple[str, ...]:
    """Names of variants: `base,sndbuf64k`, or a list.

    Raises:
        ValueError: one is not a name, or comes twice, or there is none.
    """
    names = [str(item) for item in parse_items(value)]
    for name in names:
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError(f"{name!r} is no name; use lower-case letters, digits, - and _")
    _refuse_twice(names, "variant")
    if not names:
        raise ValueError("names no variant; base is what stands in resources")
    return tuple(names)


def parse_precision(value: object) -> float | None:
    """Half-width of an interval as a share: `0.05` or `5%`; None where it is empty.

    Raises:
        ValueError: no number, or a share that no interval should have.
    """
    if value is None or value == "":
        return None
    text = value.removesuffix("%") if isinstance(value, str) else value
    share = parse_number(text.strip() if isinstance(text, str) else text, whole=False)
    share = share / 100 if isinstance(value, str) and value.endswith("%") else share
    if not NARROWEST <= share <= WIDEST:
        raise ValueError(
            f"is {100 * share:.6g} % of the mean; from {NARROWEST:.1%} to {WIDEST:.0%} can be asked "
            "for: write 5% or 0.05"
        )
    return share


def format_precision(share: float | None) -> float | str:
    """The share; an empty text for None."""
    return "" if share is None else share


@dataclass(frozen=True, slots=True)
class Budget:
    """What a campaign may take in all; None: no bound."""

    minutes: float | None = None
    usd: float | None = None

    def __str__(self) -> str:
        words = [(self.minutes, "min"), (self.usd, "usd")]
        return ",".join(f"{number:g}{unit}" for number, unit in words if number is not None)


def parse_budget(value: object) -> Budget:
    """Minutes, dollars or both: `60min`, `20usd`, `60min,20usd`; empty: no bound.

    Raises:
        ValueError: no unit, no number, nothing to spend, or one of them twice.
    """
    if isinstance(value, Budget):
        return value
    amounts: dict[str, float] = {}
    for item in [] if value in ("", None) else parse_items(value):
        found = _BUDGET.fullmatch(item) if isinstance(item, str) else None
        if found is None:
            raise ValueError(f"{item}: no budget; {_TIMES_AND_MONEY}")
        number, unit = float(parse_number(found[1], whole=False)), found[2].lower()
        if number <= 0 or unit in amounts:
            problem = "given twice" if unit in amounts else "nothing to spend"
            raise ValueError(f"{item}: {problem}; {_TIMES_AND_MONEY}, or leave it empty")
        amounts[unit] = number
    return Budget(amounts.get("min"), amounts.get("usd"))


def parse_items(value: object) -> list[object]:
    """What stands between commas; a list's items; a single value."""
    if isinstance(value, str):
        parts = value.split(",")
        return [part.strip() for part in parts] if len(parts) > 1 else [value]
    if isinstance(value, list | tuple | range):
        return [item for one in value for item in parse_items(one)]
    return [value]


def _refuse_twice(things: Iterable[object], what: str) -> None:
    twice = [thing for thing, times in Counter(things).items() if times > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]} is there twice; name it once, and use repetitions")
