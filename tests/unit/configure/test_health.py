"""What the tunnel gate reads from a host's answer."""

from __future__ import annotations

import pytest

from perfkit.configure.health import parse_health
from perfkit.model import Host, Role

CLIENT = Host(name="client-001", role=Role.CLIENT, address="192.0.2.9", host_key="")


def test_a_tunnel_with_everything_is_healthy() -> None:
    health = parse_health(CLIENT, "address=10.8.0.2\nroute=yes\nping=yes\nfinal=\n", "10.8.0.1")
    assert health.ok
    assert health.tunnel_address == "10.8.0.2"
    assert (health.route_ok, health.ping_ok, health.reason) == (True, True, "")


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (
            "address=\nroute=\nping=\nfinal=\n",
            ["no tunnel address", "no route", "no answer to a ping from 10.8.0.1"],
        ),
        (
            "address=10.8.0.2\nroute=\nping=\nfinal=\n",
            ["no route", "no answer to a ping from 10.8.0.1"],
        ),
        ("address=10.8.0.2\nroute=yes\nping=\nfinal=\n", ["no answer to a ping from 10.8.0.1"]),
    ],
)
def test_what_is_missing_is_listed_with_the_end_of_the_log(answer: str, missing: list[str]) -> None:
    health = parse_health(CLIENT, answer + "TLS Error: handshake failed\nRestart\n", "10.8.0.1")
    assert not health.ok
    what, _, log = health.reason.partition("; openvpn.log ends: ")
    assert [part.removesuffix(" to 10.8.0.1") for part in what.split(", ")] == missing
    assert log == "TLS Error: handshake failed | Restart"


def test_a_host_without_a_log_never_started_openvpn() -> None:
    health = parse_health(CLIENT, "address=\nroute=\nping=\nfinal=\n", "10.8.0.1")
    assert "OpenVPN was not started" in health.reason


def test_a_strange_answer_is_not_healthy() -> None:
    assert not parse_health(CLIENT, "", "10.8.0.1").ok
    assert not parse_health(CLIENT, "bash: ip: not found\n", "10.8.0.1").ok
