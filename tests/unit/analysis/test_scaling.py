"""How cost grows with the clients: exponents that are right, and words that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfkit.analysis.run_summary import Test
from perfkit.analysis.scaling import Growth, PowerLaw, bottleneck, fit
from perfkit.errors import CampaignError
from perfkit.runs.vpn_record import VpnRecord

OPENVPN = VpnRecord(name="openvpn", title="OpenVPN", single_core=True)

SIZES = [10, 20, 50, 100, 200]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.4])
def test_an_exact_power_law_is_found_exactly(exponent: float) -> None:
    law = fit(SIZES, [3.0 * n**exponent for n in SIZES])
    assert law.exponent == pytest.approx(exponent)
    assert law.high - law.low == pytest.approx(0, abs=1e-9)
    assert law.sizes == tuple(SIZES)


@pytest.mark.parametrize("runs", [3, 5, 9])
def test_the_interval_holds_the_true_exponent_in_95_percent_of_noisy_fits(runs: int) -> None:
    chance, hit, tries = np.random.default_rng(3), 0, 2000
    sizes = np.geomspace(10, 1000, runs)
    for _ in range(tries):
        law = fit(sizes, sizes**1.2 * chance.lognormal(0, 0.1, runs))
        hit += law.low <= 1.2 <= law.high
    assert hit / tries == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("clients", "cost"),
    [([10, 20], [1, 2]), ([10, 10, 10], [1, 2, 3]), ([10, 20, 30], [1, math.nan, 0])],
)
def test_too_little_to_fit_is_an_error_that_says_what_is_needed(
    clients: list[float], cost: list[float]
) -> None:
    with pytest.raises(CampaignError, match="needs 3 runs of two sizes"):
        fit(clients, cost)


@pytest.mark.parametrize(
    ("low", "high", "proportional", "says"),
    [
        (1.1, 1.3, 1, "faster than the clients"),
        (0.5, 0.9, 1, "slower than the clients"),
        (-0.1, 0.1, 1, "slower than the clients; perhaps not at all"),
        (0.9, 1.1, 1, "no evidence against in proportion to the clients"),
        (0.1, 0.2, 0, "grows with the clients"),
        (-0.1, 0.2, 0, "no evidence of a change with the clients"),
        (math.nan, math.nan, 1, "not known: too few runs for an interval"),
    ],
)
def test_the_words_follow_from_the_interval(
    low: float, high: float, proportional: float, says: str
) -> None:
    law = PowerLaw(exponent=(low + high) / 2, low=low, high=high, runs=5, sizes=(1, 2))
    assert Growth(where="t", cost="c", proportional=proportional, law=law).reading == says


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"vpn_cores": 0.98, "cpu_busy_pct": 50.0}, "OpenVPN used 0.98 cores"),
        ({"cpu_busy_pct": 99.0}, "the processors were 99 % busy (server, clients"),
        ({"busiest_core_pct": 97.0}, "one core was 97 % busy"),
        ({"vpn_cores": 0.2, "cpu_busy_pct": 20.0}, "nothing watched was full: OpenVPN 0.20"),
        ({}, "nothing was watched"),
    ],
)
def test_what_was_full_is_named(figures: dict[str, float], says: str) -> None:
    test = Test(key="t", slot="01-t", figures=figures, goodput_bps=(), spread={})
    assert bottleneck(test, OPENVPN, shared_cpu=True).startswith(says)
