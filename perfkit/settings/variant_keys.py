"""The keys of a section of variants.conf one by one, each refused where its value cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from perfkit.errors import ConfigError
from perfkit.model import HostLink
from perfkit.settings import links

T = TypeVar("T")


def binary(vpn: str, keys: Mapping[str, str], where: str) -> str:
    """The program that stands in place of the VPN's own; empty: none."""
    key = f"{vpn}.binary"
    value = keys.get(key, "")
    if key in keys and not (value.startswith("/") and value.isprintable()):
        problem = "not an absolute path"
        raise ConfigError(where, key, value, problem, "name a program that is there on every host")
    return value


def control(keys: Mapping[str, str], where: str) -> bool:
    """Whether it may equal another variant."""
    words = {"yes": True, "no": False}
    value = keys.get("control", "no")
    if value not in words:
        remedy = "write yes or no, or remove the line"
        raise ConfigError(where, "control", value, "neither yes nor no", remedy)
    return words[value]


def parsed(key: str, read: Callable[[str], T], keys: Mapping[str, str], where: str) -> T | None:
    """What a key asks for, as its text is read; None: as the parameters say."""
    try:
        return read(keys[key]) if key in keys else None
    except ValueError as exc:
        raise _refused(where, key, keys[key], exc) from exc


def links_by_side(keys: Mapping[str, str], where: str) -> dict[str, HostLink]:
    """Links by role or host; `none` is one that bounds nothing."""
    found: dict[str, HostLink] = {}
    for key, value in keys.items():
        first, _, side = key.partition(".")
        if first != "link":
            continue
        try:
            sides = links.sides_of(side)
            link = HostLink() if value == links.NONE else links.parse_link(value)
        except ValueError as exc:
            raise _refused(where, key, value, exc) from exc
        for one in sides:
            if one in found:
                problem = f"given for the {one} by another key too"
                raise ConfigError(where, key, value, problem, "remove one of them")
            found[one] = link
    return found


def _refused(where: str, key: str, value: str, exc: ValueError) -> ConfigError:
    """What is wrong with a value, and what follows a semicolon there as the remedy."""
    problem, _, remedy = str(exc).removeprefix(f"{value}: ").partition("; ")
    return ConfigError(where, key, value, problem, remedy or "compare it with the sample file")
