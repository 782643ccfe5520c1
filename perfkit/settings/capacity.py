"""What a search for capacity looks for, as a person writes it, in and out; and what has no such search.

::

    0.5%                                          the most that may be lost
    loss 0.5%, width 2%                           how near the bounds must be
    loss 0.1%, from 10mbit, to 2gbit              the loads between which is searched, all clients together
    loss 0%, trials 5, exceed 20%                 a load is carried when one of five trials may lose more

`=` may stand in place of the blank: loss=0.5%.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import CapacityGoal, TestKind, TestSpec
from perfkit.settings.links import FASTEST_BPS, SLOWEST_BPS, format_rate, parse_rate
from perfkit.settings.tests_conf import refuse_unread_rate
from perfkit.units import parse_number

SEARCHED = (TestKind.UDP, TestKind.PPS)  # whose datagrams are counted at both ends
MOST_LOSS, MOST_EXCEED = 0.2, 0.5
NARROWEST, WIDEST = 0.005, 0.5
MOST_TRIALS = 20

_SHARE = re.compile(r"([0-9.]+) ?%")
_LOSS_WORDS = "write the share of the datagrams with its sign: 0.5%, or loss 0.5%, width 5%"


def parse_capacity(value: object) -> CapacityGoal | None:
    """A goal of its words; None where it is empty.

    Raises:
        ValueError: an unknown word, one that is there twice, a share without its sign, or a value
            that no search has.
    """
    if isinstance(value, CapacityGoal):
        return value
    if value is None or value == "":
        return None
    found: dict[str, float] = {}
    for item in str(value).split(","):
        word, _, rest = item.strip().replace("=", " ").partition(" ")
        name, text = ("loss", word) if word[:1].isdigit() else (word.lower(), rest.strip())
        if name not in _WORDS:
            raise ValueError(f"{item.strip()}: {did_you_mean(name, _WORDS)}; {_LOSS_WORDS}")
        key, read = _WORDS[name]
        if key in found:
            raise ValueError(f"{item.strip()}: {name} is there twice; name it once")
        found[key] = read(name, text)
    if "loss_ratio" not in found:
        raise ValueError(f"{value}: no loss is given; {_LOSS_WORDS}")
    goal = CapacityGoal(**found)  # type: ignore[arg-type] # trials is a whole number, as read
    if goal.from_bps >= goal.to_bps:
        raise ValueError(
            f"{value}: the search goes from {format_rate(goal.from_bps)} to "
            f"{format_rate(goal.to_bps)}; give a higher one (to 2gbit) or a lower one (from 1mbit)"
        )
    return goal


def format_capacity(goal: CapacityGoal | None) -> str:
    """The words of a goal, those of its defaults left out; what `parse_capacity` reads."""
    if goal is None:
        return ""
    words = {key: name for name, (key, _) in _WORDS.items()}
    return ", ".join(
        f"{words[field.name]} {_shown(field.name, getattr(goal, field.name))}"
        for field in fields(goal)
        if field.default is MISSING or getattr(goal, field.name) != field.default
    )


def _shown(key: str, value: float) -> str:
    if key.endswith("_bps"):
        return format_rate(value)
    return str(value) if key == "trials" else f"{100 * value:.12g}%"


def _share(least: float, most: float) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        found = _SHARE.fullmatch(text)
        if found is None:
            raise ValueError(f"{name} {text}: no share; {_LOSS_WORDS}")
        share = parse_number(found[1], whole=False) / 100
        if not least <= share <= most:
            raise ValueError(
                f"{name} {text}: from {100 * least:g}% to {100 * most:g}% can be asked"
            )
        return share

    return read


def _trials(name: str, text: str) -> int:
    count = int(parse_number(text, whole=True))
    if not 1 <= count <= MOST_TRIALS:
        raise ValueError(f"{name} {text}: from 1 to {MOST_TRIALS} can be asked")
    return count


def _rate(name: str, text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as exc:
        raise ValueError(f"{name} {exc}") from None


_WORDS: Mapping[str, tuple[str, Callable[[str, str], float]]] = {
    "loss": ("loss_ratio", _share(0.0, MOST_LOSS)),
    "width": ("width", _share(NARROWEST, WIDEST)),
    "exceed": ("exceed_ratio", _share(0.0, MOST_EXCEED)),
    "trials": ("trials", _trials),
    "from": ("from_bps", _rate),
    "to": ("to_bps", _rate),
}


def trial_bounds(goal: CapacityGoal | None) -> tuple[int, int]:
    """Trials of a search: what it needs without noise, and where it is ended; (1, 1) of none.

    Without noise two trials begin it, and a load on each side of the capacity is decided. With noise it
    needs half as many more, and seldom three times as many.
    """
    if goal is None:
        return 1, 1
    agree = goal.trials - math.floor(goal.trials * goal.exceed_ratio)  # that decide a load
    return 2 + 2 * agree, 4 * (2 + 2 * agree)


def load_bounds(goal: CapacityGoal, clients: int) -> tuple[float, float]:
    """The least and the highest load of a search, bit/s of all clients: a client has bounds as well."""
    return max(goal.from_bps, clients * SLOWEST_BPS), min(goal.to_bps, clients * FASTEST_BPS)


def refuse_beside(*, rates: Sequence[str], precision: float | None) -> None:
    """Refuse what a search decides by itself.

    Raises:
        ConfigError: with what to leave out.
    """
    if rates:
        problem = "the search for capacity chooses the rate of each trial"
        remedy = "leave rate out; the loads are bounded by from and to: capacity = 0.5%, to 100mbit"
        raise ConfigError("parameters", "rate", ",".join(rates), problem, remedy)
    if precision is not None:
        problem = "a search ends when its own bounds are as near as its width"
        remedy = "leave precision out, and give repetitions and, for nearer bounds, width: 0.5%, width 2%"
        raise ConfigError("parameters", "precision", precision, problem, remedy)


def require_searchable(
    goal: CapacityGoal, tests: Sequence[TestSpec], *, clients: Sequence[int]
) -> None:
    """Refuse tests that no search can be made of.

    Raises:
        ConfigError: with which to choose.
    """
    text = format_capacity(goal)
    names = ",".join(test.name for test in tests)
    choose = "choose one test of kind udp or pps of tests.conf: tests = tunnel-udp"
    if len(tests) != 1:
        problem = f"a search is about one test, and these are {len(tests)}"
        raise ConfigError("parameters", "tests", names, problem, choose)
    (test,) = tests
    if test.kind not in SEARCHED:
        problem = f"a test of kind {test.kind} loses no datagrams that are counted"
        raise ConfigError("parameters", "tests", names, problem, choose)
    if test.server is not None:
        problem = (
            f"the log of its server {test.server} does not come home, which counts the datagrams"
        )
        raise ConfigError("parameters", "tests", names, problem, "leave server out of its section")
    refuse_unread_rate(tests, text, source="parameters")
    for count in clients:
        least, most = load_bounds(goal, count)
        if least >= most * (1 - goal.width):
            problem = (
                f"with {count} clients the search goes from {format_rate(least)} (each offers at least "
                f"{format_rate(SLOWEST_BPS)}) to {format_rate(most)}, which is no more than its width"
            )
            raise ConfigError(
                "parameters", "capacity", text, problem, "give a higher one: to 2gbit"
            )
