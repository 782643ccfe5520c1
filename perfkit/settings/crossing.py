"""Variants crossed with the levels of `rate`, `link` and IP: every combination is a variant by itself.

One level, or none, is no factor: the variants keep their names, and the level is the run's. Several
levels make of `base` the variants `base-200kbit` and `base-1mbit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from perfkit.errors import ConfigError
from perfkit.runs.folder import NAME_PATTERN
from perfkit.settings.ip_versions import IP_KEYS
from perfkit.settings.links import level_name

_WORDS = {"inside_ip": "in", "outside_ip": "out"}  # before a level that is a bare number


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """One combination.

    Attributes:
        name: Of the variant that it is.
        variant: The one of variants.conf, or `base`.
        rate: Its level of `rate`; empty: there is none.
        link: Its level of `link`; empty: there is none.
        inside_ip, outside_ip: The same of these.
    """

    name: str
    variant: str
    rate: str = ""
    link: str = ""
    inside_ip: str = ""
    outside_ip: str = ""

    @property
    def ip_versions(self) -> dict[str, str]:
        """Its levels of IP, by the key of their parameter."""
        return {key: getattr(self, key) for key in IP_KEYS}


def cross(
    variants: Sequence[str],
    rates: Sequence[str],
    links: Sequence[str],
    inside_ip: Sequence[str] = (),
    outside_ip: Sequence[str] = (),
) -> tuple[Crossed, ...]:
    """All combinations, those of a variant together."""
    factors: dict[str, Sequence[str]] = {"rate": rates, "link": links}
    factors |= {"inside_ip": inside_ip, "outside_ip": outside_ip}
    found = []
    for variant, *levels in product(variants, *(own or ("",) for own in factors.values())):
        chosen = dict(zip(factors, levels, strict=True))
        words = [
            f"{_WORDS.get(key, '')}{level_name(level)}"
            for key, level in chosen.items()
            if len(factors[key]) > 1
        ]
        found.append(Crossed(name="-".join([variant, *words]), variant=variant, **chosen))
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
            levels = {"link": one.link, "rate": one.rate, **one.ip_versions}
            key = next((key for key, level in levels.items() if level), "variants")
            raise ConfigError("parameters", key, levels.get(key, one.variant), problem, remedy)
