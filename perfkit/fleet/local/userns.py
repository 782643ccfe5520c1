"""A host's user namespace: the owner of its network, IPC and UTS namespaces, and of nothing else.

The kernel asks for a capability in the user namespace that owns what is acted on. Were a host's
namespaces the machine's, CAP_NET_ADMIN in it would count in every network namespace that root there can
name: the machine's, the bridge's, other hosts' (rtnetlink(7), IFLA_TARGET_NETNSID). One user
namespace for all hosts would leave each its power over the others.

The host's PID 1 mounts, with the machine's rights, what the host is to see, and enters the user
namespace last: mounts made by it are the machine's, and no one inside can undo them. Numbers of
users and groups are the same inside and outside, so that the machine's files, devices and
set-user-ID programs mean in a host what they mean outside.

Source: user_namespaces(7), network_namespaces(7), pidfd_open(2).
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from perfkit.errors import LaunchError
from perfkit.fleet.local import linux

OWNED = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
LIMIT = Path("/proc/sys/user/max_user_namespaces")
_DONE = b"1"
_MORE = "sysctl -w user.max_user_namespaces=10000"
_REFUSALS = {
    errno.ENOSPC: f"{LIMIT} allows no more; raise it: {_MORE}",
    errno.EPERM: "refused, most likely by the seccomp filter or the profile of a container",
    errno.EINVAL: "this kernel has none (CONFIG_USER_NS)",
}


def why_not(n_hosts: int = 1) -> str | None:
    """Why so many user namespaces cannot be had, `; ` and the remedy; None when nothing speaks against it."""
    if not LIMIT.exists():
        return "this kernel has no user namespaces (CONFIG_USER_NS); boot one that has them"
    limit = int(LIMIT.read_text())
    if limit == 0:
        return f"user namespaces are switched off ({LIMIT} is 0); {_MORE}"
    if limit < n_hosts:
        return f"{n_hosts} hosts need as many user namespaces, {LIMIT} is {limit}; {_MORE}"
    return None


class Owner:
    """A new user namespace and those it owns, held by a child until this process has entered."""

    def __init__(self) -> None:
        self._word, word = socket.socketpair()
        try:
            self._pid, self._pidfd = linux.clone_with_namespaces(linux.CLONE_NEWUSER | OWNED)
        except OSError as exc:
            why = _REFUSALS.get(exc.errno or 0, "see user_namespaces(7)")
            raise LaunchError(f"no user namespace ({exc.strerror}): {why}") from exc
        if self._pid == 0:
            self._word.close()
            _hold(word)
        word.close()
        # By number, because /proc may be that of another PID namespace than ours.
        pid = linux.proc_field(f"self/fdinfo/{self._pidfd}", "Pid")
        if not pid:
            raise ProcessLookupError(f"pidfd {self._pidfd}: its process has ended")
        folder = Path("/proc", pid[0])
        for kind in ("uid_map", "gid_map"):
            (folder / kind).write_text(_identity(kind))

    def enter_owned(self) -> None:
        """Move this process into the namespaces that are owned; it keeps all rights of its own.

        Raises:
            OSError: the child could not do its part.
        """
        said = self._word.recv(4096)
        if said != _DONE:
            raise OSError(f"the host's user namespace: {said.decode(errors='replace')}")
        linux.enter(self._pidfd, OWNED)

    def become_root_inside(self) -> None:
        """Move this process into the user namespace, for good, and end the child that held it."""
        linux.enter(self._pidfd, linux.CLONE_NEWUSER)
        os.close(self._pidfd)
        self._word.close()
        os.waitpid(self._pid, 0)


def _hold(word: socket.socket) -> None:
    """Be the process that keeps the namespaces alive, until the other end is closed."""
    try:
        # This namespace's own: what it could make would only be more to attack.
        LIMIT.write_text("0")
        word.sendall(_DONE)
        word.recv(1)
    except OSError as exc:
        word.sendall(str(exc).encode())
    finally:
        os._exit(0)


def _identity(kind: str) -> str:
    """The map that gives every number that is valid here the same number inside."""
    lines = Path("/proc/self", kind).read_text().splitlines()
    return "".join(f"{begin} {begin} {count}\n" for begin, _, count in map(str.split, lines))
