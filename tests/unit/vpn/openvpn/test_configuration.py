"""OpenVPN's templates: what they may name, and what is wrong with one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from perfkit.errors import ConfigError
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.vpn.base import Changes
from perfkit.vpn.openvpn.configuration import OpenVpn, template_values
from perfkit.vpn.plan import TunnelPlan, peer_address
from perfkit.vpn.template_text import fill_in

RESOURCES = Path(__file__).parents[4] / "resources"
PLAN = TunnelPlan(server_address="192.0.2.1", clients=100)


def test_the_server_takes_the_first_address_and_more_clients_than_there_are() -> None:
    plan = TunnelPlan(server_address="192.0.2.1", clients=100, network=IPv4Network("10.9.0.0/22"))
    assert plan.server_tunnel_address == IPv4Address("10.9.0.1")
    values = template_values(plan)
    assert values["network"] == "10.9.0.0"
    assert values["netmask"] == "255.255.252.0"
    assert int(values["max_clients"]) > 100


@pytest.mark.parametrize("role", Role)
def test_the_shipped_templates_name_only_what_is_known(role: Role) -> None:
    text = fill_in(RESOURCES / "openvpn" / f"{role}.conf", template_values(PLAN))
    settings = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert "$" not in text
    assert "duplicate-cn" not in settings
    assert "tls-crypt tls-crypt.key" in settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port ${prot}", "did you mean 'proto'"),
        ("port ${nonsense-at-all}", "plain dollar"),
        ("cost $", "plain dollar"),
    ],
)
def test_a_wrong_placeholder_names_file_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    template = tmp_path / "server.conf"
    template.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        fill_in(template, template_values(PLAN))
    assert str(template) in str(caught.value)


@pytest.mark.parametrize(("inside_ip", "is_there"), [(4, False), (6, True)])
def test_the_server_gives_addresses_of_ipv6_where_that_is_asked(
    tmp_path: Path, inside_ip: int, *, is_there: bool
) -> None:
    run = runs.create(tmp_path / "runs", "test", {})
    vpn = OpenVpn(RESOURCES).changed(Changes(inside_ip=inside_ip))
    vpn.prepare(run, PLAN)
    made = [
        vpn.files(Host(name=name, role=role, address="192.0.2.9", host_key=""), tmp_path)
        for name, role in (("server", Role.SERVER), ("client-001", Role.CLIENT))
    ]
    server, client = (
        files[f"{role}.conf"].decode().splitlines()
        for files, role in zip(made, (Role.SERVER, Role.CLIENT), strict=True)
    )
    assert ("server-ipv6 fd70:6572:666b::/112" in server) is is_there
    assert "server 10.8.0.0 255.255.240.0" in server  # every tunnel carries IPv4
    assert not any("ipv6" in line for line in client)  # it is told by the server


def test_a_plan_of_a_variant_names_the_servers_address_there() -> None:
    plan = replace(PLAN, addresses={"six": "2001:db8::1"})
    assert template_values(plan.of_variant("six"))["proto"] == "udp6"
    assert template_values(plan.of_variant("six"), "tcp")["proto"] == "tcp6"
    assert plan.of_variant("base") == plan
    assert str(peer_address(6)) == "fd70:6572:666b::1"
    assert peer_address(4) == PLAN.server_tunnel_address


def test_a_missing_template_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.conf.*No such file"):
        fill_in(tmp_path / "server.conf", {})
