"""End hosts or a whole run by tag, and name what could not be ended.

Works from a fresh process with no local state, whatever has been killed before: there is nothing
to clean up but processes. Needs root for hosts in namespaces.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from perfkit.fleet.local import claims, tags

KEEPER_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 15.0
UPLINK_TIMEOUT_S = 10.0


def end_hosts(run_id: str, names: Sequence[str] | None = None) -> None:
    """Kill the hosts of a run, or those named, and wait until they are gone, while they get fewer."""
    wanted = None if names is None else frozenset(names)
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    seen_none, fewest = 0, sys.maxsize
    while time.monotonic() < deadline_s:
        hosts = [
            tagged
            for tagged in _ours(run_id)
            if tagged.kind == tags.HOST or tagged.making
            if wanted is None or tagged.fields.get("name") in wanted
        ]
        if len(hosts) < fewest:
            fewest, deadline_s = len(hosts), time.monotonic() + KILL_TIMEOUT_S
        seen_none = 0 if hosts else seen_none + 1
        if seen_none == 2:
            return
        if hosts:
            tags.end(hosts, signal.SIGKILL, deadline_s - time.monotonic())
        else:
            time.sleep(0.01)  # one that was in execve, and had no command line, has one then


def end_here(run_id: str, names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """End a run, or the hosts named, with the rights of this process.

    Returns:
        `leaked`: what is still there; `released`: hosts that are gone; `besides`: keepers, and
        hosts in the making, that are gone. All are for people to read.
    """
    before = _chosen(run_id, names)
    guests = _guests(before)
    if names is None:
        # The keeper first, so that nothing more is made; it takes its hosts with it.
        keepers = [tagged for tagged in before if tagged.kind == tags.KEEPER and not tagged.making]
        tags.end(keepers, signal.SIGTERM, KEEPER_TIMEOUT_S)
    end_hosts(run_id, names)
    if names is None:
        tags.end(_ours(run_id), signal.SIGKILL, KILL_TIMEOUT_S)
        claims.forget(run_id)
        _wait_until(lambda: not uplinks(run_id), UPLINK_TIMEOUT_S)
    left = _chosen(run_id, names)
    leaked = [str(tagged) for tagged in left]
    leaked += [
        f"process {pid} in a namespace of the run"
        for pid, start in guests.items()
        if start and _start_of(pid) == start
    ]
    if names is None:
        leaked += uplinks(run_id)
    still = {tagged.pid for tagged in left}
    gone = [tagged for tagged in before if tagged.pid not in still]
    return {
        "leaked": leaked,
        "released": [str(tagged) for tagged in gone if tagged.kind == tags.HOST],
        "besides": [str(tagged) for tagged in gone if tagged.kind != tags.HOST],
    }


def uplinks(run_id: str | None = None) -> list[str]:
    """Interfaces of the run, or of any run, in the network namespace of this process."""
    pattern = tags.UPLINK_PATTERN if run_id is None else re.escape(tags.uplink_name(run_id))
    names = sorted(name for _, name in socket.if_nameindex())
    return [f"interface {name}" for name in names if re.fullmatch(pattern, name)]


def _ours(run_id: str) -> list[tags.Tagged]:
    """The run's keeper and its hosts in namespaces; those on loopback end otherwise."""
    return [tagged for tagged in tags.scan(run_id) if tagged.isolation == tags.NAMESPACES]


def _chosen(run_id: str, names: Sequence[str] | None) -> list[tags.Tagged]:
    found = _ours(run_id)
    if names is None:
        return found
    return [tagged for tagged in found if tagged.fields.get("name") in set(names)]


def _guests(processes: Sequence[tags.Tagged]) -> dict[int, str]:
    """Processes put into a namespace of the run from outside (`nsenter`), which would keep it alive.

    They do not end with the hosts: they are in no PID namespace of the run.

    Returns:
        Start time by PID, which together are one process for good.
    """
    if not processes:
        return {}
    namespaces = _namespaces(processes, "net") | _namespaces(processes, "mnt")
    own_pid_namespaces = _namespaces(processes, "pid")
    tagged = {process.pid for process in tags.scan()}
    return {
        pid: _start_of(pid)
        for pid in tags.pids()
        if pid not in tagged
        and {_namespace(pid, "net"), _namespace(pid, "mnt")} & namespaces
        and _namespace(pid, "pid") not in own_pid_namespaces
    }


def _namespaces(processes: Iterable[tags.Tagged], kind: str) -> set[str]:
    """The processes' namespaces that are not the machine's."""
    return {_namespace(tagged.pid, kind) for tagged in processes} - {_namespace("self", kind), ""}


def _namespace(pid: int | str, kind: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115  "net:[4026531840]" is no path
    except OSError:
        return ""  # it ended, or is another user's


def _start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), stat); empty when it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
