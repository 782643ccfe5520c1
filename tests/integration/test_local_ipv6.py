"""IPv6 of local hosts, where it is asked for: they reach each other by it, and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_runs import LocalRun

from perfkit.fleet.local import ipv6, tags
from perfkit.fleet.local.provider import LocalProvider
from perfkit.model import Host
from perfkit.vpn.plan import TUNNEL_NETWORK_6

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6"),
]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[tuple[LocalRun, dict[str, Host]]]:
    """A server and two clients, the second asked for when the others are there."""
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    try:
        made = [
            host
            for token, names in (("first", ("server", "client-001")), ("second", ("client-002",)))
            for host in provider.launch(replace(run.request(*names, token=token), with_ipv6=True))
        ]
        yield run, {host.name: host for host in made}
    finally:
        report = provider.release(run.run_id)
    assert report.leaked == ()


def test_hosts_reach_each_other_by_ipv6_and_the_machine_by_none(
    fleet: tuple[LocalRun, dict[str, Host]],
) -> None:
    run, hosts = fleet
    server = hosts["server"]
    assert server.ipv6_address == ipv6.address_of(server.address)
    assert not server.inside_address
    for name in ("client-001", "client-002"):
        told = run.ssh(
            hosts[name],
            f"ip -6 -j addr show dev eth0; ping -n -q -c 1 -W 60 {server.ipv6_address} >/dev/null && "
            f"ip -6 -j neigh show to {server.ipv6_address} dev eth0",
        )
        assert told.returncode == 0, told.stderr
        addresses, neighbours = map(json.loads, told.stdout.splitlines())
        (own,) = addresses[0]["addr_info"]  # no address of its own making beside it
        assert (own["local"], own["scope"]) == (hosts[name].ipv6_address, "global")
        assert not own.get("tentative")
        assert neighbours[0]["state"] == ["PERMANENT"]
    # The machine has no route there, and hosts none to the machine's own link-local address.
    routes = subprocess.run(["ip", "-6", "route"], capture_output=True, text=True, check=True)
    assert str(ipv6.PREFIX).rpartition("::")[0] not in routes.stdout
    uplink = tags.uplink_name(run.run_id)
    shown = subprocess.run(
        ["ip", "-6", "-j", "addr", "show", "dev", uplink],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    machine = [one["local"] for link in json.loads(shown.stdout) for one in link["addr_info"]]
    tries = "; ".join(
        f"ip -6 addr add fe80::77/64 dev eth0 nodad; ping -n -q -c 2 -W 2 {address}%eth0"
        for address in machine
    )
    asked = run.ssh(hosts["client-001"], tries or "exit 1")
    assert asked.returncode != 0, asked.stdout


def test_hosts_have_no_ipv6_where_nobody_asked_for_it(tmp_path: Path) -> None:
    provider, run = LocalProvider("namespaces"), LocalRun(tmp_path)
    try:
        (host,) = provider.launch(run.request("client-001"))
        assert host.ipv6_address == ""
        told = run.ssh(host, "ip -6 addr show dev eth0; ls /proc/sys/net/ipv6/conf/eth0 >/dev/null")
        assert (told.returncode, told.stdout) == (0, "")
    finally:
        provider.release(run.run_id)


def test_the_prefixes_of_hosts_and_tunnel_are_apart() -> None:
    assert not ipv6.PREFIX.overlaps(TUNNEL_NETWORK_6)
    assert ipv6.address_of("198.18.0.3") == "fd70:6572:6661::c612:3"
