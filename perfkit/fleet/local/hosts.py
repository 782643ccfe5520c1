"""Make one host: from the fork into new namespaces to the exec of its PID 1.

Its first process enters new PID, mount and cgroup namespaces as the machine's root, mounts there
what the host is to see, and becomes root of the host's own user namespace last (see `userns`).

A host is: PID 1 (`tini`, which reaps orphans, with a `sleep` that ends with the host's life), its
sshd and its cron. Whatever else runs in it dies with PID 1, because the kernel ends a PID
namespace with its first process. sshd may die; the host lives on.

This code runs as root in the keeper.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfkit.fleet.local import confinement, linux, network, rootfs, tags
from perfkit.fleet.local.machine_view import MachineView, write_file
from perfkit.fleet.local.tools import HostTools
from perfkit.fleet.local.userns import Owner
from perfkit.model import Role

# In the keeper's own mount namespace; /dev/shm exists everywhere and holds no program.
STAGE = Path("/dev/shm")  # noqa: S108  shadowed by the keeper's private tmpfs
STORE_OPTIONS = "size=512m,nr_inodes=200k,mode=0755"
NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP | linux.CLONE_NEWPID
HAS_NETWORK, GO_ON = b"\0", b"1"  # what a host in the making and the keeper tell each other

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


@dataclass(frozen=True, slots=True)
class HostPlan:
    """All that is needed to make one host.

    Attributes:
        fields: Its tag.
        neighbours: Addresses whose MAC it knows from the start.
        address_6: Its address of IPv6; empty: it has none.
        ways: For each address outside the machine that it reaches, the gateway.
        expires_s: End of its life, epoch seconds.
    """

    fields: Mapping[str, str]
    address: str
    neighbours: Sequence[str]
    expires_s: float
    host_key: str
    host_key_private: str
    authorized_key: str
    address_6: str = ""
    ways: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The host's name, unique in the run."""
        return self.fields["name"]

    @property
    def is_server(self) -> bool:
        """Whether clients come to it."""
        return self.fields["role"] == Role.SERVER


def start(plan: HostPlan, tools: HostTools, view: MachineView) -> tuple[int, socket.socket]:
    """Fork a process that becomes the host.

    It says `HAS_NETWORK` on the returned socket once it is in its network namespace, waits for
    `GO_ON` before it touches its `eth0`, and closes the socket by becoming the host; anything else
    it says is the reason why it could not.

    Returns:
        PID 1 of the host as seen here, and our end of the socket.
    """
    ours, its = socket.socketpair()
    pid, pidfd = linux.clone_with_namespaces(NAMESPACES)
    if pid:
        os.close(pidfd)
        its.close()
        return pid, ours
    try:
        ours.close()
        _become(plan, tools, view, its)
    except BaseException as exc:  # noqa: BLE001  the child must end here, whatever happens
        its.sendall(f"{type(exc).__name__}: {exc}".encode())
    finally:
        os._exit(1)


def _become(plan: HostPlan, tools: HostTools, view: MachineView, ready: socket.socket) -> None:
    linux.reset_signals()
    os.setsid()
    os.umask(0o022)
    linux.make_mounts_private()
    owner = Owner()
    owner.enter_owned()
    ready.sendall(HAS_NETWORK)
    socket.sethostname(plan.name)
    _enter_root(plan, view)
    if ready.recv(1) != GO_ON:
        raise ConnectionAbortedError("the keeper gave up")
    network.configure_host(plan.address, plan.neighbours, plan.address_6, plan.ways)
    confinement.lift_limits()
    owner.become_root_inside()
    confinement.confine()
    linux.redirect_stdio()
    log, config = "/var/log/sshd.log", "/etc/ssh/sshd_config"
    for command in (
        [tools.sshd, "-D", *tools.sshd_options, "-E", log, "-f", config],
        [tools.cron, "-f"],
    ):
        os.posix_spawn(command[0], command, _ENVIRONMENT, setsid=True)
    life_s = max(1, round(plan.expires_s - time.time()))
    title = tags.format_tag(tags.HOST, plan.fields)
    os.execve(tools.tini, [title, "--", tools.sleep, str(life_s)], _ENVIRONMENT)  # noqa: S606  no shell is wanted


def _enter_root(plan: HostPlan, view: MachineView) -> None:
    """Build the host's tree on a tmpfs of its own and make it `/`."""
    root = mount_root(view)
    _write_identity(root, plan)
    linux.pivot_into(str(root))


def mount_root(view: MachineView) -> Path:
    """Mount all that a host's tree takes, in this process's mount namespace; where it is."""
    place = STAGE / "host"
    linux.mount("tmpfs", str(place), "tmpfs", linux.MS_NOSUID, STORE_OPTIONS)
    root = place / "root"
    root.mkdir()
    linux.bind(str(root), str(root))
    rootfs.build(root, place / "store", view)
    rootfs.mount_kernel_views(root, place, view)
    return root


def _write_identity(root: Path, plan: HostPlan) -> None:
    hosts = f"127.0.0.1 localhost\n{plan.address} {plan.name}\n"
    files = {
        "hostname": (f"{plan.name}\n", 0o644),
        "hosts": (hosts, 0o644),
        "ssh/authorized_keys": (f"{plan.authorized_key}\n", 0o600),
        "ssh/ssh_host_ed25519_key": (plan.host_key_private.rstrip("\n") + "\n", 0o600),
        "ssh/ssh_host_ed25519_key.pub": (f"{plan.host_key}\n", 0o644),
    }
    for name, (text, mode) in files.items():
        write_file(root / "etc" / name, text, mode)
