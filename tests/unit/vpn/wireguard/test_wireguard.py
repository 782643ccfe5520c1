"""WireGuard's files on hosts: keys, peers, and the options of a variant."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from perfkit.errors import ConfigError, RunError
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.vpn.base import Changes
from perfkit.vpn.plan import TunnelPlan
from perfkit.vpn.wireguard.configuration import WireGuard
from perfkit.vpn.wireguard.keys import HostKeys

RESOURCES = Path(__file__).parents[4] / "resources"
PLAN = TunnelPlan(server_address="192.0.2.1", clients=3)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runs.create(tmp_path / "runs", "test", {})


def host(name: str) -> Host:
    role = Role.SERVER if name == "server" else Role.CLIENT
    return Host(name=name, role=role, address="192.0.2.9", host_key="")


def files_of(
    run: Run,
    name: str,
    plan: TunnelPlan = PLAN,
    options: Mapping[str, str] | None = None,
    inside_ip: int = 4,
) -> dict[str, str]:
    changes = Changes(
        options={role: options or {} for role in Role},
        source="variants.conf [x]",
        inside_ip=inside_ip,
    )
    vpn = WireGuard(RESOURCES).changed(changes)
    vpn.prepare(run, plan)
    return {it: data.decode() for it, data in vpn.files(host(name), Path("nowhere")).items()}


def test_each_client_has_an_address_of_ipv6_too_where_that_is_asked(run: Run) -> None:
    server = files_of(run, "server", inside_ip=6)
    allowed = re.findall(r"AllowedIPs = (.*)", server["wireguard.conf"])
    assert allowed[:2] == [
        "10.8.0.2/32, fd70:6572:666b::2/128",
        "10.8.0.3/32, fd70:6572:666b::3/128",
    ]
    client = files_of(run, "client-002", inside_ip=6)
    assert "address=10.8.0.3/20\naddress_6=fd70:6572:666b::3/112\n" in client["interface"]
    assert "AllowedIPs = 10.8.0.0/20, fd70:6572:666b::/112\n" in client["wireguard.conf"]
    plan = TunnelPlan(server_address="fd00::7", clients=3)
    assert "Endpoint = [fd00::7]:1194\n" in files_of(run, "client-002", plan)["wireguard.conf"]


def test_the_server_knows_each_client_by_its_key_and_lets_it_send_from_one_address(
    run: Run,
) -> None:
    server = files_of(run, "server")
    peers = re.findall(r"PublicKey = (\S+)\nAllowedIPs = (\S+)", server["wireguard.conf"])
    assert [address for _, address in peers] == ["10.8.0.2/32", "10.8.0.3/32", "10.8.0.4/32"]
    for number, (key, address) in enumerate(peers, start=1):
        client = files_of(run, f"client-{number:03d}")
        assert client["interface"] == f"address={address.replace('/32', '/20')}\nmtu=1420\n"
        assert HostKeys(run.keys_dir).of(f"client-{number:03d}").public == key
        assert f"# peer {key} client-{number:03d}\n" in server["names"]
        assert (
            f"PublicKey = {HostKeys(run.keys_dir).of('server').public}\n"
            in client["wireguard.conf"]
        )


def test_a_public_key_is_the_one_that_wg_makes_of_the_private_key(
    run: Run, needs_tools: Callable[..., None]
) -> None:
    needs_tools("wg")
    pair = HostKeys(run.keys_dir).of("client-001")
    made = subprocess.run(
        ["wg", "pubkey"], input=pair.private, capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == pair.public
    assert pair.private not in repr(pair)


def test_a_secret_that_cannot_be_read_is_named_with_the_remedy(run: Run) -> None:
    (run.keys_dir / "wireguard.secret").write_text("no hex\n")
    with pytest.raises(RunError, match=r"wireguard\.secret.*configure all hosts again"):
        HostKeys(run.keys_dir)


def test_a_host_that_the_run_was_not_planned_with_gets_no_files(run: Run) -> None:
    with pytest.raises(RunError, match=r"client-004.*does not know its key"):
        files_of(run, "client-004")


def test_more_clients_than_the_tunnel_has_addresses_are_refused(run: Run) -> None:
    assert (
        "10.8.15.254/32"
        in files_of(run, "server", TunnelPlan(server_address="192.0.2.1", clients=4093))[
            "wireguard.conf"
        ]
    )
    with pytest.raises(ConfigError, match=r"4094.*ask for at most 4093"):
        files_of(run, "server", TunnelPlan(server_address="192.0.2.1", clients=4094))


def test_a_server_with_an_ipv6_address_is_written_in_brackets(run: Run) -> None:
    plan = TunnelPlan(server_address="2001:db8::1", clients=1)
    assert "Endpoint = [2001:db8::1]:1194\n" in files_of(run, "client-001", plan)["wireguard.conf"]


def test_options_of_a_variant_stand_instead_of_the_templates_lines(run: Run) -> None:
    options = {"mtu": "1280", "persistentkeepalive": "0"}
    client, server = (files_of(run, it, options=options) for it in ("client-001", "server"))
    assert "mtu=1280\n" in client["interface"]
    assert "mtu=1280\n" in server["interface"]
    assert client["wireguard.conf"].count("PersistentKeepalive = 0\n") == 1
    assert "PersistentKeepalive = 25" not in client["wireguard.conf"]
    assert server["wireguard.conf"].count("PersistentKeepalive = 0\n") == 3


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("sndbuf", "65536", "no such option"),
        ("mut", "1400", "did you mean 'mtu'"),
        ("mtu", "1400 bytes", "not a whole number from 576 to 65535"),
        ("mtu", "64", "not a whole number"),
        ("persistentkeepalive", "-1", "not a whole number"),
        ("listenport", "51820", "perfkit needs this option as it is"),
        ("privatekey", "abc", "perfkit needs this option as it is"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_the_variants_name(
    name: str, value: str, problem: str
) -> None:
    changes = Changes(source="variants.conf [x]", options={Role.CLIENT: {name: value}})
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        WireGuard(RESOURCES).changed(changes)
    assert f"wireguard.client.{name}" in str(caught.value)
    assert "variants.conf [x]" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("DNS = 1.1.1.1", "not known in [Interface]"),
        ("PrivateKey = c2VjcmV0", "keys are the run's own"),
        ("no key at all", "no key of a section"),
        ("MTU = big", "not a number of bytes"),
        ("Device = 0wg", "no device by name"),
        ("Address = ${adress}", "did you mean 'address'"),
    ],
)
def test_a_line_of_a_template_that_is_not_known_is_named_and_no_key_is_repeated(
    line: str, problem: str, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(RESOURCES / "wireguard", tmp_path / "wireguard")
    path = tmp_path / "wireguard" / "server.conf"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        WireGuard(tmp_path).prepare(run, PLAN)
    assert "server.conf" in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)
