"""Which figure of a test an answer is about: its kind's headline, and the primary figures with it.

A design names its primary figures for tests that carry bytes. In those of another kind the headline
figure of the kind stands in the place of goodput, and the VPN's CPU time per packet in that of the time
per Gbit where packets are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.kind_figures import HEADLINE
from perfkit.model import TestKind

_GOODPUT, *_BOTH = GOODPUT
_BOTH_WAYS = tuple(_BOTH)


def kind_of(frame: pd.DataFrame, test: str) -> TestKind:
    """The kind of a test; of frames made before there were others, tcp."""
    known = frame.loc[((frame["test"] == test) & (frame["kind"] != "")).to_numpy(), "kind"]
    return TestKind(known.iloc[0]) if len(known) else TestKind.TCP


def headline_of(frame: pd.DataFrame, test: str) -> str:
    """The figure that stands for a test: its kind's; goodput where no block has that but goodput.

    Traffic that went both ways has a goodput of each, whatever kind the test was called.
    """
    own = frame[(frame["test"] == test).to_numpy()]
    figure = HEADLINE[kind_of(frame, test)]
    known = [f for f in (figure, _GOODPUT, _BOTH_WAYS[0]) if f in own and own[f].notna().any()]
    return next(iter(known), figure)


def headlines_of(frame: pd.DataFrame, test: str) -> tuple[str, ...]:
    """The figures that stand for a test: its headline, and of traffic both ways that of each."""
    figure = headline_of(frame, test)
    return _BOTH_WAYS if figure in _BOTH_WAYS else (figure,)


def primary_of(kind: TestKind, primary: Sequence[str]) -> tuple[str, ...]:
    """What of a design's primary figures stands for in a test of a kind."""
    places = {_GOODPUT: _BOTH_WAYS if kind is TestKind.TCP_BOTH else (HEADLINE[kind],)}
    if kind is TestKind.PPS:
        places["vpn_cpu_s_per_gbit"] = ("vpn_cpu_us_per_packet",)
    found = [name for figure in primary for name in places.get(figure, (figure,))]
    return tuple(dict.fromkeys(found))


def primary_figures(
    frame: pd.DataFrame, tests: Collection[str], primary: Sequence[str]
) -> tuple[str, ...]:
    """The primary figures of several tests, each once."""
    found = [figure for test in tests for figure in primary_of(kind_of(frame, test), primary)]
    return tuple(dict.fromkeys(found)) or tuple(primary)
