"""Make a batch of hosts, several at a time; the inside of the keeper.

Everything here runs as root in the keeper's own mount and network namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perfkit.errors import LaunchError
from perfkit.fleet.local import hosts, linux, network, rootfs, sweep, tags, tools
from perfkit.model import Role

# Enough to keep all processors busy; each one in the making is a fork of the keeper.
IN_THE_MAKING_PER_CPU = 4
MAKING_TIMEOUT_S = 30.0


class Workshop:
    """The run's switch, its mask layer, and what was made for which token."""

    def __init__(self, run_id: str, hidden: Iterable[Path]) -> None:
        self._run_id = run_id
        # Hosts of a keeper that was killed have lost their network for good.
        sweep.end_hosts(run_id)
        self._tools = tools.find_host_tools()
        self._switch = network.Switch(run_id)
        _set_stage(hidden)
        self._trees = rootfs.present_trees()
        self._made: dict[str, list[str]] = {}
        self._next_index = 0
        self._servers: list[str] = []

    def launch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make the hosts of one request; a token that was served before makes nothing.

        Returns:
            `hosts`: the tags of those that run; `failed`: reason by name.
        """
        token = str(request["token"])
        failed: dict[str, str] = {}
        if token not in self._made:
            self._made[token] = [str(host["name"]) for host in request["hosts"]]
            failed = self._make_all(request)
            self._made[token] = [name for name in self._made[token] if name not in failed]
        wanted = set(self._made[token])
        alive = [
            dict(tagged.fields)
            for tagged in tags.scan(self._run_id)
            if tagged.kind == tags.HOST and tagged.fields["name"] in wanted
        ]
        return {"hosts": alive, "failed": failed}

    def _make_all(self, request: dict[str, Any]) -> dict[str, str]:
        taken = {tagged.fields.get("name") for tagged in tags.scan(self._run_id)}
        window = IN_THE_MAKING_PER_CPU * (os.cpu_count() or 1)
        making: list[tuple[hosts.HostPlan, int, socket.socket]] = []
        failed: dict[str, str] = {}
        for wanted in request["hosts"]:
            name = str(wanted["name"])
            if name in taken:
                failed[name] = "a host of this run has that name already"
                continue
            try:
                making.append(self._start(request, wanted))
            except (LaunchError, OSError) as exc:
                failed[name] = str(exc)
            if len(making) >= window:
                failed.update(_finish(making.pop(0)))
        for one in making:
            failed.update(_finish(one))
        return failed

    def _start(
        self, request: dict[str, Any], wanted: dict[str, Any]
    ) -> tuple[hosts.HostPlan, int, socket.socket]:
        index = self._next_index
        address = self._switch.address(index)
        self._next_index += 1
        is_server = wanted["role"] == Role.SERVER
        if is_server:
            self._servers.append(address)
        plan = hosts.HostPlan(
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
            neighbours=self._switch.neighbours(self._servers, is_server=is_server),
            expires_s=float(request["expires"]),
            host_key=str(wanted["host_key"]),
            host_key_private=str(wanted["host_key_private"]),
            authorized_key=str(request["authorized_key"]),
        )
        pid, ready = hosts.start(plan, self._tools, self._trees)
        ready.settimeout(MAKING_TIMEOUT_S)
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
        try:
            reason = ready.recv(4096).decode(errors="replace")
        except OSError as exc:
            reason = f"not ready within {MAKING_TIMEOUT_S:.0f} s ({exc})"
    if not reason and not _shows_its_tag(pid):
        reason = "it ended on the way"
    if reason:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {plan.name: reason} if reason else {}


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
