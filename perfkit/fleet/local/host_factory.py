"""Make a batch of hosts, several at a time; the inside of the keeper.

Everything here runs as root in the keeper's own mount and network namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfkit.errors import LaunchError
from perfkit.fleet.local import (
    cleanup,
    confinement,
    hosts,
    ipv6,
    links,
    linux,
    machine_view,
    network,
    tags,
    tools,
    userns,
)
from perfkit.fleet.local.stalls import StallWatch
from perfkit.model import Role

# Enough to keep all processors busy; each one in the making is a fork of the keeper. So many wait
# for their network, and as many have it.
IN_THE_MAKING_PER_CPU = 4
MAKING_STALL_S = 30.0
LOOK_EVERY_S = 1.0
ENDED = "it ended while it was being made"


@dataclass(frozen=True, slots=True)
class _Making:
    """A host in the making: its PID 1 and our end of the socket to it."""

    plan: hosts.HostPlan
    pid: int
    ready: socket.socket

    def give_up(self, reason: str) -> dict[str, str]:
        """End what there is of it; its name and the reason."""
        self.ready.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return {self.plan.name: reason}


class HostFactory:
    """The run's switch, its view of the machine, and what came of which token.

    Attributes:
        links: Those of its hosts.
    """

    def __init__(
        self,
        run_id: str,
        n_hosts: int,
        hidden: Iterable[Path],
        outside: network.Outside | None = None,
    ) -> None:
        self._run_id = run_id
        # Hosts of a keeper that was killed have lost their network for good.
        cleanup.end_hosts(run_id)
        self._tools = tools.find_host_tools()
        self._switch = network.Switch(run_id, n_hosts, outside)
        self.links = links.HostLinks(run_id, self._switch)
        self._view = _set_stage(hidden)
        self._failed: dict[str, dict[str, str]] = {}  # token -> host -> why it was not made
        # By name, those that have ended since included. There are no others: we are the one keeper.
        # A look at the whole process table for every batch took a quarter of a keeper's time.
        self._made: dict[str, tags.Tagged] = {}
        self._next_index = 0
        self._has_ipv6 = False  # as the first request says, and all of a run

    def launch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the hosts of one request; a token that was served before makes nothing.

        Returns:
            `hosts`: the tags of those that run; `failed`: reason by name.
        """
        token = str(request["token"])
        self._has_ipv6 |= bool(request.get("with_ipv6"))
        if token not in self._failed:
            self._make_all(request, token)
        failed = self._failed[token]
        wanted = [name for host in request["hosts"] if (name := str(host["name"])) not in failed]
        return {
            "hosts": [dict(self._made[name].fields) for name in wanted if self._is_there(name)],
            "failed": failed,
        }

    def _is_there(self, name: str) -> bool:
        """Whether the host of this name runs; its PID may be another process's by now."""
        made = self._made.get(name)
        return made is not None and tags.read(made.pid) == made

    def _there(self, *, servers_only: bool) -> list[Mapping[str, str]]:
        """The tags of the hosts that run, or of the servers among them."""
        return [
            made.fields
            for name, made in self._made.items()
            if made.fields["role"] == Role.SERVER or not servers_only
            if self._is_there(name)
        ]

    def _make_all(self, request: dict[str, Any], token: str) -> None:
        window = IN_THE_MAKING_PER_CPU * (os.cpu_count() or 1)
        begun: deque[_Making] = deque()
        connected: deque[_Making] = deque()
        plans, failed = self._plan_all(request)

        def advance(may_be_begun: int, may_be_connected: int) -> None:
            while len(begun) > may_be_begun:
                one = begun.popleft()
                reason = self._connect(one)
                if reason:
                    failed.update(one.give_up(reason))
                else:
                    connected.append(one)
            while len(connected) > may_be_connected:
                one = connected.popleft()
                tagged = _finish(one)
                if isinstance(tagged, str):
                    failed.update(one.give_up(tagged))
                else:
                    self._made[one.plan.name] = tagged

        self._introduce(plans)
        self._failed[token] = failed  # from here on it is served, whatever comes of it
        for plan in plans:
            try:
                begun.append(_Making(plan, *hosts.start(plan, self._tools, self._view)))
            except OSError as exc:
                failed[plan.name] = str(exc)
            advance(window, window)
        advance(0, 0)

    def _plan_all(self, request: dict[str, Any]) -> tuple[list[hosts.HostPlan], dict[str, str]]:
        """The plan of each host that can be made, and why each other cannot."""
        placed: list[tuple[str, dict[str, Any]]] = []
        failed: dict[str, str] = {}
        for wanted in request["hosts"]:
            name = str(wanted["name"])
            if self._is_there(name):
                failed[name] = "a host of this run has that name already"
                continue
            try:
                placed.append((self._switch.address(self._next_index), wanted))
            except LaunchError as exc:
                failed[name] = str(exc)
            else:
                self._next_index += 1
        there = self._there(servers_only=all(it["role"] != Role.SERVER for _, it in placed))
        roles = {it["address"]: it["role"] for it in there} | {at: it["role"] for at, it in placed}
        servers = [address for address, role in roles.items() if role == Role.SERVER]
        plans = [
            self._plan(
                request, wanted, address, [*roles] if wanted["role"] == Role.SERVER else servers
            )
            for address, wanted in placed
        ]
        return plans, failed

    def _plan(
        self, request: dict[str, Any], wanted: dict[str, Any], address: str, known: Sequence[str]
    ) -> hosts.HostPlan:
        return hosts.HostPlan(
            fields={
                "run": self._run_id,
                "name": str(wanted["name"]),
                "role": str(wanted["role"]),
                "address": address,
                "expires": f"{float(request['expires']):.0f}",
                "owner": str(request["owner"]),
                "isolation": tags.NAMESPACES,
            },
            address=address,
            neighbours=[self._switch.controller, *self._addresses(known)],
            expires_s=float(request["expires"]),
            host_key=str(wanted["host_key"]),
            host_key_private=str(wanted["host_key_private"]),
            authorized_key=str(request["authorized_key"]),
            address_6=ipv6.address_of(address) if self._has_ipv6 else "",
            ways=dict.fromkeys(self._switch.peers, self._switch.controller),
        )

    def _addresses(self, of_hosts: Sequence[str]) -> list[str]:
        """All addresses of hosts that have these of IPv4."""
        more = [ipv6.address_of(address) for address in of_hosts] if self._has_ipv6 else []
        return [*of_hosts, *more]

    def _introduce(self, plans: Sequence[hosts.HostPlan]) -> None:
        """Tell the machine and the hosts that are there already about those to come."""
        new = [plan.address for plan in plans]
        new_servers = [plan.address for plan in plans if plan.is_server]
        self._switch.introduce_to_controller(new)
        for tagged in self._made.values():
            addresses = new if tagged.fields["role"] == Role.SERVER else new_servers
            if not addresses:
                continue
            # One that has just ended needs to know nobody.
            with contextlib.suppress(ProcessLookupError), tags.pinned(tagged) as pidfd:
                self._switch.introduce_to_host(pidfd, self._addresses(addresses))

    def _connect(self, one: _Making) -> str:
        """Give a host its `eth0`, once it is in its own network; the reason when that fails."""
        said = _await_reason(one.pid, one.ready)
        if said != hosts.HAS_NETWORK.decode():
            return said.lstrip(hosts.HAS_NETWORK.decode()) or ENDED
        try:
            self._switch.connect(one.pid, one.plan.address, is_server=one.plan.is_server)
            one.ready.sendall(hosts.GO_ON)
        except (LaunchError, OSError) as exc:
            return str(exc)
        return ""


