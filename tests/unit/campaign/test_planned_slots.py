"""How long the clients of a test may still end: by what lies between them and the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_project import make_small_project

from perfkit.campaign.planned_slots import slots_of
from perfkit.measure.pacing import direct_grace_for, grace_for
from perfkit.settings import parameters as settings

TESTS_CONF = "[direct-tcp]\nduration = 10\n\n[tunnel-tcp]\nduration = 10\npath = tunnel\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small_project(tmp_path, monkeypatch, conf=TESTS_CONF)


def graces_s(**parameters: object) -> list[float]:
    return [slot.grace_s for slot in slots_of(settings.load({"clients": 100, **parameters}))]


def test_on_this_machine_a_test_beside_the_tunnel_is_followed_sooner() -> None:
    assert graces_s() == [direct_grace_for(100), grace_for(100)]


@pytest.mark.parametrize(
    "parameters",
    [
        {"provider": "static"},
        {"provider": "ec2"},
        {"link": "client 10mbit"},
        {"link": "10mbit; none"},
    ],
)
def test_what_a_network_or_a_link_holds_back_is_waited_for(parameters: dict[str, object]) -> None:
    assert graces_s(**parameters) == [grace_for(100)] * 2


def test_fewer_clients_that_take_part_need_less_time() -> None:
    chosen = settings.load({"clients": 100})
    assert [slot.grace_s for slot in slots_of(chosen, 5)] == [direct_grace_for(5), grace_for(5)]
