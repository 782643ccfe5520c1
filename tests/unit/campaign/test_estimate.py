"""What a run takes: said by provider, in time and money, and why not where it cannot be had."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_provider import MemoryProvider

from perfkit.campaign import estimate
from perfkit.campaign import session as sessions
from perfkit.fleet.provider import CostEstimate
from perfkit.settings import parameters


class PaidProvider(MemoryProvider):
    """Hosts elsewhere, with a price."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = replace(self.traits, costs_money=True, shared_cpu=False)

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        worst_usd = 0.1 * n_hosts * life_s / 3600
        return CostEstimate(
            usd_per_h=0.1 * n_hosts,
            worst_usd=worst_usd,
            lines=("t3.micro at 0.10 USD an hour",),
            over=("max_usd = 1",) if worst_usd > 1 else (),
        )


def use(monkeypatch: pytest.MonkeyPatch, provider: MemoryProvider) -> None:
    monkeypatch.setattr(sessions, "provider_for", lambda _settings: provider)


def test_time_on_one_machine_is_the_timetable_and_what_was_measured_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, MemoryProvider())
    few, many = (estimate.estimate(parameters.load({"clients": n})) for n in (2, 40))
    assert few.overall_s is not None
    assert many.overall_s is not None
    assert few.overall_s == pytest.approx(
        few.tests_s + estimate.LOCAL_FIXED_S + 3 * estimate.LOCAL_PER_HOST_S
    )
    assert many.overall_s > few.overall_s
    assert few.money == "costs nothing"
    by_cron = estimate.estimate(parameters.load({"clients": 2, "starter": "cron"}))
    assert by_cron.overall_s == pytest.approx(few.overall_s + estimate.CRON_WAIT_S)


@pytest.mark.parametrize(("clients", "measured_s"), [(100, 16.6), (1000, 90.2)])
def test_what_is_around_the_tests_of_local_hosts_is_what_runs_of_that_size_took(
    monkeypatch: pytest.MonkeyPatch, clients: int, measured_s: float
) -> None:
    use(monkeypatch, MemoryProvider(max_hosts=1001))
    found = estimate.estimate(parameters.load({"clients": clients}))
    assert found.overall_s is not None
    assert found.overall_s - found.tests_s == pytest.approx(measured_s, rel=0.05)


def test_money_is_said_with_its_bound_and_a_cap_that_is_exceeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, PaidProvider())
    found = estimate.estimate(parameters.load({"clients": 9, "expires_min": 120}))
    assert found.money == "1.00 USD an hour, at most 2.00 USD"
    assert found.warnings == ("OVER THE CAP: max_usd = 1", "t3.micro at 0.10 USD an hour")
    assert found.overall_s is None
    assert "launching and configuring come on top" in str(found)


def test_what_a_provider_cannot_do_is_left_out_of_the_time_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, MemoryProvider(can_tunnel=False))
    found = estimate.estimate(parameters.load({"clients": 2}))
    assert "left out, hosts cannot have a tunnel: tunnel-tcp" in found.notices


def test_a_provider_that_cannot_serve_the_run_is_in_the_table_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, MemoryProvider(max_hosts=3))
    table = estimate.by_provider(clients=9)
    assert dict(table.rows)["local"] == (
        "parameters: clients = 9: provider memory makes at most 3 hosts; give at most 2"
    )
    page = table._repr_html_()
    assert "not here" in page
    assert "at most 3 hosts" in page
