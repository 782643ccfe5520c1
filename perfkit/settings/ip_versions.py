"""The version of IP that traffic uses, inside the tunnel and outside it: 4 or 6, or both as a factor."""

from __future__ import annotations

from perfkit.settings.levels import parse_items

IP_KEYS = ("inside_ip", "outside_ip")  # of the parameters, of variants.conf, and of `Variant`
_VERSIONS = ("4", "6")


def parse_ip_version(value: object) -> int:
    """One version.

    Raises:
        ValueError: it is none; with what to write.
    """
    if str(value).strip() not in _VERSIONS:
        raise ValueError(f"{value}: no version of IP; write 4 or 6")
    return int(str(value))


def parse_ip_versions(value: object) -> tuple[str, ...]:
    """None, one, or both: `6`, `4,6`.

    Raises:
        ValueError: one is no version, or comes twice.
    """
    found = tuple(str(parse_ip_version(item)) for item in parse_items(value) if item != "")
    if len(set(found)) < len(found):
        raise ValueError(f"{value}: a version is there twice; write 4,6")
    return found
