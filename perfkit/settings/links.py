"""Links of hosts and rates of clients as a person writes them, in and out.

::

    200kbit                                        a rate; also bit, mbit, gbit
    100mbit, loss 1%, delay 20ms, jitter 2ms       what a link may say, each at most once
    server 100mbit                                 whose link: server, client, both, or a host's name
    server 1gbit and client 20mbit, loss 1%        links of several

A link without a word for whose it is is the server's: it is what the tests are about. `none` is no
link. Several levels of a factor stand apart by `;` (links) or `,` (rates), or are a list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from perfkit.model import HostLink, Role
from perfkit.units import SI_PREFIXES, parse_number

NONE = "none"
SIDES: Mapping[str, tuple[str, ...]] = {**{it: (it,) for it in Role}, "both": tuple(Role)}
SLOWEST_BPS, FASTEST_BPS = 8e3, 10e9
LEAST_LOSS, MOST_LOSS = 1e-5, 0.5
LONGEST_DELAY_S = 10.0

_HOST = re.compile(r"client-[0-9]{3,}")
_RATE = re.compile(r"([0-9.]+) ?([kmg]?)bit(?:/s)?", re.IGNORECASE)
_LOSS = re.compile(r"([0-9.]+) ?%")
_TIME = re.compile(r"([0-9.]+) ?(ms|s)")
_RATE_WORDS = "write bits with their unit: 200kbit, 100mbit, 1gbit"
_LINK_WORDS = "write it like 100mbit, loss 1%, delay 20ms, jitter 2ms"


def parse_rate(text: object) -> float:
    """bit/s of `200kbit`, `1.5 Mbit/s`.

    Raises:
        ValueError: another unit, or none; out of bounds.
    """
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text}: no rate; {_RATE_WORDS}")
    bps = parse_number(found[1], whole=False) * SI_PREFIXES[found[2].upper()]
    if not SLOWEST_BPS <= bps <= FASTEST_BPS:
        raise ValueError(
            f"{text}: from {format_rate(SLOWEST_BPS)} to {format_rate(FASTEST_BPS)} can be had"
        )
    return bps


def format_rate(bps: float) -> str:
    """The shortest way to write a rate: `200kbit`; what `parse_rate` reads."""
    prefix, factor = max(
        ((name, size) for name, size in SI_PREFIXES.items() if name != "T" and size <= max(bps, 1)),
        key=lambda it: it[1],
    )
    return f"{bps / factor:.12g}{prefix.lower()}bit"


def parse_link(text: str) -> HostLink:
    """One link, without whose it is.

    Raises:
        ValueError: an unknown word or unit, one that is there twice, or a value that no link has.
    """
    found: dict[str, float] = {}
    for item in (part.strip() for part in text.split(",")):
        word, _, rest = item.partition(" ")
        read = _WORDS.get(word.lower())
        name, value = (word.lower(), read(item, rest.strip())) if read else ("rate", _rate_of(item))
        if name in found:
            raise ValueError(f"{text}: {name} is there twice; name it once")
        found[name] = value
    delay_s, jitter_s = found.get("delay", 0.0), found.get("jitter", 0.0)
    if jitter_s > delay_s:
        raise ValueError(
            f"{text}: the jitter is more than the delay; give a delay of {jitter_s:g}s"
        )
    return HostLink(
        rate_bps=found.get("rate"),
        loss_ratio=found.get("loss", 0.0),
        delay_s=delay_s,
        jitter_s=jitter_s,
    )


def format_link(link: HostLink) -> str:
    """A link as `parse_link` reads it."""
    words = [] if link.rate_bps is None else [format_rate(link.rate_bps)]
    words += [f"loss {100 * link.loss_ratio:.6g}%"] if link.loss_ratio else []
    words += [f"delay {1000 * link.delay_s:.6g}ms"] if link.delay_s else []
    words += [f"jitter {1000 * link.jitter_s:.6g}ms"] if link.jitter_s else []
    return ", ".join(words)


def parse_links(text: str) -> dict[str, HostLink]:
    """The links of one level, by role or host; none for `none`.

    Raises:
        ValueError: as `parse_link`, or one host or role has two.
    """
    found: dict[str, HostLink] = {}
    if text.strip().lower() == NONE:
        return found
    for part in re.split(r"\s+and\s+", text.strip()):
        first, _, rest = part.partition(" ")
        named = first in SIDES or _HOST.fullmatch(first) is not None
        side, words = (first, rest) if named else (Role.SERVER, part)
        for one in sides_of(side):
            if one in found:
                raise ValueError(f"{text}: two links of {one}; join them with commas")
            found[one] = parse_link(words.strip())
    return found


def sides_of(side: str) -> tuple[str, ...]:
    """The roles, or the host, that a word stands for.

    Raises:
        ValueError: for none.
    """
    if side in SIDES:
        return SIDES[side]
    if not _HOST.fullmatch(side):
        raise ValueError(
            f"{side}: no side of a link; known are {', '.join(SIDES)} and client-001, …"
        )
    return (side,)


def format_links(links: Mapping[str, HostLink]) -> str:
    """Links as `parse_links` reads them."""
    if len(links) == 2 and links.keys() == set(Role) and len(set(links.values())) == 1:
        return f"both {format_link(links[Role.SERVER])}"
    return " and ".join(f"{side} {format_link(it)}" for side, it in links.items()) or NONE


def parse_rate_levels(value: object) -> tuple[str, ...]:
    """The levels of `rate`, each as `format_rate` writes it; none where it is empty.

    Raises:
        ValueError: one is no rate, or there twice.
    """
    return _levels(value, ",", lambda text: format_rate(parse_rate(text)))


def parse_link_levels(value: object) -> tuple[str, ...]:
    """The levels of `link`, each as `format_links` writes it; none where it is empty.

    Raises:
        ValueError: one is no link, or there twice.
    """
    return _levels(value, ";", lambda text: format_links(parse_links(text)))


def level_name(level: str) -> str:
    """A level as a part of a variant's name: `server 100mbit, loss 0.1%` is `100mbit-loss0_1`."""
    words = re.sub(r"\bserver |%|(?<=delay )|(?<=\d)ms\b", "", level)
    words = re.sub(r"(loss|delay|jitter) ", r"\1", words).replace(".", "_")
    return re.sub(r"[, ]+", "-", words).lower()


