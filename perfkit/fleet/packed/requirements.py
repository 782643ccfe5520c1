"""What machines must have so that hosts can be packed onto them, and what is wrong where they have not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from perfkit.errors import PerfkitError
from perfkit.fleet.local.limits import MEMORY_PER_HOST_BYTES
from perfkit.fleet.local.tools import install_command
from perfkit.model import Host, Role

Answer = Mapping[str, tuple[str, ...]]
MAKERS = ("sshd", "cron", "tini", "ip", "ping")  # programs that `machine.sh look` asks for


def memory_bytes(per_machine: int) -> int:
    """What the hosts on a machine take of its memory."""
    return per_machine * MEMORY_PER_HOST_BYTES


def of_addresses(machines: Sequence[Host]) -> list[str]:
    """What is wrong with how machines are reached, one line each; nobody is asked."""
    problems = []
    for machine in machines:
        if not _is_ipv4(machine.traffic_address):
            problems.append(
                f"{machine.name}: packed hosts are reached by IPv4, {machine.traffic_address!r} is no "
                "address of that: set traffic_address"
            )
        if machine.jump and machine.role is not Role.SERVER:
            problems.append(
                f"{machine.name}: hosts on it would be behind two jump hosts, {machine.jump.name} and "
                "itself, which is not possible: run perfkit where the machine is reached directly"
            )
    return problems


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def obstacles(
    server: Host,
    machines: Sequence[Host],
    found: Mapping[str, Answer | PerfkitError],
    prefixes: Sequence[IPv4Network],
    per_machine: int,
) -> list[str]:
    """What is in the way, one line each.

    Args:
        found: What `machine.sh look` said on each.
        prefixes: Addresses of the hosts on each machine.
    """
    problems = []
    for machine in (server, *machines):
        answer = found[machine.name]
        if isinstance(answer, PerfkitError):
            problems.append(str(answer))
            continue
        each = per_machine if machine is not server else 0
        problems += [f"{machine.name}: {it}" for it in obstacles_of(answer, prefixes, each)]
    return problems


def obstacles_of(
    answer: Answer, prefixes: Sequence[IPv4Network], per_machine: int
) -> Iterator[str]:
    """What is in the way on one machine.

    Args:
        answer: What `machine.sh look` said there.
        per_machine: Hosts that it is to make; 0: it is the server.
    """
    yield from _network_obstacles(answer, prefixes)
    if per_machine:
        yield from _maker_obstacles(answer, per_machine)


def _network_obstacles(answer: Answer, prefixes: Sequence[IPv4Network]) -> Iterator[str]:
    for way in answer.get("far", ()):
        yield (
            f"it reaches another machine of the run through a gateway, or not at all ({way}): packed "
            "hosts need machines in one network, since nobody tells the gateway about their addresses"
        )
    if unable := answer.get("unable", ()):
        yield f"not installed: {' '.join(unable)}; as root there: {install_command(list(unable))}"
    for address in answer.get("silent", ()):
        yield f"no answer to a ping from {address}: let ICMP through, or see the cable"
    taken = [it for route in answer.get("route", ()) if (it := _overlap(route, prefixes))]
    if taken:
        yield (
            f"it has routes to {', '.join(dict.fromkeys(taken))}, which packed hosts would take: set "
            "packed_pool, where the provider is set up, to addresses that are free on all machines"
        )


def _overlap(route: str, prefixes: Sequence[IPv4Network]) -> str:
    """The route, if it is into one of the prefixes and not as wide as a way to everywhere."""
    try:
        network = IPv4Network(route)
    except ValueError:  # default
        return ""
    is_in_the_way = any(
        network.overlaps(it) and network.prefixlen >= it.prefixlen for it in prefixes
    )
    return route if is_in_the_way else ""


def _maker_obstacles(answer: Answer, per_machine: int) -> Iterator[str]:
    for version in answer.get("python", ()):
        yield f"Python 3.11 or later is needed there to make hosts, found: {version or 'none'}"
    for place in answer.get("fixed", ()):
        yield (
            f"{place} is 0 and cannot be set there, so it would not forward what its hosts send: "
            "inside a container give it --privileged, else set it to 1 before"
        )
    if lacks := answer.get("lacks", ()):
        yield f"not installed: {' '.join(lacks)}; as root there: {install_command(list(lacks))}"
    for reason in answer.get("namespaces", ()):
        yield (
            f"no namespaces for hosts can be made there ({reason}): inside a container give it "
            "--privileged; else see user.max_user_namespaces"
        )
    free_kib = answer.get("free_kib", ("",))[0]
    free_bytes = int(free_kib) * 1024 if free_kib.isascii() and free_kib.isdigit() else 0
    needed_bytes = memory_bytes(per_machine)
    if needed_bytes > free_bytes:
        yield (
            f"{per_machine} hosts need about {math.ceil(needed_bytes / 1e6)} MB of memory, "
            f"{free_bytes // 1_000_000} MB are free: give at most "
            f"{free_bytes // MEMORY_PER_HOST_BYTES} as per_machine"
        )
