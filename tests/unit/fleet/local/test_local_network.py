from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Network

import pytest
from forked import in_child
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import LaunchError

if not sys.platform.startswith("linux"):
    pytest.skip("netlink is Linux's", allow_module_level=True)

from perfkit.fleet.local import linux, network, rtnetlink

VETH = rtnetlink.veth
SUBNETS = list(network.POOL.subnets(new_prefix=network.SUBNET_BITS))


@given(st.text(min_size=1), st.sets(st.sampled_from(SUBNETS), max_size=len(SUBNETS) - 1))
def test_a_subnet_is_free_and_in_the_pool(run_id: str, taken: set[IPv4Network]) -> None:
    chosen = network.choose_subnet(run_id, taken)
    assert chosen in SUBNETS
    assert chosen not in taken
    assert chosen == network.choose_subnet(run_id, taken)


def test_routes_elsewhere_do_not_matter_and_wider_ones_inside_do() -> None:
    elsewhere = IPv4Network("10.0.0.0/8")
    half = IPv4Network("198.18.0.0/16")
    assert network.choose_subnet("r", [elsewhere, half]).subnet_of(IPv4Network("198.19.0.0/16"))


def test_a_full_pool_is_an_error_that_names_what_takes_it() -> None:
    with pytest.raises(LaunchError, match=r"198\.18\.0\.0/15.*perfkit reap"):
        network.choose_subnet("r", [network.POOL])


def refused_link() -> None:
    switch = network.Switch(f"unit-{os.getpid()}", 2)
    switch.connect(2**22 - 1, switch.address(0), is_server=False)  # no such process


@pytest.mark.root
def test_what_netlink_refuses_is_a_launch_error() -> None:
    error = in_child(refused_link)
    assert isinstance(error, LaunchError)
    assert "eth0 of the host at 198.1" in str(error)


@pytest.mark.root
def test_a_host_beyond_the_addresses_of_the_subnet_is_a_launch_error() -> None:
    def last_and_beyond() -> str:
        switch = network.Switch(f"unit-{os.getpid()}", 2)
        last = switch.address(network.MAX_ADDRESSES - 1)
        assert last == str(switch.subnet.broadcast_address - 1)
        return switch.address(network.MAX_ADDRESSES)

    error = in_child(last_and_beyond)
    assert isinstance(error, LaunchError)
    assert f"at most {network.MAX_ADDRESSES}" in str(error)


@pytest.mark.root
def test_a_bridge_that_is_full_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was begun for few hosts and came to have more live ones than a bridge has ports."""

    def fill() -> None:
        switch = network.Switch(f"unit-{os.getpid()}", 2)
        for index in range(1_023):  # the uplink has one
            switch.connect(os.getpid(), switch.address(index), is_server=False)

    monkeypatch.setattr(rtnetlink, "veth", end_of_a_name_of_its_own)
    error = in_child(fill)
    assert isinstance(error, LaunchError)
    assert "1,023 ports, and the run was begun for 2 hosts" in str(error)


def end_of_a_name_of_its_own(
    name: str, index: int, master: int, _peer: str, mac: str, pid: int
) -> object:
    """All other ends are in the one process there is, so they cannot all be `eth0`."""
    return VETH(name, index, master, f"{name}p", mac, pid)


def test_a_pool_that_other_runs_hold_is_not_blamed_on_routes() -> None:
    routed, *held = SUBNETS
    with pytest.raises(LaunchError, match=rf"routes to {routed}; other runs hold .*{held[-1]}"):
        network.choose_subnet("r", [routed], held)
    with pytest.raises(LaunchError) as caught:
        network.choose_subnet("r", [], SUBNETS)
    assert "routes to" not in str(caught.value)


def neighbours_of_a_new_network(count: int) -> list[str]:
    """What `ip` shows after a host was configured in an empty network namespace with its neighbours."""
    linux.unshare(linux.CLONE_NEWNET)
    with network.IPRoute() as netlink:
        netlink.link("add", ifname="eth0", kind="veth", peer={"ifname": "other"})
    hosts = [str(SUBNETS[0][number]) for number in range(1, count + 1)]
    network.configure_host(hosts[1], hosts)
    shown = subprocess.check_output(["ip", "neigh", "show", "dev", "eth0", "nud", "permanent"])
    return shown.decode().splitlines()


@pytest.mark.root
def test_a_host_knows_all_its_neighbours_but_itself_from_one_batch() -> None:
    shown = in_child(lambda: neighbours_of_a_new_network(1000))
    assert isinstance(shown, list)
    assert len(shown) == 999
    first = str(SUBNETS[0][1])
    # private: the address must be the one that neighbours are told
    assert f"{first} lladdr {network._mac(first)} PERMANENT" in [line.rstrip() for line in shown]


def refused_neighbour() -> str:
    linux.unshare(linux.CLONE_NEWNET)
    try:
        # private: the kernel refuses this only where the index is wrong
        network._introduce(rtnetlink.open_socket(), 999, [str(SUBNETS[0][1])] * 3)
    except OSError as exc:
        return str(exc)
    return "accepted"


@pytest.mark.root
def test_a_neighbour_that_the_kernel_refuses_is_an_error() -> None:
    assert "neighbours of the run: No such device" in str(in_child(refused_neighbour))
