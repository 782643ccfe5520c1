"""The full resource, where it was planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import campaign_truth
import numpy as np
import pytest

from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.growth import fit_growth
from perfkit.analysis.answers.resources import FullResource, full_resource
from perfkit.errors import FrameError

KNEE = 12.0
PLATEAU = campaign_truth.Truth(
    law=lambda clients: 300e6 * min(clients / KNEE, 1.0), spread=0.03, repetitions=4
)
LINEAR = replace(PLATEAU, law=lambda clients: 3e6 * clients)


def found(
    resources: Callable[[float], Mapping[str, float]],
    truth: campaign_truth.Truth = PLATEAU,
    **more: bool,
) -> FullResource:
    drawn = replace(truth, resources=resources, **more)  # type: ignore[arg-type]
    frame = cells_frame(campaign_truth.records(drawn, np.random.default_rng(3)))
    return full_resource(frame, fit_growth(frame, "goodput_bps"), "OpenVPN")


def load(clients: float) -> float:
    """How full what bends the total is."""
    return min(clients / KNEE, 1.0)


def test_the_vpns_thread_is_named_and_not_the_core_under_it() -> None:
    full = found(
        lambda n: {
            "vpn_cores": 0.98 * load(n),
            "busiest_core_tick_pct": 99 * load(n),
            "cpu_busy_pct": 60 * load(n),
        }
    )
    assert full.names == ("thread",)
    assert full.words == "the OpenVPN thread is full (0.98 core)"


def test_a_process_that_uses_many_cores_is_not_one_thread() -> None:
    full = found(lambda n: {"vpn_cores": 5.91 * load(n), "cpu_busy_pct": 70 * load(n)})
    assert full.names == ()
    assert "OpenVPN thread 5.85 cores, not the work of one" in full.words


def test_of_a_vpn_that_works_on_all_cores_no_thread_is_full() -> None:
    full = found(lambda n: {"vpn_cores": 0.97 * load(n)}, single_core=False)
    assert full.names == ()
    assert full.words == "the full resource is unknown; none was watched"


def test_a_core_that_is_full_only_by_tick_is_named() -> None:
    full = found(
        lambda n: {"busiest_core_pct": 55 * load(n), "busiest_core_tick_pct": 97 * load(n)},
        single_core=False,
    )
    assert full.names == ("core",)


def test_the_allowance_of_an_instance_is_named_where_its_card_held_packets_back() -> None:
    full = found(lambda n: {"server_held_back_ratio": 0.0 if n < KNEE else 0.96, "vpn_cores": 0.5})
    assert full.names == ("allowance",)
    assert full.words == (
        "the instance's network allowance is full (packets held back in 96 % of the seconds)"
    )
    now_and_then = found(lambda n: {"server_held_back_ratio": 0.3 * load(n)})
    assert now_and_then.names == ()
    assert "allowance packets held back in 30 % of the seconds" in now_and_then.words


def test_the_hypervisor_is_named_where_it_took_the_processors() -> None:
    full = found(
        lambda n: {
            "vpn_cores": 0.6 * load(n),
            "busiest_core_tick_pct": 99 * load(n),
            "cpu_steal_pct": 20 * load(n),
        }
    )
    assert full.names == ("core", "steal")
    assert full.words.endswith("the hypervisor took 20 % of the processors")


def test_the_link_is_named_where_its_capacity_is_known() -> None:
    assert found(lambda n: {"nic_bps": 330e6 * load(n), "link_bps": 340e6}).names == ("link",)
    assert found(lambda n: {"nic_bps": 330e6 * load(n)}).names == ()


def test_the_clients_are_named() -> None:
    full = found(lambda n: {"clients_cpu_pct": 98 * load(n), "cpu_busy_pct": 40 * load(n)})
    assert full.words == "the clients' processors are full (98 %)"


def test_processors_that_are_shared_are_called_so() -> None:
    full = found(lambda n: {"cpu_busy_pct": 99 * load(n)}, shared_cpu=True)
    assert full.words == "the server's and clients' processors are full (99 %)"


def test_nothing_is_full_while_the_total_still_grows() -> None:
    full = found(lambda n: {"cpu_busy_pct": 95.0, "vpn_cores": n / 100}, LINEAR)
    assert full.names == ()
    assert full.words.startswith("no sure knee in the sizes measured; the full resource is unknown")


def test_one_size_does_not_tell_what_is_full_and_the_most_used_comes_first() -> None:
    full = found(lambda _: {"cpu_busy_pct": 20.0, "vpn_cores": 0.97}, replace(PLATEAU, sizes=(10,)))
    assert full.names == ()
    assert full.words.startswith(
        "one size does not tell what is full; used were: OpenVPN thread 0.97"
    )


def test_what_is_full_long_before_the_knee_does_not_bend_the_total() -> None:
    full = found(lambda n: {"clients_cpu_pct": 99.0, "busiest_core_tick_pct": 60 * load(n)})
    assert full.names == ()
    assert "clients' processors 98 %, busiest core of the server 60 %" in full.words


def test_what_is_not_flat_beyond_the_knee_is_not_named() -> None:
    assert found(lambda n: {"clients_cpu_pct": min(n, 100.0)}).names == ()


def test_uses_have_their_interval_at_each_size() -> None:
    uses = found(lambda n: {"vpn_cores": 0.98 * load(n)}).uses
    assert uses["clients"].tolist() == [1, 2, 5, 10, 20, 50, 100]
    assert (uses["low"] < uses["use"]).all()
    assert set(uses["repetitions"]) == {4}


def test_without_a_law_nothing_is_named() -> None:
    truth = replace(PLATEAU, sizes=(20,), resources=lambda _: {"vpn_cores": 0.98})
    frame = cells_frame(campaign_truth.records(truth, np.random.default_rng(3)))
    assert full_resource(frame, None).names == ()
    assert "VPN thread 0.98 core" in full_resource(frame, None).words
    empty = full_resource(frame.iloc[:0], None)
    assert empty.words.endswith("none was watched")


def test_rows_of_two_variants_are_refused() -> None:
    truth = replace(PLATEAU, variants={"base": 1.0, "b": 1.0})
    frame = cells_frame(campaign_truth.records(truth, np.random.default_rng(3)))
    with pytest.raises(FrameError, match="one test and variant"):
        full_resource(frame, None)
