"""Make a batch of hosts, several at a time; the inside of the keeper.

Everything here runs as root in the keeper's own mount and network namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import LaunchError
from perfkit.fleet.local import cleanup, hosts, linux, network, rootfs, tags, tools
from perfkit.fleet.local.stalls import StallWatch
from perfkit.model import Role

# Enough to keep all processors busy; each one in the making is a fork of the keeper.
IN_THE_MAKING_PER_CPU = 4
MAKING_STALL_S = 30.0
LOOK_EVERY_S = 1.0


class Workshop:
    """The run's switch, its mask layer, and what came of which token."""

    def __init__(self, run_id: str, hidden: Iterable[Path]) -> None:
        self._run_id = run_id
        # Hosts of a keeper that was killed have lost their network for good.
        cleanup.end_hosts(run_id)
        self._tools = tools.find_host_tools()
        self._switch = network.Switch(run_id)
        _set_stage(hidden)
        self._trees = rootfs.present_trees()
        self._failed: dict[str, dict[str, str]] = {}  # token -> host -> why it was not made
        self._next_index = 0

    def launch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the hosts of one request; a token that was served before makes nothing.

        Returns:
            `hosts`: the tags of those that run; `failed`: reason by name.
        """
        token = str(request["token"])
        if token not in self._failed:
            self._make_all(request, token)
        failed = self._failed[token]
        wanted = {str(host["name"]) for host in request["hosts"]} - failed.keys()
        alive = [
            dict(tagged.fields)
            for tagged in tags.scan(self._run_id)
            if tagged.kind == tags.HOST and tagged.fields["name"] in wanted
        ]
        return {"hosts": alive, "failed": failed}

    def _make_all(self, request: dict[str, Any], token: str) -> None:
        there = [tagged for tagged in tags.scan(self._run_id) if tagged.kind == tags.HOST]
        window = IN_THE_MAKING_PER_CPU * (os.cpu_count() or 1)
        making: list[tuple[hosts.HostPlan, int, socket.socket]] = []
        plans, failed = self._plan_all(request, there)
        self._introduce(plans, there)
        self._failed[token] = failed  # from here on it is served, whatever comes of it
        for index, plan in plans:
            try:
                making.append(self._start(plan, index))
            except (LaunchError, OSError) as exc:
                failed[plan.name] = str(exc)
            if len(making) >= window:
                failed.update(_finish(making.pop(0)))
        for one in making:
            failed.update(_finish(one))

    def _plan_all(
        self, request: dict[str, Any], there: Sequence[tags.Tagged]
    ) -> tuple[list[tuple[int, hosts.HostPlan]], dict[str, str]]:
        """Index and plan of each host that can be made, and why each other cannot."""
        placed: list[tuple[int, str, dict[str, Any]]] = []
        failed: dict[str, str] = {}
        names = {tagged.fields["name"] for tagged in there}
        for wanted in request["hosts"]:
            name = str(wanted["name"])
            if name in names:
                failed[name] = "a host of this run has that name already"
                continue
            try:
                placed.append((self._next_index, self._switch.address(self._next_index), wanted))
            except LaunchError as exc:
                failed[name] = str(exc)
            else:
                self._next_index += 1
        everybody = [tagged.fields["address"] for tagged in there]
        everybody += [address for _, address, _ in placed]
        servers = [it.fields["address"] for it in there if it.fields["role"] == Role.SERVER]
        servers += [address for _, address, wanted in placed if wanted["role"] == Role.SERVER]
        plans = [
            (
                index,
                self._plan(
                    request,
                    wanted,
                    address,
                    everybody if wanted["role"] == Role.SERVER else servers,
                ),
            )
            for index, address, wanted in placed
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
            neighbours=[self._switch.controller, *known],
            expires_s=float(request["expires"]),
            host_key=str(wanted["host_key"]),
            host_key_private=str(wanted["host_key_private"]),
            authorized_key=str(request["authorized_key"]),
        )

    def _introduce(
        self, plans: Sequence[tuple[int, hosts.HostPlan]], there: Sequence[tags.Tagged]
    ) -> None:
        """Tell the machine and the hosts that are there already about those to come."""
        new = [plan.address for _, plan in plans]
        new_servers = [plan.address for _, plan in plans if plan.fields["role"] == Role.SERVER]
        self._switch.introduce_to_controller(new)
        for tagged in there:
            addresses = new if tagged.fields["role"] == Role.SERVER else new_servers
            if not addresses:
                continue
            # One that has just ended needs to know nobody.
            with contextlib.suppress(ProcessLookupError), tags.pinned(tagged) as pidfd:
                self._switch.introduce_to_host(pidfd, addresses)

    def _start(self, plan: hosts.HostPlan, index: int) -> tuple[hosts.HostPlan, int, socket.socket]:
        pid, ready = hosts.start(plan, self._tools, self._trees)
        try:
            self._switch.connect(pid, index)
            ready.sendall(b"1")
        except BaseException:
            ready.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
        return plan, pid, ready


def _finish(one: tuple[hosts.HostPlan, int, socket.socket]) -> dict[str, str]:
    """Wait until a host has become one; its name and the reason when it has not."""
    plan, pid, ready = one
    with ready:
        reason = _await_reason(pid, ready)
    if not reason and not _shows_its_tag(pid):
        reason = "it ended on the way"
    if reason:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {plan.name: reason} if reason else {}


def _await_reason(pid: int, ready: socket.socket) -> str:
    """What the host in the making says until it is a host: nothing, or why it cannot be."""
    watch = StallWatch(pid)
    ready.settimeout(LOOK_EVERY_S)
    while not watch.has_stalled(MAKING_STALL_S):
        try:
            return ready.recv(4096).decode(errors="replace")
        except TimeoutError:
            continue
        except OSError as exc:
            return f"it was lost on the way ({exc})"
    return f"it is not ready and has done nothing for {MAKING_STALL_S:.0f} s"


def _shows_its_tag(pid: int) -> bool:
    """Wait out the instant in execve in which a process has no command line."""
    for _ in range(1000):
        tagged = tags.read(pid)
        if tagged and tagged.kind == tags.HOST:
            return True
        if not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.001)
    return False


def _set_stage(hidden: Iterable[Path]) -> None:
    """Prepare, in a mount namespace of our own, what hosts are built from."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.make_mounts_private()
    linux.mount("tmpfs", str(hosts.STAGE), "tmpfs", linux.MS_NOSUID, "size=64m,mode=0700")
    (hosts.STAGE / "host").mkdir()
    (hosts.STAGE / "mask").mkdir()
    rootfs.build_mask(hosts.STAGE / "mask", hidden, tools.sshd_extra_lines())


def probe() -> None:
    """Do once what a host takes, in a child that takes everything with it when it ends.

    Raises:
        LaunchError: the kernel, or the container we are in, refuses; the message says what.
    """
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            linux.unshare(linux.HOST_NAMESPACES)
            _set_stage(())
            network.try_bridge()
            rootfs.try_overlay(hosts.STAGE)
        except BaseException as exc:  # noqa: BLE001  the child must end here, whatever happens
            its.sendall(str(exc).encode())
        finally:
            os._exit(0)
    its.close()
    reason = ours.recv(4096).decode(errors="replace")
    os.waitpid(pid, 0)
    if reason:
        raise LaunchError(f"this machine cannot make local hosts in namespaces: {reason}")
