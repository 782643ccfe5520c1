"""The files made for each host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perfkit.configure.bundles import Bundles
from perfkit.model import Host, Role
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.vpn import base
from perfkit.vpn.base import Changes
from perfkit.vpn.openvpn.configuration import OpenVpn
from perfkit.vpn.plan import TunnelPlan
from perfkit.vpn.wireguard.configuration import WireGuard

RESOURCES = Path(__file__).parents[3] / "resources"

PLAN = TunnelPlan(server_address="192.0.2.1", clients=100)


def make_host(name: str, *, can_tunnel: bool = True) -> Host:
    role = Role.SERVER if name == "server" else Role.CLIENT
    return Host(name=name, role=role, address="192.0.2.9", host_key="", can_tunnel=can_tunnel)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runs.create(tmp_path / "runs", "test", {})


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    folder = tmp_path / "resources"
    for name in ("tests/ping", "tests/ping.server", "bin/tool"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    (folder / "openvpn").mkdir()
    (folder / "openvpn/server.conf").write_text("dev tun0\n")
    (folder / "openvpn/client.conf").write_text("dev tun0\nremote ${server_address} ${port}\n")
    (folder / "fabfile.py").write_text("from fabric import task\n")
    return folder


def tree(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_bundle_holds_tests_tools_and_the_hosts_own_keys(run: Run, resources: Path) -> None:
    folder = Bundles(
        run, resources, (OpenVpn(resources), PLAN), {"bin/dool": b"#!/usr/bin/python3\n"}
    ).make(make_host("client-001"))
    assert folder == run.host_dir("client-001") / "bundle"
    assert tree(folder) == {
        "tests/ping": 0o700,
        "tests/ping.server": 0o700,
        "bin/tool": 0o700,
        "bin/dool": 0o700,
        "vpn/client.conf": 0o600,
        "vpn/ca.crt": 0o600,
        "vpn/host.crt": 0o600,
        "vpn/host.key": 0o600,
        "vpn/tls-crypt.key": 0o600,
        "vpn/packages": 0o600,
        "vpn/check": 0o700,
        "vpn/start": 0o700,
        "vpn/stop": 0o700,
    }
    assert (folder / "vpn/client.conf").read_text() == "dev tun0\nremote 192.0.2.1 1194\n"


def test_no_host_gets_anothers_key_or_the_authoritys(run: Run, resources: Path) -> None:
    bundles = Bundles(run, resources, (OpenVpn(resources), PLAN), {})
    one, two = (bundles.make(make_host(name)) for name in ("client-001", "client-002"))
    keys = {(folder / "vpn/host.key").read_text() for folder in (one, two)}
    authority = (run.keys_dir / "ca.key").read_text()
    assert len(keys) == 2
    assert authority not in {path.read_text() for path in one.rglob("*") if path.is_file()}


def test_a_second_bundle_keeps_the_key_and_takes_new_scripts(run: Run, resources: Path) -> None:
    host = make_host("client-001")
    first = Bundles(run, resources, (OpenVpn(resources), PLAN), {}).make(host)
    key = (first / "vpn/host.key").read_text()
    (resources / "tests/ping").write_text("# edited\n")
    (resources / "tests/new").write_text("# new\n")
    second = Bundles(run, resources, (OpenVpn(resources), PLAN), {}).make(host)
    assert (second / "vpn/host.key").read_text() == key
    assert (second / "tests/ping").read_text() == "# edited\n"
    assert (second / "tests/new").exists()


def test_editing_resources_later_does_not_change_what_was_recorded(
    run: Run, resources: Path
) -> None:
    folder = Bundles(run, resources, None, {}).make(make_host("client-001"))
    (resources / "tests/ping").write_text("# edited\n")
    assert (folder / "tests/ping").read_text() == "# tests/ping\n"
    assert (run.config_dir / "resources/tests/ping").read_text() == "# tests/ping\n"
    assert (run.config_dir / "resources/fabfile.py").exists()


@pytest.mark.parametrize("plan", [None, PLAN])
def test_without_a_tunnel_there_is_no_vpn_folder(
    run: Run, resources: Path, plan: TunnelPlan | None
) -> None:
    host = make_host("client-001", can_tunnel=plan is None)
    folder = Bundles(run, resources, (OpenVpn(resources), plan) if plan else None, {}).make(host)
    assert not (folder / "vpn").exists()


def test_variants_of_two_vpns_bring_the_files_of_both_and_each_host_stays_who_it_is(
    run: Run, resources: Path
) -> None:
    shutil.copytree(RESOURCES / "wireguard", resources / "wireguard")
    wireguard, openvpn = WireGuard(resources), OpenVpn(resources)
    verbose = openvpn.changed(Changes(options={role: {"verb": "4"} for role in Role}))
    every = {"base": wireguard, "ovpn": openvpn, "verbose": verbose}

    def made() -> dict[str, bytes]:
        folder = Bundles(run, resources, (wireguard, PLAN), {}, every).make(make_host("client-001"))
        return {it: (folder / it).read_bytes() for it in tree(folder)}

    files = made()
    names = {
        variant: {it.rpartition("/")[2] for it in files if f"/{variant}/" in it}
        for variant in every
    }
    assert {"client.conf", "host.key", "host.crt", "ca.crt", "start"} <= names["ovpn"]
    assert names["verbose"] == names["ovpn"]
    assert names["base"] == {"start", "stop", "check"}
    assert files["vpn/variants/ovpn/host.key"] == files["vpn/variants/verbose/host.key"]
    assert files["vpn/start"] == files["vpn/variants/base/start"]
    assert b"wg wireguard-tools" in files["vpn/packages"]
    assert b"openvpn openvpn" in files["vpn/packages"]
    assert made() == files
    recorded = {path.parent.name for path in (run.config_dir / "resources").glob("*/client.conf")}
    assert recorded == {"openvpn", "wireguard"}
    gone = base.destroy_secrets(run)
    assert {"vpn/wireguard.key", "vpn/variants/ovpn/host.key"} <= {
        it.partition("/bundle/")[2] for it in gone
    }
