"""How cost grows with the number of clients, and what was full when it did.

A power law, cost = c * clients^b, is fitted by least squares on the logarithms of both. b = 1
means in proportion to the clients, b = 0 no change with them; the interval is Student's t with
runs - 2 degrees of freedom. A law fitted on few sizes says nothing beyond them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfkit.analysis.confidence import student_t
from perfkit.analysis.run_summary import Reduced, Test
from perfkit.analysis.welch import LEVEL
from perfkit.errors import CampaignError
from perfkit.runs.vpn_record import VpnRecord

LEAST_RUNS = 3
FULL_CORE = 0.9  # of one core, by a program that works on one
FULL_CPU_PCT = 95.0
METHOD = (
    "Fit: log cost = log c + b log clients by least squares over runs, 95 % interval of b by "
    "Student's t with runs - 2 degrees of freedom. b = 1: cost grows as the clients do; b = 0: "
    "not at all"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """A fitted exponent with its 95 % interval (NaN to NaN: the points say nothing about it)."""

    exponent: float
    low: float
    high: float
    runs: int
    sizes: tuple[int, ...]

    def against(self, exponent: float) -> int:
        """1 or -1 when the interval lies above or below an exponent, else 0."""
        return int(self.low > exponent) - int(self.high < exponent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How one cost of one test grows.

    Attributes:
        proportional: The exponent that means "as expected": 1 for a cost of the whole run, 0 for
            the cost of one unit.
    """

    where: str
    cost: str
    proportional: float
    law: PowerLaw

    @property
    def reading(self) -> str:
        """What the interval says, in words."""
        side = self.law.against(self.proportional)
        if not np.isfinite(self.law.low):
            return "not known: too few runs for an interval"
        if self.proportional == 0:
            words = {1: "grows with the clients", -1: "falls with more clients"}
            return words.get(side, "no evidence of a change with the clients")
        words = {1: "faster than the clients", -1: "slower than the clients"}
        if side == -1 and self.law.against(0.0) == 0:
            return "slower than the clients; perhaps not at all"
        return words.get(side, "no evidence against in proportion to the clients")


def fit(clients: Sequence[float], cost: Sequence[float]) -> PowerLaw:
    """Fit the exponent.

    Args:
        clients: Of each run, positive.
        cost: Of each run; what is not positive or not known is left out.

    Raises:
        CampaignError: fewer than three runs, or all of one size, are left.
    """
    x, y = np.asarray(clients, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    usable = (x > 0) & np.isfinite(y) & (y > 0)
    x, y = np.log(x[usable]), np.log(y[usable])
    sizes = tuple(sorted({round(value) for value in np.exp(x).tolist()}))
    if len(x) < LEAST_RUNS or len(sizes) < 2:
        raise CampaignError(
            f"an exponent needs {LEAST_RUNS} runs of two sizes; {len(x)} of sizes {sizes} are known"
        )
    centred = x - x.mean()
    squares = float((centred**2).sum())
    exponent = float((centred * y).sum() / squares)
    rest = y - y.mean() - exponent * centred
    degrees = len(x) - 2
    error = float(np.sqrt((rest**2).sum() / degrees / squares))
    half = error * student_t(degrees, LEVEL)
    return PowerLaw(
        exponent=exponent, low=exponent - half, high=exponent + half, runs=len(x), sizes=sizes
    )


# Cost of a test, and the exponent that means nothing special.
COSTS: Mapping[str, float] = {
    "goodput_bps": 1.0,
    "client_median_bps": 0.0,
    "vpn_cores": 1.0,
    "vpn_cpu_s_per_gbit": 0.0,
}


def growth(runs: Sequence[Reduced]) -> list[Growth]:
    """Every cost that has three runs of two sizes or more; empty when all runs are of one size."""
    found = []
    for where, cost, proportional, pairs in _costs(runs):
        try:
            law = fit([clients for clients, _ in pairs], [value for _, value in pairs])
        except CampaignError:
            continue
        found.append(Growth(where=where, cost=cost, proportional=proportional, law=law))
    return found


def _costs(
    runs: Sequence[Reduced],
) -> Iterator[tuple[str, str, float, list[tuple[float, float]]]]:
    for key in dict.fromkeys(test.key for run in runs for test in run.tests):
        tests = [test for run in runs if (test := run.find_test(key)) is not None]
        for cost, proportional in COSTS.items():
            yield (
                key,
                cost,
                proportional,
                [(float(len(t.goodput_bps)), t.figure(cost)) for t in tests],
            )
    for name in dict.fromkeys(phase for run in runs for phase in run.phases):
        pairs = [(float(run.clients), run.phases.get(name, np.nan)) for run in runs]
        yield f"phase {name}", "elapsed_s", 1.0, pairs


def bottleneck(test: Test, vpn: VpnRecord, *, shared_cpu: bool) -> str:
    """What was full in a test, among what was watched; a link's own limit is not known here."""
    cores, busiest = test.figure("vpn_cores"), test.figure("busiest_core_pct")
    busy = test.figure("cpu_busy_pct")
    full = []
    if vpn.single_core and cores >= FULL_CORE:
        full.append(f"{vpn.title} used {cores:.2f} cores; its traffic is the work of one")
    if busiest >= FULL_CPU_PCT:
        full.append(f"one core was {busiest:.0f} % busy")
    if busy >= FULL_CPU_PCT:
        whose = "server, clients and generators share them" if shared_cpu else "the server's"
        full.append(f"the processors were {busy:.0f} % busy ({whose})")
    if full:
        return "; ".join(full)
    seen = [f"{vpn.title} {cores:.2f} cores"] if np.isfinite(cores) else []
    seen += [f"processors {busy:.0f} % busy"] if np.isfinite(busy) else []
    return f"nothing watched was full: {', '.join(seen)}" if seen else "nothing was watched"
