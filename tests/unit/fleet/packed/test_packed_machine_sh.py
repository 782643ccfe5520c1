"""What is changed on a machine for packed hosts is recorded and undone, here in a network of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from perfkit.fleet.packed import shipping
from perfkit.fleet.packed.shipping import MACHINE_SH

pytestmark = pytest.mark.root

PREFIX, GATEWAY, OTHER = "198.18.0.0/20", "10.77.0.2", "10.77.0.3"


def in_own_network(folder: Path, script: str) -> list[str]:
    """What a script prints that works with `machine.sh`, called $m, and a neighbourhood of three."""
    (folder / "machine.sh").write_bytes(MACHINE_SH.read_bytes())
    (folder / "run").write_text("a-run\n")
    begin = (
        "ip link set lo up && ip link add wire type veth peer name end && ip link set end up && ip addr add 10.77.0.1/24 dev wire && "
        "ip link set wire up\necho 0 >/proc/sys/net/ipv4/ip_forward\nm='sh ./machine.sh'\n"
    )
    argv = ["unshare", "--net", "--mount", "sh", "-ec", begin + script]
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_routes_and_forwarding_are_as_before_once_stopped(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        $m forward; $m forward; $m route {PREFIX} {GATEWAY}; $m route {PREFIX} {GATEWAY}
        cat /proc/sys/net/ipv4/ip_forward; ip route show {PREFIX}
        $m stop; echo stopped; cat /proc/sys/net/ipv4/ip_forward; ip route show {PREFIX}
        $m stop; echo again
        """,
    )
    assert said[0] == "1"
    assert said[1].startswith(f"{PREFIX} via {GATEWAY} dev wire proto 112")
    assert said[2:] == ["stopped", "0", "again"]


def test_a_route_of_somebody_else_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        ip route add {PREFIX} via {OTHER}
        $m route {PREFIX} {GATEWAY} 2>&1 || echo refused
        $m stop; ip route show {PREFIX}
        """,
    )
    assert said[-2] == "refused"
    assert said[-1].strip() == f"{PREFIX} via {OTHER} dev wire"


def test_a_route_of_the_run_follows_a_machine_that_was_replaced(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        $m route {PREFIX} {GATEWAY}; $m route {PREFIX} {OTHER}; ip route show {PREFIX}
        $m stop; echo stopped; ip route show {PREFIX}
        """,
    )
    assert said[0].startswith(f"{PREFIX} via {OTHER} ")
    assert said[1:] == ["stopped"]


def test_a_look_at_a_server_tells_no_routes_of_the_run_itself(tmp_path: Path) -> None:
    """A controller that takes the run up looks, and one that replaces a machine does."""
    said = in_own_network(
        tmp_path,
        f"""
        ip route add 198.18.16.0/20 via {OTHER}; $m route {PREFIX} {GATEWAY}
        $m look 10.77.0.1
        """,
    )
    assert "route=198.18.16.0/20" in said
    assert f"route={PREFIX}" not in said


def test_a_machine_behind_a_gateway_is_told_from_one_that_is_near(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        f"ip route add 192.0.2.0/24 via {GATEWAY}; $m look 192.0.2.9 10.77.0.1 203.0.113.1",
    )
    far = [line for line in said if line.startswith("far=")]
    assert [line.split()[0] for line in far] == ["far=192.0.2.9", "far=RTNETLINK"]
    assert not [line for line in said if line.startswith(("silent=", "python="))]
    assert "route=192.0.2.0/24" in said


READ_ONLY = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"


def test_a_machine_that_cannot_be_made_to_forward_says_so_and_nothing_is_left(
    tmp_path: Path,
) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        $m look 10.77.0.1 | grep fixed= || echo free
        {READ_ONLY}
        $m look 10.77.0.1 | grep fixed=
        $m forward 2>&1 || echo refused
        $m stop && echo stopped
        """,
    )
    assert said[:2] == ["free", "fixed=/proc/sys/net/ipv4/ip_forward"]
    assert "Read-only file system" in said[2]
    assert said[3:] == ["refused", "stopped"]


def test_a_machine_whose_disk_is_full_says_so_and_keeps_no_part_of_what_was_sent(
    tmp_path: Path,
) -> None:
    sent = tmp_path / "sent.tar.gz"
    sent.write_bytes(shipping.archive("a-run", makes_hosts=True))
    (tmp_path / "unpack.sh").write_text(shipping.unpacking(sent.read_bytes()))
    (tmp_path / "small").mkdir()
    said = in_own_network(
        tmp_path,
        f"""
        mount -t tmpfs -o size=200k none small; cd small
        sh {tmp_path}/unpack.sh <{sent} 2>&1 || echo refused
        ls
        """,
    )
    assert "could not be unpacked: " in said[0]
    assert re.search("No space left on device|Wrote only", said[0])  # tar's words for it
    assert said[1:] == ["refused"]


def test_a_machine_that_forwards_already_needs_no_change(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        echo 1 >/proc/sys/net/ipv4/ip_forward
        {READ_ONLY}
        $m look 10.77.0.1 | grep fixed= || echo free
        $m forward && $m stop && cat /proc/sys/net/ipv4/ip_forward
        """,
    )
    assert said == ["free", "1"]


def test_a_prefix_in_which_a_machine_has_an_address_or_a_blackhole_is_said_too(
    tmp_path: Path,
) -> None:
    said = in_own_network(
        tmp_path,
        f"""
        ip addr add 198.18.0.9/32 dev lo; ip route add blackhole 198.18.16.0/20
        ip route add default via {GATEWAY}
        $m look 10.77.0.1
        """,
    )
    routes = {line.removeprefix("route=") for line in said if line.startswith("route=")}
    assert {"198.18.0.9", "198.18.16.0/20", "10.77.0.0/24", "default"} <= routes


def test_a_machine_to_which_only_a_part_was_sent_is_given_back(tmp_path: Path) -> None:
    said = in_own_network(
        tmp_path,
        "mkdir perfkit; touch perfkit/__init__.py; $m stop; echo stopped; $m forward; $m stop || echo not stopped",
    )
    assert said == ["stopped", "not stopped"]
