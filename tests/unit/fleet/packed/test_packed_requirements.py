"""Machines that cannot carry hosts are refused before anything is launched, each with its remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from perfkit.errors import PerfkitError, UnreachableError
from perfkit.fleet.packed import requirements
from perfkit.model import Host, Jump, Role

SERVER = Host(name="lab", role=Role.SERVER, address="192.0.2.1", host_key="k", machine="lab")
MACHINE = replace(SERVER, name="lab-1", role=Role.CLIENT, address="192.0.2.2", machine="lab-1")
GATE = Jump(name="gate", address="192.0.2.9", port=22, user="root", key_file="k", host_key="k")
PREFIXES = [IPv4Network("198.18.0.0/20")]
WELL = {"free_kib": ("4000000",), "route": ("default", "192.0.2.0/24", "10.0.0.0/8")}
Answer = dict[str, tuple[str, ...]]


def said_of(machine: Answer, server: Answer) -> list[str]:
    found = {"lab": WELL | server, "lab-1": WELL | machine}
    return requirements.obstacles(SERVER, [MACHINE], found, PREFIXES, 20)


def test_machines_that_have_all_are_not_refused() -> None:
    assert said_of({}, {}) == []
    assert requirements.of_addresses([SERVER, MACHINE]) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"python": ("Python 3.9.2",)}, "Python 3.11 or later is needed.*found: Python 3.9.2"),
        ({"python": ("",)}, "found: none"),
        ({"lacks": ("sshd", "tini")}, "not installed: sshd tini; .*apt-get install -y openssh-ser"),
        ({"namespaces": ("unshare: Operation not permitted",)}, "no namespaces.*not permitted"),
        ({"free_kib": ("50000",)}, "20 hosts need about 120 MB.*51 MB are free: give at most 8"),
        ({"free_kib": ("",)}, " 0 MB are free"),
        ({"free_kib": ("much",)}, " 0 MB are free"),
    ],
)
def test_what_makes_hosts_is_needed_on_their_machine_and_not_on_the_server(
    answer: Answer, words: str
) -> None:
    (said,) = said_of(answer, {})
    assert re.search(f"^lab-1: .*{words}", said), said
    assert said_of({}, answer) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"far": ("192.0.2.1 via 192.0.2.254 dev eth0",)}, "through a gateway.*via 192.0.2.254"),
        ({"far": ("RTNETLINK answers: Network is unreachable",)}, "or not at all"),
        ({"unable": ("ping",)}, "not installed: ping; .*apt-get install -y iputils-ping"),
        ({"silent": ("192.0.2.1",)}, "no answer to a ping from 192.0.2.1"),
        ({"route": ("198.18.0.0/24",)}, "has routes to 198.18.0.0/24.*set packed_pool"),
        ({"route": ("198.18.0.0/20", "198.18.0.0/20")}, "has routes to 198.18.0.0/20, which"),
    ],
)
def test_a_network_in_which_packed_hosts_would_not_be_reached_is_refused_on_every_machine(
    answer: Answer, words: str
) -> None:
    for name, said in (("lab-1", said_of(answer, {})), ("lab", said_of({}, answer))):
        assert len(said) == 1
        assert re.search(f"^{name}: .*{words}", said[0]), said


def test_a_machine_that_does_not_answer_is_named() -> None:
    found: dict[str, Answer | PerfkitError] = {"lab": WELL}
    found["lab-1"] = UnreachableError("lab-1", "connection refused")
    said = requirements.obstacles(SERVER, [MACHINE], found, PREFIXES, 20)
    assert said == ["lab-1: connection refused"]


def test_machines_by_ipv6_by_name_or_behind_a_jump_host_are_refused() -> None:
    for address in ("2001:db8::1", "lab-1.example"):
        (said,) = requirements.of_addresses([SERVER, replace(MACHINE, address=address)])
        assert said.startswith(f"lab-1: packed hosts are reached by IPv4, '{address}'")
    (said,) = requirements.of_addresses([replace(SERVER, jump=GATE), replace(MACHINE, jump=GATE)])
    assert said.startswith("lab-1: hosts on it would be behind two jump hosts, gate and itself")
