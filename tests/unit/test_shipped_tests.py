"""The tests that are shipped: which program they start, and how it is told the address family."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from perfkit.vpn.openvpn.configuration import template_values
from perfkit.vpn.plan import TunnelPlan

TESTS = Path(__file__).parents[2] / "resources" / "tests"
V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("name", "remote", "peer", "is_six"),
    [
        ("direct-tcp", V4, "10.8.0.1", False),
        ("direct-tcp", V6, "10.8.0.1", True),
        ("direct-tcp.server", V6, "10.8.0.1", True),
        ("direct-tcp.server", V4, "10.8.0.1", False),
        ("tunnel-tcp", V6, "10.8.0.1", False),
        ("tunnel-tcp.server", V6, "10.8.0.1", False),
        ("tunnel-tcp", V4, "fd00::1", True),
    ],
)
def test_iperf_is_told_of_ipv6_where_the_address_it_uses_is_one(
    tmp_path: Path, name: str, remote: str, peer: str, *, is_six: bool
) -> None:
    stand_in = tmp_path / "iperf"
    stand_in.write_text('#!/bin/sh\necho "told: $*"\n')
    stand_in.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(TESTS / name), remote, peer], env=env, capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    assert ("-V" in words) is is_six
    used = remote if name.startswith("direct") else peer
    assert (used in words) is not name.endswith(".server")


@pytest.mark.parametrize(("address", "proto"), [(V4, "udp"), (V6, "udp6")])
def test_openvpn_listens_where_its_clients_look_for_it(address: str, proto: str) -> None:
    values = template_values(TunnelPlan(server_address=address, clients=2))
    assert values["proto"] == proto
    assert values["server_address"] == address
