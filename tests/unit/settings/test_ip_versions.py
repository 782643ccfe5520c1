"""The version of IP inside the tunnel and outside it: parameters, variants, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_provider import MemoryProvider
from project_copy import copy_project

from perfkit.campaign import ip_versions
from perfkit.campaign.vpn_choice import vpn_of
from perfkit.errors import ConfigError
from perfkit.model import Host, Role
from perfkit.runs.design import PlannedBlock
from perfkit.settings import parameters, variants
from perfkit.settings.ip_versions import parse_ip_versions

V4, V6 = "192.0.2.9", "fd00::9"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the test's own."""
    copy_project(tmp_path, "resources", "config")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


def provider(*, name: str = "local", can_ipv6: bool = True) -> MemoryProvider:
    made = MemoryProvider()
    made.name = name
    made.traits = replace(made.traits, can_ipv6=can_ipv6)
    return made


def test_both_versions_are_a_factor_that_crosses_with_variants(project: Path) -> None:
    del project
    settings = parameters.load({"inside_ip": "4,6", "outside_ip": "4,6", "tests": "tunnel-tcp"})
    names = settings.parameters.variant_names
    assert names == ("base-in4-out4", "base-in4-out6", "base-in6-out4", "base-in6-out6")
    found = {it.name: it for it in variants.load(settings)}
    assert [(it.inside_ip, it.outside_ip) for it in found.values()] == [
        (4, 4), (4, 6), (6, 4), (6, 6),
    ]  # fmt: skip
    assert variants.changes(settings)["base-in6-out4"] == {"inside_ip": "6", "outside_ip": "4"}
    block = PlannedBlock(repetition=1, clients=10, variant="base-in6-out4", tests=("tunnel-tcp",))
    of_block = variants.applied(settings, found["base-in6-out4"]).for_block(block)
    assert (of_block.inside_ip, of_block.outside_ip) == (6, 4)
    assert of_block.parameters.inside_ip == ("6",)
    assert settings.parameters.is_campaign
    assert ip_versions.is_used(settings)


def test_one_version_is_the_runs_and_no_factor(project: Path) -> None:
    del project
    settings = parameters.load({"inside_ip": 6})
    assert settings.parameters.variant_names == ("base",)
    assert (settings.inside_ip, settings.outside_ip) == (6, None)
    assert not settings.parameters.has_levels
    assert settings.to_dict()["inside_ip"] == "6"
    assert parameters.load({}).inside_ip == 4
    assert not ip_versions.is_used(settings)


def test_a_variant_may_have_its_own(project: Path) -> None:
    (project / "config/variants.conf").write_text("[six]\ninside_ip = 6\noutside_ip = 6\n")
    settings = parameters.load({"variants": "base,six"})
    base, six = variants.load(settings)
    assert (six.inside_ip, six.outside_ip) == (6, 6)
    assert variants.applied(settings, six).inside_ip == 6
    assert variants.applied(settings, base).inside_ip == 4
    with pytest.raises(ConfigError, match="several levels"):
        variants.load(parameters.load({"variants": "six", "inside_ip": "4,6"}))


@pytest.mark.parametrize(
    ("value", "problem"),
    [("5", "5: no version of IP; write 4 or 6"), ("4,4", "twice"), ("ipv6", "no version")],
)
def test_what_is_no_version_is_refused(project: Path, value: str, problem: str) -> None:
    del project
    with pytest.raises(ValueError, match=problem):
        parse_ip_versions(value)
    with pytest.raises(ConfigError, match="inside_ip"):
        parameters.load({"inside_ip": value})


def test_a_version_of_a_variant_that_is_none_is_refused(project: Path) -> None:
    (project / "config/variants.conf").write_text("[six]\noutside_ip = v6\n")
    with pytest.raises(ConfigError, match=r"variants.conf \[six\]: outside_ip .*no version of IP"):
        variants.load(parameters.load({"variants": "six"}))


@pytest.mark.parametrize(
    ("chosen", "of", "words"),
    [
        (
            {"inside_ip": "6", "tests": "direct-tcp"},
            {},
            "no test of this run goes through a tunnel",
        ),
        ({"outside_ip": "6"}, {"can_ipv6": False}, "share the machine's loopback"),
        ({"outside_ip": "6"}, {"name": "ec2", "can_ipv6": False}, "addresses of IPv4 only"),
        ({"outside_ip": "4,6"}, {"name": "static", "can_ipv6": False}, "traffic_address"),
    ],
)
def test_what_hosts_cannot_have_is_refused_before_launch(
    project: Path, chosen: dict[str, Any], of: dict[str, Any], words: str
) -> None:
    del project
    with pytest.raises(ConfigError, match=words):
        ip_versions.require(parameters.load(chosen), provider(**of))


def test_ipv6_alone_may_be_asked_of_hosts_whose_addresses_are_known_at_launch(
    project: Path,
) -> None:
    del project
    settings = parameters.load({"outside_ip": "6"})
    ip_versions.require(settings, provider(name="static", can_ipv6=False))


def test_a_test_of_another_server_is_not_taken_for_one_of_the_version(project: Path) -> None:
    (project / "config/tests.conf").write_text("[direct-tcp]\nduration = 5\nserver = 192.0.2.7\n")
    with pytest.raises(ConfigError, match=r"goes to 192\.0\.2\.7, whatever is written here"):
        ip_versions.require(parameters.load({"outside_ip": "6", "vpn": "none"}), provider())


@pytest.mark.parametrize("key", ["openvpn.both.tun-mtu", "wireguard.both.mtu"])
def test_a_device_too_narrow_for_ipv6_is_refused(project: Path, key: str) -> None:
    vpn = key.partition(".")[0]
    (project / "config/variants.conf").write_text(
        f"[six]\nvpn = {vpn}\n{key} = 1200\ninside_ip = 6\n"
    )
    settings = parameters.load({"variants": "six", "tests": "tunnel-tcp"})
    (six,) = variants.load(settings)
    with pytest.raises(ConfigError, match=f"{key.replace('both', '(server|client)')} .*1280 bytes"):
        vpn_of(variants.applied(settings, six))


def test_a_vpn_that_carries_no_ipv6_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del project
    settings = parameters.load({"inside_ip": "6", "tests": "tunnel-tcp"})
    found = vpn_of(settings)
    assert found is not None
    found.traits = replace(found.traits, carries_ipv6=False)  # type: ignore[misc]
    monkeypatch.setattr("perfkit.campaign.vpn_choice.get_vpn", lambda *_: found)
    with pytest.raises(ConfigError, match="OpenVPN carries no IPv6 here"):
        vpn_of(settings)


@pytest.mark.parametrize(
    ("host", "asked", "reached"),
    [
        ({}, None, V4),
        ({}, 4, V4),
        ({}, 6, None),
        ({"ipv6_address": V6}, 6, V6),
        ({"ipv6_address": V6}, 4, V4),
        ({"inside_address": V6}, None, V6),
        ({"inside_address": V6}, 6, V6),
        ({"inside_address": V6}, 4, V4),
        ({"inside_address": "10.0.0.1", "ipv6_address": V6}, 4, "10.0.0.1"),
    ],
)
def test_a_host_is_reached_by_its_address_of_the_version(
    host: dict[str, str], asked: int | None, reached: str | None
) -> None:
    made = Host(name="server", role=Role.SERVER, address=V4, host_key="k", **host)
    found = made.reached_by(asked)
    assert (found.traffic_address if found else None) == reached
