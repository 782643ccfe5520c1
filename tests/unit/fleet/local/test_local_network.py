from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import LaunchError

if not sys.platform.startswith("linux"):
    pytest.skip("netlink is Linux's", allow_module_level=True)

from perfkit.fleet.local import network

SUBNETS = list(network.POOL.subnets(new_prefix=network.SUBNET_BITS))


@given(st.text(min_size=1), st.sets(st.sampled_from(SUBNETS), max_size=len(SUBNETS) - 1))
def test_a_subnet_is_free_and_in_the_pool(run_id: str, taken: set[IPv4Network]) -> None:
    chosen = network.choose_subnet(run_id, taken)
    assert chosen in SUBNETS
    assert chosen not in taken
    assert chosen == network.choose_subnet(run_id, taken)


def test_a_subnet_holds_all_hosts_of_a_run() -> None:
    assert SUBNETS[0].num_addresses - 3 >= network.MAX_HOSTS


def test_routes_elsewhere_do_not_matter_and_wider_ones_inside_do() -> None:
    elsewhere = IPv4Network("10.0.0.0/8")
    half = IPv4Network("198.18.0.0/16")
    assert network.choose_subnet("r", [elsewhere, half]).subnet_of(IPv4Network("198.19.0.0/16"))


def test_a_full_pool_is_an_error_that_names_what_takes_it() -> None:
    with pytest.raises(LaunchError, match=r"198\.18\.0\.0/15.*perfkit reap"):
        network.choose_subnet("r", [network.POOL])


def in_child(work: Callable[[], object]) -> object:
    """What `work` returns or raises in a child, which may change its namespaces at will."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result: object = work()
        except LaunchError as exc:
            result = exc
        os.write(writer, pickle.dumps(result))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        result = pickle.loads(answer.read())
    os.waitpid(pid, 0)
    return result


def refused_link() -> None:
    switch = network.Switch(f"unit-{os.getpid()}")
    switch.connect(2**22 - 1, 0)  # no such process


@pytest.mark.root
def test_what_netlink_refuses_is_a_launch_error() -> None:
    error = in_child(refused_link)
    assert isinstance(error, LaunchError)
    assert "eth0 of the host at 198.1" in str(error)


@pytest.mark.root
def test_a_host_beyond_the_bridges_ports_is_a_launch_error() -> None:
    error = in_child(lambda: network.Switch(f"unit-{os.getpid()}").address(network.MAX_HOSTS))
    assert isinstance(error, LaunchError)
    assert f"at most {network.MAX_HOSTS}" in str(error)


@pytest.mark.root
def test_a_server_knows_everybody_and_a_client_the_controller_and_the_servers() -> None:
    def ask() -> tuple[str, list[str], list[str]]:
        switch = network.Switch(f"unit-{os.getpid()}")
        servers = [switch.address(0)]
        client = switch.neighbours(servers, is_server=False)
        return switch.controller, client, switch.neighbours(servers, is_server=True)

    controller, client, server = in_child(ask)  # type: ignore[misc]
    assert client == [controller, controller[:-1] + "2"]
    assert len(server) == network.MAX_HOSTS + 1
