"""The processes of loopback hosts: found without any folder, ended whatever is left of a host.

A host is a *holder*, whose command line is the tag, the sshd it started, and what sessions started.
Any of them may be dead and any may be left, so each is known by a mark of its own:

- the holder and what sessions start by ``PERFKIT_HOST=<run>/<name>`` in their environment;
- the listening sshd, which writes its title over its environment, by the path of its configuration;
- a session's sshd as its child, or by the host's port if the listening one is gone;
- and all their children.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perfkit.fleet.local import tags

ENVIRONMENT_NAME = "PERFKIT_HOST"
FOLDER_PREFIX = "perfkit-loopback-"
KILL_TIMEOUT_S = 15.0

_MARK = re.compile(rb"\0%s=([^\0/]+)/([^\0/]+)\0" % ENVIRONMENT_NAME.encode())
# mkdtemp's eight characters stand between the run and the host.
_CONFIG = re.compile(rb"/%s([^/\0]+)-[a-z0-9_]{8}/([^/\0]+)/sshd_config" % FOLDER_PREFIX.encode())
_ESTABLISHED, _LISTEN = "01", "0A"  # linux/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Process:
    """One process, told from a later one of the same PID by its start (ticks since boot)."""

    pid: int
    start: str
    parent: int
    uid: int
    owner: tuple[str, str] | None  # run, host: what its mark says
    program: str

    @property
    def is_sshd(self) -> bool:
        """One of its processes; later versions have `sshd-session` and `sshd-auth` besides."""
        return self.program.startswith("sshd")


def find(run_id: str, ports: Mapping[str, int]) -> dict[str, list[Process]]:
    """All processes of a run's hosts but this one, by host.

    Args:
        ports: Port by host, as far as known; finds sessions whose listening sshd is gone.
    """
    table = {process.pid: process for process in _table()}
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    roots: dict[str, set[int]] = {}
    for process in table.values():
        if process.owner and process.owner[0] == run_id:
            roots.setdefault(process.owner[1], set()).add(process.pid)
    for name, pids in _sessions(table, ports).items():
        roots.setdefault(name, set()).update(pids)
    return {
        name: [table[pid] for pid in sorted({*pids, *_descendants(pids, children)})]
        for name, pids in roots.items()
    }


def runs() -> set[str]:
    """Ids of the runs of which this user has a process; what others claim is not believed."""
    return {p.owner[0] for p in _table() if p.owner and p.uid == os.geteuid()}


def end(
    run_id: str, names: Collection[str] | None, ports: Mapping[str, int]
) -> dict[str, list[Process]]:
    """Kill all processes of a run's hosts, or of those named, until there are none.

    Returns:
        By host, those that would not go, or that this user must not end.
    """
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    seen_none = 0
    left: dict[str, list[Process]] = {}
    while time.monotonic() < deadline_s and seen_none < 2:
        found = find(run_id, ports)
        left = {name: found[name] for name in found if names is None or name in names}
        # Twice: for an instant in execve a process shows neither command line nor environment.
        seen_none = 0 if left else seen_none + 1
        killed = [(it.pid, _kill(it)) for processes in left.values() for it in processes]
        for pid, fd in killed:
            if fd is not None:
                tags.await_end(pid, fd, deadline_s)  # its ports are free when it has ended
        if left and all(fd is None for _, fd in killed):
            time.sleep(0.01)  # they are ending, or are not ours to end
    return left


def listen_on(processes: Iterable[Process], port: int) -> bool:
    """Whether it is one of these that listens on a port of 127.0.0.1."""
    listening = {*_tcp_sockets(port, _LISTEN)}
    return bool(listening) and any(listening & {*_sockets(it.pid)} for it in processes)


def _kill(process: Process) -> int | None:
    """Kill exactly this process; the pidfd to wait for its end, None when it cannot be killed."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    try:
        found = _read(process.pid)  # the PID is pinned now; it may be another process's already
        if found is not None and found.start == process.start:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            return fd
    except (PermissionError, ProcessLookupError):
        pass  # another user's: it stays in the listing, which is how it is told
    os.close(fd)
    return None


def _table() -> Iterator[Process]:
    """What this user may look at and is not inside some container."""
    for pid in tags.pids() if Path("/proc/self/status").exists() else ():  # only on Linux
        process = _read(pid) if pid != os.getpid() else None
        if process is not None:
            yield process


def _read(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        uid = folder.stat().st_uid
        if os.geteuid() not in (0, uid):
            return None
        command_line = (folder / "cmdline").read_bytes()
        if not command_line:
            return None  # a zombie, or the kernel's
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        # A title is one argument: "sshd: /usr/sbin/sshd -D -f …", "sshd-session: root@pts/0".
        program = _text(command_line.split(b"\0")[0].split(b": ")[0]).rpartition("/")[2]
        found = _CONFIG.search(command_line) if program.startswith("sshd") else None
        found = found or _MARK.search(b"\0" + (folder / "environ").read_bytes() + b"\0")
        if found and not tags.is_in_our_pid_namespace(pid):
            found = None  # root in a host may claim what it likes
        owner = (_text(found[1]), _text(found[2])) if found else None
        return Process(pid, fields[19], int(fields[1]), uid, owner, program)
    return None


def _text(found: bytes) -> str:
    return found.decode(errors="replace")


def _sessions(table: Mapping[int, Process], ports: Mapping[str, int]) -> dict[str, set[int]]:
    """Sessions of hosts whose listening sshd is gone: nobody's children, but on the host's port."""
    orphans = [
        process
        for process in table.values()
        if process.is_sshd and not process.owner
        if (parent := table.get(process.parent)) is None or not parent.is_sshd
    ]
    if not ports or not orphans:
        return {}
    by_socket = {
        inode: name for name, port in ports.items() for inode in _tcp_sockets(port, _ESTABLISHED)
    }
    found: dict[str, set[int]] = {}
    for process in orphans:
        for inode in _sockets(process.pid):
            if inode in by_socket:
                found.setdefault(by_socket[inode], set()).add(process.pid)
    return found


def _tcp_sockets(port: int, state: str) -> Iterator[str]:
    """Inodes of the sockets in a state on a port of 127.0.0.1 (proc(5), net/tcp)."""
    address = int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder)
    place = f"{address:08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[3]) == (place, state):
            yield fields[9]


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = os.readlink(entry)  # noqa: PTH115  "socket:[123]" is no path
                if target.startswith("socket:["):
                    yield target[8:-1]


def _descendants(roots: Iterable[int], children: Mapping[int, list[int]]) -> Iterator[int]:
    pending, seen = list(roots), set(roots)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in seen:  # a table that is read while it changes may hold a circle
                seen.add(child)
                yield child
                pending.append(child)