def _levels(value: object, apart: str, read: Callable[[str], str]) -> tuple[str, ...]:
    items = (
        list(value)
        if isinstance(value, list | tuple)
        else str("" if value is None else value).split(apart)
    )
    levels = [read(str(item).strip()) for item in items if str(item).strip()]
    twice = next((it for it in levels if levels.count(it) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; name it once, and use repetitions")
    return tuple(levels)


def _rate_of(item: str) -> float:
    try:
        return parse_rate(item)
    except ValueError as exc:
        known = "" if _RATE.fullmatch(item) else f"; {_LINK_WORDS}"
        raise ValueError(f"{exc}{known}") from None


def _loss_of(item: str, text: str) -> float:
    found = _LOSS.fullmatch(text)
    if found is None:
        raise ValueError(f"{item}: a loss is a share of the packets with its sign: loss 1%")
    share = parse_number(found[1], whole=False) / 100
    if not LEAST_LOSS <= share <= MOST_LOSS:
        raise ValueError(
            f"{item}: from {100 * LEAST_LOSS:g}% to {100 * MOST_LOSS:g}% can be had: loss 1%"
        )
    return share


def _time_of(item: str, text: str) -> float:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{item}: a time with its unit is needed: {item.partition(' ')[0]} 20ms")
    seconds = parse_number(found[1], whole=False) / (1000 if found[2] == "ms" else 1)
    if not 0 < seconds <= LONGEST_DELAY_S:
        raise ValueError(f"{item}: more than 0 and at most {LONGEST_DELAY_S:g}s can be had")
    return seconds


_WORDS: Mapping[str, Callable[[str, str], float]] = {
    "loss": _loss_of,
    "delay": _time_of,
    "jitter": _time_of,
}
