"""How figures grow over runs of several sizes, each series by itself, and what was full in them."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.analysis.run_summary import Reduced, Test
from perfkit.analysis.scaling import bottleneck, growth
from perfkit.runs.vpn_record import VpnRecord

OPENVPN = VpnRecord(name="openvpn", title="OpenVPN", single_core=True)
SIZES = (1, 2, 5, 10, 20, 50)


def reduced(clients: int, goodput_bps: float, version: str) -> Reduced:
    figures = {"path": "tunnel", "goodput_bps": goodput_bps}
    test = Test(
        key="tunnel-tcp", slot="01", figures=figures, goodput_bps=(1.0,) * clients, spread={}
    )
    return Reduced(
        run_id=f"{version}-{clients}-{goodput_bps}",
        name="n",
        created_utc="",
        clients=clients,
        shared_cpu=False,
        tests=(test,),
        conditions={"clients": str(clients), "server vpn": version},
        phases={},
        warnings=(),
        vpn=OPENVPN,
    )


def series(version: str, most_bps: float) -> dict[str, list[Reduced]]:
    chance = np.random.default_rng(4)
    return {
        f"{version}{clients}": [
            reduced(clients, min(50e6 * clients, most_bps) * chance.lognormal(0, 0.03), version)
            for _ in range(3)
        ]
        for clients in SIZES
    }


def test_two_versions_are_two_series_and_each_has_its_own_law() -> None:
    found = growth(series("2.6", 600e6) | series("2.7", 300e6))
    assert [one.figure for one in found] == ["goodput_bps", "goodput_bps"]
    knees = [one.knee.value for one in found if one.knee is not None]
    assert knees == pytest.approx([12, 6], rel=0.15)
    assert found[0].variant == "2.61, 2.62, 2.65, 2.610, 2.620, 2.650"
    assert [one.asserted for one in found] == ["plateau", "plateau"]


def test_two_sizes_of_one_run_each_are_points_only() -> None:
    (found,) = growth({"A": [reduced(10, 3e8, "2.6")], "B": [reduced(20, 3e8, "2.6")]})
    assert found.words.startswith("no law: 0 sizes with 3 repetitions or more, and 5 are needed")
    assert found.sizes == (10, 20)
    assert growth({"A": [reduced(10, 3e8, "2.6")], "B": [reduced(20, 3e8, "2.7")]}) == []


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"vpn_cores": 0.98, "cpu_busy_pct": 50.0}, "OpenVPN used 0.98 cores"),
        ({"cpu_busy_pct": 99.0}, "the processors were 99 % busy (server, clients"),
        ({"busiest_core_pct": 97.0}, "one core was 97 % busy"),
        ({"busiest_core_pct": 60.0, "busiest_core_tick_pct": 98.0}, "one core was 98 % busy"),
        ({"vpn_cores": 5.91, "cpu_busy_pct": 60.0}, "nothing watched was full: OpenVPN 5.91"),
        ({"vpn_cores": 0.2, "cpu_busy_pct": 20.0}, "nothing watched was full: OpenVPN 0.20"),
        ({}, "nothing was watched"),
    ],
)
def test_what_was_full_is_named(figures: dict[str, float], says: str) -> None:
    test = Test(key="t", slot="01-t", figures=figures, goodput_bps=(), spread={})
    assert bottleneck(test, OPENVPN, shared_cpu=True).startswith(says)
