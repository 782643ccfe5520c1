"""Campaigns whose truth is known, drawn without any code of perfkit: what the analysis is tried on.

`records` draws a whole campaign, `repetitions` one repetition after the other; both give rows as
dictionaries with the names of the cells frame. The figure of a test in a block is

    law(clients) * factor of the variant * factor of the test * exp(block + own + drift)

where `block` is shared by all tests of a block and `own` is drawn for each test; together their
standard deviation is `spread`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a campaign is drawn from.

    Attributes:
        law: Mean (of the logarithm: median) goodput of the tunnel in bit/s at so many clients.
        spread: Standard deviation of the logarithm of a figure from block to block.
        shared: Share of that variance which all tests of a block have in common.
        tail: `normal`, or `heavy`: Student's t with 3 degrees of freedom, of the same s.d.
        drift: Change of the logarithm from the campaign's begin to the end of `repetitions`.
        tests: Factor of each test; those whose name begins with `direct` run beside the tunnel.
        resources: Figures of the server and the clients at so many clients, as a tunnel test has
            them; drawn with an s.d. of `resource_spread` of their value, percents end at 100.
    """

    sizes: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    law: Callable[[float], float] = lambda clients: 300e6 + 0.0 * clients
    repetitions: int = 5
    spread: float = 0.05
    shared: float = 0.0
    tail: str = "normal"
    drift: float = 0.0
    variants: Mapping[str, float] = field(default_factory=lambda: {"base": 1.0})
    tests: Mapping[str, float] = field(default_factory=lambda: {"tunnel-tcp": 1.0})
    cpu_s_per_gbit: float = 2.0
    resources: Callable[[float], Mapping[str, float]] = lambda _clients: {}
    resource_spread: float = 0.01
    single_core: bool = True
    shared_cpu: bool = False


def draws(truth: Truth, rng: np.random.Generator, count: int, share: float = 1.0) -> Floats:
    """Deviations of logarithms."""
    scale = truth.spread * np.sqrt(share)
    if truth.tail == "heavy":  # the s.d. of t with 3 degrees of freedom is the root of 3
        return np.asarray(rng.standard_t(3, count) * scale / np.sqrt(3.0))
    return np.asarray(rng.normal(0.0, scale, count))


def repetitions(truth: Truth, rng: np.random.Generator) -> Iterator[list[Record]]:
    """One repetition after the other, without end: sizes in a drawn order, variants AB, then BA."""
    block, number = 0, 0
    planned = truth.repetitions * len(truth.sizes) * len(truth.variants)
    while True:
        number += 1
        rows: list[Record] = []
        for size in rng.permutation(truth.sizes).tolist():
            variants = list(truth.variants)
            for variant in variants if (number + size) % 2 else variants[::-1]:
                block += 1
                drift = truth.drift * (block - 1) / max(planned - 1, 1)
                place = {"block": block, "repetition": number, "clients": size, "variant": variant}
                rows += _block(truth, rng, place, drift)
        yield rows


def records(truth: Truth, rng: np.random.Generator) -> list[Record]:
    """All rows of a campaign of `truth.repetitions`."""
    return [row for rows in islice(repetitions(truth, rng), truth.repetitions) for row in rows]


def _block(
    truth: Truth, rng: np.random.Generator, place: Mapping[str, Any], drift: float
) -> list[Record]:
    shared = draws(truth, rng, 1, truth.shared)[0]
    own = draws(truth, rng, len(truth.tests), 1.0 - truth.shared)
    level = truth.law(place["clients"]) * truth.variants[place["variant"]]
    goodput = {
        test: level * factor * float(np.exp(shared + deviation + drift))
        for (test, factor), deviation in zip(truth.tests.items(), own, strict=True)
    }
    direct = next((v for test, v in goodput.items() if test.startswith("direct")), np.nan)
    rows = []
    for position, test in enumerate(rng.permutation(list(truth.tests)).tolist(), start=1):
        in_tunnel = not test.startswith("direct")
        cpu = truth.cpu_s_per_gbit * float(np.exp(draws(truth, rng, 1)[0]))
        rows.append(
            {
                **place,
                "folder": f"blocks/{place['block']:04d}",
                "attempt": 1,
                "test": test,
                "path": "tunnel" if in_tunnel else "direct",
                "position": position,
                "started_s": 60.0 * (place["block"] - 1),
                "window_s": 30.0,
                "host_s": 60.0 * (place["clients"] + 1),
                "vpn_single_core": truth.single_core,
                "shared_cpu": truth.shared_cpu,
                "goodput_bps": goodput[test],
                "client_median_bps": goodput[test] / place["clients"],
                "jain": 1.0,
                "vpn_cpu_s_per_gbit": cpu if in_tunnel else np.nan,
                "vs_direct": goodput[test] / direct if in_tunnel else np.nan,
                **(_used(truth, rng, place["clients"]) if in_tunnel else {}),
            }
        )
    return rows


def _used(truth: Truth, rng: np.random.Generator, clients: int) -> Record:
    used = {}
    for name, value in truth.resources(clients).items():
        drawn = value * float(rng.normal(1.0, truth.resource_spread))
        used[name] = min(drawn, 100.0) if name.endswith("_pct") else drawn
    return used


def ar1(rng: np.random.Generator, seconds: int, correlation: float, spread: float) -> Floats:
    """Rates around 1 whose neighbours are correlated so much, s.d. `spread`; stationary."""
    noise = rng.normal(0.0, spread * np.sqrt(1 - correlation**2), seconds)
    values = np.empty(seconds)
    values[0] = rng.normal(0.0, spread)
    for second in range(1, seconds):
        values[second] = correlation * values[second - 1] + noise[second]
    return np.asarray(1.0 + values)


def sawtooth(rng: np.random.Generator, seconds: int, period_s: float, depth: float) -> Floats:
    """Rates around 1 of a sender that grows and falls back by `depth`, at a drawn phase.

    Each is the mean over its second, as a counter's is.
    """
    parts = (np.arange(seconds * 50) + 0.5) / 50
    phase = (parts / period_s + rng.uniform()) % 1.0
    return np.asarray(
        1.0
        + depth * (phase.reshape(seconds, 50).mean(axis=1) - 0.5)
        + rng.normal(0.0, 0.02, seconds)
    )


def ramp(rng: np.random.Generator, seconds: int, ramp_s: float, spread: float) -> Floats:
    """Rates that grow linearly for so long and stay at 1 then."""
    shape = np.minimum((np.arange(seconds) + 0.5) / ramp_s, 1.0) if ramp_s else np.ones(seconds)
    return np.asarray(shape * (1.0 + rng.normal(0.0, spread, seconds)))
