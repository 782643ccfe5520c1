"""Taking back the orders of hosts: what waits or runs there ends."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from perfkit.measure.starters import Starter
from perfkit.model import Host, StageResult
from perfkit.ssh.remote import RemotePool
from perfkit.ssh.workers import run_on_hosts

STOP_DEADLINE_S = 20.0


def stop_script(host: Host, starter: Starter) -> str:
    """Shell text that ends all that waits or runs on a host, its monitor as well."""
    script = starter.disarm_script(host)
    return f"({script})\ncd {quote(host.workdir)} && bin/monitor stop\n:"


def stop_hosts(
    hosts: Iterable[Host],
    *,
    pool: RemotePool,
    starter: Starter,
    threads: int,
    deadline_s: float = STOP_DEADLINE_S,
) -> StageResult:
    """End all that waits or runs on hosts: the orders of a process that died before it had armed all.

    Returns:
        One result a host; one that could not be reached goes by its orders, if it has any.
    """

    def stop_host(host: Host) -> None:
        pool.get(host).run_script(stop_script(host, starter), timeout_s=deadline_s)

    return run_on_hosts(
        "stop", hosts, stop_host, threads=threads, deadline_s=deadline_s, on_expired=pool.drop
    )
