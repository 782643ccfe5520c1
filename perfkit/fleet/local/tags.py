"""The tag of everything a run has on this machine: one argument in a process's command line.

::

    perfkit-keeper run=20260101T120000Z-demo expires=1767270000 uid=1000
    perfkit-host run=20260101T120000Z-demo name=client-001 role=client address=198.18.0.3 …

All of a run hangs on processes: namespaces, mounts, interfaces and temporary files go when the
last process that holds them goes. So a scan of the process table finds everything there is, with
no local state, and a tag is there from the first instant, because `execve` sets it.

A process is believed only if it is root's or our own, and if its place in the PID namespaces
fits: a host may well run something that *says* it is a host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from perfkit.fleet.local import linux

KEEPER = "perfkit-keeper"
HOST = "perfkit-host"
NAMESPACES = "namespaces"
LOOPBACK = "loopback"
UPLINK_PATTERN = r"pk[0-9a-f]{10}"

_PROC = Path("/proc")
_OPEN_AT_ONCE = 256  # pidfds; well under the usual limit of 1,024 open files


@dataclass(frozen=True, slots=True)
class Tagged:
    """A process that carries a tag.

    Attributes:
        kind: `KEEPER` or `HOST`.
        making: It is a child of a keeper that is still on its way to becoming a host.
    """

    pid: int
    kind: str
    fields: Mapping[str, str]
    making: bool = False

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self.fields["run"]

    @property
    def isolation(self) -> str:
        """`NAMESPACES` or `LOOPBACK`."""
        return self.fields.get("isolation", NAMESPACES)

    def __str__(self) -> str:
        what = self.fields.get("name") or ("host in the making" if self.making else "keeper")
        return f"{what} (pid {self.pid})"


def uplink_name(run_id: str) -> str:
    """Name of the run's interface in the machine's namespace; Linux allows 15 characters."""
    return "pk" + hashlib.sha256(run_id.encode()).hexdigest()[:10]


def format_tag(kind: str, fields: Mapping[str, object]) -> str:
    """Render a tag; values are percent-encoded, so they hold no space."""
    return " ".join([kind, *(f"{key}={quote(str(value))}" for key, value in fields.items())])


def parse_tag(argument: str) -> tuple[str, dict[str, str]] | None:
    """Read one argument as a tag; None when it is none."""
    kind, *words = argument.split(" ")
    if kind not in (KEEPER, HOST):
        return None
    pairs = [word.partition("=") for word in words]
    fields = {key: unquote(value) for key, _, value in pairs}
    return (kind, fields) if "run" in fields else None


def scan(run_id: str | None = None) -> list[Tagged]:
    """All tagged processes of one run, or of all runs, that can be believed; by PID."""
    if not Path("/proc/self/status").exists():
        return []  # not Linux: nothing can have been launched
    found = []
    for pid in pids():
        tagged = read(pid)
        if tagged and run_id in (None, tagged.run_id):
            found.append(tagged)
    return sorted(found, key=lambda tagged: tagged.pid)


def pids() -> Iterator[int]:
    """Every process there is."""
    for entry in os.listdir(_PROC):  # noqa: PTH208  a Path for each of 10,000 processes is slow
        if entry.isdigit():
            yield int(entry)


def read(pid: int) -> Tagged | None:
    """The tag of one process; None when it has none, is not to be believed, or has ended.

    Also None for an instant while the process is in execve(2), between its old and its new command
    line: who looks for what is left looks twice.
    """
    try:
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"perfkit-" not in command_line:
            return None
        parsed = _tag_in(command_line)
        if parsed is None or os.stat(f"/proc/{pid}").st_uid not in (0, os.getuid()):
            return None
        inner = _inner_pids(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended while we looked
    kind, fields = parsed
    is_first_process = inner == ["1"]
    if kind == KEEPER and inner and not is_first_process:
        return None
    if kind == HOST and inner != (["1"] if fields.get("isolation") == NAMESPACES else []):
        return None
    return Tagged(pid, kind, fields, making=kind == KEEPER and is_first_process)


def is_in_our_pid_namespace(pid: int) -> bool:
    """Whether a process is this machine's and not one inside a host or a container.

    Raises:
        OSError: it has ended.
    """
    return not _inner_pids(pid)


def _inner_pids(pid: int) -> list[str]:
    """Its PIDs in the namespaces that are inside ours, outermost first."""
    theirs, ours = (linux.proc_field(f"{it}/status", "NSpid") for it in (pid, "self"))
    return theirs[len(ours) :]


def _tag_in(command_line: bytes) -> tuple[str, dict[str, str]] | None:
    for argument in command_line.decode(errors="replace").split("\0"):
        parsed = parse_tag(argument)
        if parsed:
            return parsed
    return None


def end(processes: Sequence[Tagged], number: int, timeout_s: float) -> None:
    """Send a signal to each process and wait until all are gone, so long for each few hundred.

    The PID is pinned by a pidfd and the tag read again before the signal, so a PID that was
    given to another process meanwhile is never hit.
    """
    for start in range(0, len(processes), _OPEN_AT_ONCE):
        deadline_s = time.monotonic() + timeout_s
        signalled = [
            (process.pid, fd)
            for process in processes[start : start + _OPEN_AT_ONCE]
            if (fd := _signal_if_same(process, number)) is not None
        ]
        for pid, fd in signalled:
            await_end(pid, fd, deadline_s)


def await_end(pid: int, fd: int, deadline_s: float) -> None:
    """Wait until a process has ended, or `time.monotonic()` is past the deadline; closes its pidfd.

    One that was killed loses its memory first, and with it its command line in /proc; its sockets
    are closed later, and only then it has ended.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)
    os.close(fd)
    reap(pid)


@contextlib.contextmanager
def pinned(process: Tagged) -> Iterator[int]:
    """A pidfd of a tagged process, which cannot come to mean another one.

    Raises:
        ProcessLookupError: it has ended.
    """
    fd = os.pidfd_open(process.pid)
    try:
        current = read(process.pid)
        # One in the making may have become its host meanwhile; a host stays what it is.
        if current is None or current.run_id != process.run_id:
            raise ProcessLookupError(f"{process} has ended")
        if not process.making and current.fields != process.fields:
            raise ProcessLookupError(f"{process} has ended; its PID is that of {current}")
        yield fd
    finally:
        os.close(fd)


def _signal_if_same(process: Tagged, number: int) -> int | None:
    """Signal a process and return a pidfd to wait with; None when it has ended."""
    try:
        with pinned(process) as fd:
            signal.pidfd_send_signal(fd, number)
            return os.dup(fd)
    except ProcessLookupError:
        return None


def reap(pid: int) -> None:
    """Collect the exit status if the process was a child of ours, so that no zombie stays."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