def _finish(one: _Making) -> tags.Tagged | str:
    """Wait until a host has become one: the host, or the reason when it has not."""
    reason = _await_reason(one.pid, one.ready)
    tagged = None if reason else _await_tag(one.pid)
    if tagged is None:
        return reason or ENDED
    one.ready.close()
    return tagged


def _await_reason(pid: int, ready: socket.socket) -> str:
    """What a host in the making says next: nothing when it is one, or why it cannot be."""
    watch = StallWatch(pid)
    ready.settimeout(LOOK_EVERY_S)
    while not watch.has_stalled(MAKING_STALL_S):
        try:
            return ready.recv(4096).decode(errors="replace")
        except TimeoutError:
            continue
        except OSError as exc:
            return f"it was lost while it was being made ({exc})"
    return f"it is not ready and has done nothing for {MAKING_STALL_S:.0f} s"


def _await_tag(pid: int) -> tags.Tagged | None:
    """Wait out the instant in execve in which a process has no command line."""
    for _ in range(1000):
        tagged = tags.read(pid)
        if tagged and tagged.kind == tags.HOST:
            return tagged
        if not Path(f"/proc/{pid}").exists():
            return None
        time.sleep(0.001)
    return None


def _set_stage(hidden: Iterable[Path]) -> machine_view.MachineView:
    """Prepare, in a mount namespace of our own, what hosts are built from."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.make_mounts_private()
    # Open to all: the public view is made with the rights of a user who is nobody. Nobody is here.
    linux.mount("tmpfs", str(hosts.STAGE), "tmpfs", linux.MS_NOSUID, "size=256m,mode=0755")
    (hosts.STAGE / "host").mkdir()
    return machine_view.build(hosts.STAGE, hidden, tools.sshd_lines())


def probe() -> None:
    """Do once what a host takes, in a child that takes everything with it when it ends.

    Raises:
        LaunchError: the kernel, or the container we are in, refuses; the message says what.
    """
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWCGROUP)
            view = _set_stage(())
            network.try_bridge()
            linux.unshare(linux.CLONE_NEWPID)  # late: its first process is the next that is started
            owner = userns.Owner()
            owner.enter_owned()
            hosts.mount_root(view)
            owner.become_root_inside()
            confinement.confine()
        except BaseException as exc:  # noqa: BLE001  the child must end here, whatever happens
            its.sendall(str(exc).encode())
        finally:
            os._exit(0)
    its.close()
    reason = ours.recv(4096).decode(errors="replace")
    os.waitpid(pid, 0)
    if reason:
        raise LaunchError(f"this machine cannot make local hosts in namespaces: {reason}")
