"""OpenVPN's templates: what they may name, and what is wrong with one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from perfkit.errors import ConfigError
from perfkit.model import Role
from perfkit.vpn.openvpn.configuration import template_values
from perfkit.vpn.plan import TunnelPlan
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


def test_a_missing_template_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.conf.*No such file"):
        fill_in(tmp_path / "server.conf", {})
