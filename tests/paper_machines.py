"""Machines that hosts are packed onto, on paper: what asks for them can be tested without any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from perfkit.errors import HostError
from perfkit.fleet.packed.logins import Logins
from perfkit.fleet.packed.machines import Machines
from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Host
from perfkit.ssh.access import Access
from perfkit.ssh.keys import SshKey, derive_ssh_key, make_ssh_key
from perfkit.ssh.remote import RemotePool

SECRET = make_ssh_key().private_openssh
FIT = {"free_kib": ("4000000",)}


def key_of(name: str) -> SshKey:
    return derive_ssh_key(SECRET, name)


class PaperMachines(Machines):
    """Machines that make what they are asked for; but for those in `broken`, by Host.machine.

    Args:
        is_heard: The server reaches what they made.
    """

    def __init__(self, *broken: str, is_heard: bool = True) -> None:
        self.broken, self.is_heard = broken, is_heard
        self.prepared: list[str] = []  # by Host.machine
        self.ways: dict[str, str] = {}
        self.routed: set[str] = set()  # machines that were given ways
        self.peers: list[list[str]] = []
        self.made: dict[str, dict[str, str]] = {}

    def prepare(self, pool: RemotePool, machine: Host, run_id: str) -> None:
        if machine.machine in self.broken:
            raise HostError(machine.machine, "connection refused")
        self.prepared.append(machine.machine)

    def route(
        self, pool: RemotePool, server: Host, run_id: str, ways: Mapping[IPv4Network, str]
    ) -> None:
        self.routed.add(server.machine)
        self.ways |= {str(prefix): way for prefix, way in ways.items()}

    def launch(
        self,
        pool: RemotePool,
        machine: Host,
        request: LaunchRequest,
        hosts: Sequence[HostRequest],
        more: Mapping[str, Any],
    ) -> tuple[dict[str, str], dict[str, str]]:
        self.peers.append(more["peers"])
        subnet = IPv4Network(more["subnet"])
        made = self.made[machine.machine] = {
            it.name: str(subnet[2 + n]) for n, it in enumerate(hosts)
        }
        return dict(made), {}

    def pings(self, pool: RemotePool, server: Host, address: str) -> bool:
        return self.is_heard

    def list_hosts(self, machines: Sequence[Host], run_id: str) -> dict[str, Any]:
        return {it.name: dict(self.made.get(it.machine, {})) for it in machines}


class Paper(PaperMachines):
    """Those that were launched for the run alone, and let us in; `broken` ones, by name, do not."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.logins = Logins(
            access=Access(key_path=Path("none"), known_hosts_path=None),
            host_key=key_of,
            equip=lambda _remote: None,
        )
        self.shut = broken
        self.shown: dict[str, str] = {}  # host keys at the first login, by machine
        self.answers: dict[str, dict[str, tuple[str, ...]]] = {}
        self.is_silent = False

    def take_over(self, pool: RemotePool, machine: Host, run_id: str, timeout_s: float) -> Host:
        if machine.name in self.shut:
            raise HostError(machine.machine, "no answer within 600 s")
        self.shown[machine.name] = machine.host_key
        return replace(machine, host_key=key_of(machine.name).public_openssh)

    def look(
        self, machines: Sequence[Host], addresses: Mapping[str, Sequence[str]], run_id: str = ""
    ) -> Any:
        looked_at = {it.name: self.answers.get(it.name, FIT) for it in machines}
        ready = self.prepared if run_id else []
        return looked_at | {it.name: {} for it in machines if it.machine in ready}

    def prepare(self, pool: RemotePool, machine: Host, run_id: str) -> None:
        assert machine.host_key == key_of(machine.name).public_openssh
        super().prepare(pool, machine, run_id)

    def list_hosts(self, machines: Sequence[Host], run_id: str) -> dict[str, Any]:
        silent = HostError("i-1", "no answer")
        return {it.name: silent if self.is_silent else {} for it in machines}
