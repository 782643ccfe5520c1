"""Variants crossed with the levels of `rate` and `link`: every combination is a variant by itself.

One level, or none, is no factor: the variants keep their names, and the level is the run's. Several
levels make of `base` the variants `base-200kbit` and `base-1mbit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from perfkit.errors import ConfigError
from perfkit.runs.folder import NAME_PATTERN
from perfkit.settings.links import level_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """One combination.

    Attributes:
        name: Of the variant that it is.
        variant: The one of variants.conf, or `base`.
        rate: Its level of `rate`; empty: there is none.
        link: Its level of `link`; empty: there is none.
    """

    name: str
    variant: str
    rate: str = ""
    link: str = ""


def cross(
    variants: Sequence[str], rates: Sequence[str], links: Sequence[str]
) -> tuple[Crossed, ...]:
    """All combinations, those of a variant together."""
    found = []
    for variant, rate, link in product(variants, rates or ("",), links or ("",)):
        words = [variant, *(level_name(rate) for _ in rates[1:2])]
        words += [level_name(link) for _ in links[1:2]]
        found.append(Crossed(name="-".join(words), variant=variant, rate=rate, link=link))
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
            raise ConfigError(
                "parameters", "link" if one.link else "rate", one.link or one.rate, problem, remedy
            )
