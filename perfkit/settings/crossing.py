"""Variants crossed with the levels of `rate`, `link` and IP: every combination is a variant by itself.

One level, or none, is no factor: the variants keep their names, and the level is the run's. Several
levels make of `base` the variants `base-200kbit` and `base-1mbit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from perfkit.errors import ConfigError
from perfkit.runs.folder import NAME_PATTERN
from perfkit.settings.links import level_name

FACTORS = ("rate", "link", "inside_ip", "outside_ip")  # parameters that may have several levels
_WORDS = {"inside_ip": "in", "outside_ip": "out"}  # before a level that is a bare number


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """One combination.

    Attributes:
        name: Of the variant that it is.
        variant: The one of variants.conf, or `base`.
        levels: Its level of each of `FACTORS`; empty: there is none.
    """

    name: str
    variant: str
    levels: Mapping[str, str]


def cross(variants: Sequence[str], factors: Mapping[str, Sequence[str]]) -> tuple[Crossed, ...]:
    """All combinations, those of a variant together.

    Args:
        factors: The levels of each of `FACTORS`, if any.
    """
    found = []
    for variant, *levels in product(variants, *(own or ("",) for own in factors.values())):
        chosen = dict(zip(factors, levels, strict=True))
        words = [
            f"{_WORDS.get(key, '')}{level_name(level)}"
            for key, level in chosen.items()
            if len(factors[key]) > 1
        ]
        found.append(Crossed(name="-".join([variant, *words]), variant=variant, levels=chosen))
    return tuple(found)


def check_names(crossed: Sequence[Crossed]) -> None:
    """Refuse a combination whose name could be no variant's, or another one's.

    Raises:
        ConfigError: with what to write in its place.
    """
    names = [it.name for it in crossed]
    for one in crossed:
        if not NAME_PATTERN.fullmatch(one.name) or names.count(one.name) > 1:
            problem = (
                f"the variant would be called {one.name!r}, which is too long or another's name"
            )
            remedy = "write a section with a short name into variants.conf for each level (link.server = …)"
            several = [key for key in FACTORS if len({it.levels[key] for it in crossed}) > 1]
            if not several:
                raise ConfigError("parameters", "variants", one.variant, problem, remedy)
            key = max(several, key=lambda key: len(one.levels[key]))  # most of the name
            raise ConfigError("parameters", key, one.levels[key], problem, remedy)
