"""Which bridge a host is joined to, and what the tree holds."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from forked import in_child
from hypothesis import given
from hypothesis import strategies as st

if not sys.platform.startswith("linux"):
    pytest.skip("netlink is Linux's", allow_module_level=True)

from perfkit.fleet.local import bridges, linux, network, rtnetlink

KERNEL_PORTS = 1_023  # BR_MAX_PORTS, linux/net/bridge/br_private.h, but number 0


def bridge_of_each(n_hosts: int) -> list[int]:
    """The first host is the server."""
    return [
        bridges.bridge_of(bridges.Seat(index, "", "", is_server=index == 0), n_hosts)
        for index in range(n_hosts)
    ]


@given(st.integers(1, bridges.MAX_HOSTS))
def test_no_bridge_has_more_hosts_than_ports_and_every_client_is_as_far_from_the_server(
    n_hosts: int,
) -> None:
    server, *clients = bridge_of_each(n_hosts)
    hosts = Counter([server, *clients])
    leaves = set(hosts) - {bridges.ROOT}
    assert server == bridges.ROOT
    assert bool(leaves) == (n_hosts > bridges.HOSTS_PER_BRIDGE)
    assert leaves in (set(), set(clients))
    assert hosts[bridges.ROOT] + len(leaves) + 1 <= KERNEL_PORTS  # the uplink
    assert all(hosts[leaf] + 1 <= KERNEL_PORTS for leaf in leaves)  # the way up


def test_a_thousand_clients_have_one_bridge_and_four_thousand_have_four_leaves() -> None:
    assert set(bridge_of_each(1_001)) == {bridges.ROOT}
    assert Counter(bridge_of_each(4_001)) == {bridges.ROOT: 1, 1: 1_000, 2: 1_001, 3: 1_001, 4: 998}


def test_the_subnet_has_addresses_for_all_and_for_some_that_are_replaced() -> None:
    assert bridges.MAX_HOSTS + 50 < network.MAX_ADDRESSES
    assert network.POOL.prefixlen <= network.SUBNET_BITS


def neighbours_then_a_refusal() -> list[object]:
    """More entries than one call holds; then some refused; then again, on the same socket."""
    linux.unshare(linux.CLONE_NEWNET)
    with network.IPRoute() as library, rtnetlink.open_socket() as netlink:
        library.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        (index,) = library.link_lookup(ifname="a")
        count = 2 * rtnetlink.AT_ONCE + 7
        addresses = [f"198.18.{number >> 8}.{number & 255}" for number in range(1, count + 1)]
        entries = [rtnetlink.neighbour(index, it, "02:00:00:00:00:01") for it in addresses]
        said: list[object] = []
        for requests in (entries, [rtnetlink.neighbour(99, "198.18.0.1", "02:00:00:00:00:01")] * 3,
                         entries[:1]):  # fmt: skip
            try:
                rtnetlink.apply(netlink, requests, "a thousand")
                said.append(len(list(library.get_neighbours(ifindex=index, family=2))))
            except OSError as exc:
                said.append(exc.strerror)
    return said


@pytest.mark.root
def test_entries_go_in_several_calls_and_a_refusal_leaves_no_answer_for_the_next_one() -> None:
    count = 2 * rtnetlink.AT_ONCE + 7
    assert in_child(neighbours_then_a_refusal) == [count, "a thousand: No such device", count]
