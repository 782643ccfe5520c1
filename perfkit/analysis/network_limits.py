"""Whether a cloud's limit on a machine's network was in the way of a test: then that was measured too.

An instance may send and receive only what its type allows, for a while more than that; what is beyond
waits or is dropped before it leaves, or arrives, and nothing in a test's own log tells this from a slow
network or VPN. The network card's counters do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfkit.analysis.counters import growth
from perfkit.logs.run_logs import Finding, RunLogs
from perfkit.model import Segment, Window
from perfkit.units import format_count, format_some

SUFFIX = "_allowance_exceeded"
CALLED = {
    "bw_in": "bandwidth in",
    "bw_out": "bandwidth out",
    "pps": "packets a second",
    "conntrack": "tracked connections",
    "linklocal": "packets to the cloud's own services",
}
NOT_OF_TESTS = frozenset({"linklocal"})  # DNS, time and metadata: no test's traffic
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """One counter of one host that grew in a window.

    Attributes:
        limit: Its name without the suffix.
        packets: By how much.
        seconds: Samples at which it had grown, of `samples` in the window.
    """

    host: str
    limit: str
    packets: int
    seconds: int
    samples: int

    def __str__(self) -> str:
        called = CALLED.get(self.limit, self.limit)
        return (
            f"{self.host}, {called}: {format_count(self.packets, 'packet')} in {self.seconds} of "
            f"{self.samples} s"
        )


def exceeded(limits: pd.DataFrame, window: Window) -> list[Exceeded]:
    """Every counter that grew in the window, the most packets first.

    A sample says what was held back since the one before it, so the first sample in the window is
    compared with the last one before it, where there is one.

    Args:
        limits: Frame `limits` with `t_s`.
    """
    found: dict[tuple[str, str], Exceeded] = {}
    early = limits[(limits["t_s"] <= window.end_s).to_numpy()]
    for (host, _, counter), own in early.groupby(["host", "device", "counter"], observed=True):
        ordered = own.sort_values("t_s")
        grown = growth(ordered["count"].to_numpy(dtype=np.int64))
        inside = grown[ordered["t_s"].to_numpy() > window.start_s]
        if not inside.any():
            continue
        limit = str(counter).removesuffix(SUFFIX)
        before = found.get((str(host), limit))  # of another card of the host
        found[str(host), limit] = Exceeded(
            host=str(host),
            limit=limit,
            packets=int(inside.sum()) + (before.packets if before else 0),
            seconds=max(int((inside > 0).sum()), before.seconds if before else 0),
            samples=max(len(inside), before.samples if before else 0),
        )
    return sorted(found.values(), key=lambda one: -one.packets)


def held_back(limits: pd.DataFrame, window: Window) -> float:
    """Packets of tests' traffic that limits held back in the window; NaN: no card says it of then."""
    if not limits["t_s"].between(window.start_s, window.end_s).any():
        return float("nan")
    return float(sum(o.packets for o in exceeded(limits, window) if o.limit not in NOT_OF_TESTS))


def held_back_share(limits: pd.DataFrame, window: Window, host: str) -> float:
    """Of the window's seconds, those in which one limit of a host held its tests' traffic back.

    That of the limit which did most often; NaN: no card of the host says it of then.
    """
    own = limits[(limits["host"] == host).to_numpy()]
    if not own["t_s"].between(window.start_s, window.end_s).any():
        return float("nan")
    grown = [one for one in exceeded(own, window) if one.limit not in NOT_OF_TESTS]
    return max((one.seconds / one.samples for one in grown), default=0.0)


def findings(logs: RunLogs, segments: Sequence[Segment]) -> list[Finding]:
    """A warning for each test in whose window a limit was exceeded."""
    found = []
    for segment in segments if len(logs.limits) else ():
        if segment.steady is None:
            continue
        grown = exceeded(logs.limits, segment.steady)
        of_tests = [str(one) for one in grown if one.limit not in NOT_OF_TESTS]
        others = [str(one) for one in grown if one.limit in NOT_OF_TESTS]
        if of_tests:
            text = (
                "the network limits of instances were exceeded in the window, and what was beyond them "
                f"was queued or dropped ({format_some(of_tests, _NAMED, '; ')}): this is the figure of "
                "the instance's shaper, not of the VPN or the network alone; take a larger type or one "
                "made for networks (c5n, c6in), or offer less"
            )
            found.append(Finding(segment.slot, text))
        if others:
            text = f"{format_some(others, _NAMED, '; ')} were held back; no test's traffic is among them"
            found.append(Finding(segment.slot, text, "note"))
    return found
