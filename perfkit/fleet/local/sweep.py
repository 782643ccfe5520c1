"""End hosts or a whole run by tag, and name what could not be ended.

Works from a fresh process with no local state, whatever has been killed before: there is nothing
to clean up but processes. Needs root for hosts in namespaces.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from perfkit.fleet.local import tags

KEEPER_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 15.0
UPLINK_TIMEOUT_S = 10.0


def end_hosts(run_id: str, names: Sequence[str] | None = None) -> None:
    """Kill the hosts of a run, or those named, and wait until they are gone."""
    wanted = None if names is None else frozenset(names)
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline_s:
        hosts = [
            tagged
            for tagged in tags.scan(run_id)
            if tagged.kind == tags.HOST or tagged.making
            if wanted is None or tagged.fields.get("name") in wanted
        ]
        if not hosts:
            return
        tags.end(hosts, signal.SIGKILL, deadline_s - time.monotonic())


def end_here(run_id: str, names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """End a run, or the hosts named, with the rights of this process.

    Returns:
        `leaked`: what is still there; `released`: what is gone. Both are for people to read.
    """
    before = _chosen(run_id, names)
    inside = _namespaces_of(before)
    if names is None:
        # The keeper first, so that nothing more is made; it takes its hosts with it.
        keepers = [tagged for tagged in before if tagged.kind == tags.KEEPER and not tagged.making]
        tags.end(keepers, signal.SIGTERM, KEEPER_TIMEOUT_S)
    end_hosts(run_id, names)
    if names is None:
        tags.end(tags.scan(run_id), signal.SIGKILL, KILL_TIMEOUT_S)
        _wait_until(lambda: not uplinks(run_id), UPLINK_TIMEOUT_S)
    left = _chosen(run_id, names)
    leaked = [str(tagged) for tagged in left] + _inhabitants(inside)
    if names is None:
        leaked += uplinks(run_id)
    gone = {tagged.pid for tagged in before} - {tagged.pid for tagged in left}
    return {
        "leaked": leaked,
        "released": [str(tagged) for tagged in before if tagged.pid in gone],
    }


def uplinks(run_id: str | None = None) -> list[str]:
    """Interfaces of the run, or of any run, in the network namespace of this process."""
    pattern = tags.UPLINK_PATTERN if run_id is None else re.escape(tags.uplink_name(run_id))
    folder = Path("/sys/class/net")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [f"interface {name}" for name in names if re.fullmatch(pattern, name)]


def _chosen(run_id: str, names: Sequence[str] | None) -> list[tags.Tagged]:
    found = tags.scan(run_id)
    if names is None:
        return found
    return [tagged for tagged in found if tagged.fields.get("name") in set(names)]


def _namespaces_of(processes: Iterable[tags.Tagged]) -> frozenset[str]:
    """Network and mount namespaces of the processes that are not the machine's own."""
    own = _links("self")
    return frozenset(link for tagged in processes for link in _links(str(tagged.pid)) - own)


def _links(pid: str) -> set[str]:
    links = set()
    for kind in ("net", "mnt"):
        try:
            links.add(os.readlink(f"/proc/{pid}/ns/{kind}"))  # noqa: PTH115  "net:[4026531840]"
        except OSError:
            continue  # it ended, or is another user's
    return links


def _inhabitants(namespaces: frozenset[str]) -> list[str]:
    """Processes that were put into the run's namespaces from outside and keep them alive."""
    if not namespaces:
        return []
    return [
        f"process {pid} in a namespace of the run"
        for pid in tags.pids()
        if _links(str(pid)) & namespaces
    ]


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
