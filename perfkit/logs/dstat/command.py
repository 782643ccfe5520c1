"""What a monitor's command line says: which tool it was, and the unit of the rates in its CSV.

dool reads its options as getopt does: a long name may be shortened, a short one may have others
and a value behind it, and of `--bits`, `--bytes` and `--dstat` the last counts. Options that came
from `DOOL_OPTS` are not in the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

_UNITS = {"bits": True, "bytes": False, "dstat": False}
_SHORTEST = 2  # letters; --b could be bits, bytes, bw or the battery
_VALUED = ("output", "pidfile", "diskset")
_VALUED_SHORT = "CDIMNSo"


def tool_of(command: str) -> str:
    """`dool`, `dstat` or `pcp-dstat` by the program's name; empty when it is none of them."""
    program = PurePosixPath(command.split(" ", maxsplit=1)[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    if "pcp" in name:
        return "pcp-dstat"
    return next((tool for tool in ("dool", "dstat") if tool in name), "")


def asks_for_bits(command: str) -> bool | None:
    """Whether dool was told to count in bits, or in bytes; None when it was told neither."""
    asked = None
    for name in _long_options(command.split()[1:]):
        for unit, bits in _UNITS.items():
            if len(name) >= _SHORTEST and unit.startswith(name):
                asked = bits
    return asked


def _long_options(words: list[str]) -> Iterator[str]:
    """The names after `--`, but not where they are another option's value."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        if word.startswith("--"):
            name, equals, _ = word[2:].partition("=")
            if not equals and len(name) >= _SHORTEST and _takes_value(name):
                next(rest, None)
            yield name
        elif word.startswith("-"):
            place = next((n for n, letter in enumerate(word[1:], 2) if letter in _VALUED_SHORT), 0)
            if place == len(word):
                next(rest, None)


def _takes_value(name: str) -> bool:
    return any(valued.startswith(name) for valued in _VALUED) and not "disk".startswith(name)
