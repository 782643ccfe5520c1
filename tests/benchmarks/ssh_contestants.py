"""Three files and five commands on many hosts: by perfkit, by bare Fabric, by asyncssh.

Each way opens its own connections, does its work, and closes them; 32 hosts at a time. Only perfkit
pins host keys, bounds every step on both sides, and keeps a log for each host.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fabric
from measured_fleet import Fleet

from perfkit.model import Host
from perfkit.ssh.remote import Access, RemotePool
from perfkit.ssh.workers import run_on_hosts

AT_ONCE = 32
FILES = {f"bench-{size}": bytes(range(256)) * (size // 256) for size in (1024, 10_240, 102_400)}
COMMANDS = ("true", "uname -r", "cat /proc/uptime", "ls /", "sha256sum bench-1024")


def by_perfkit(fleet: Fleet) -> None:
    """With pins, limits, and a log for each host."""
    access = Access(key_path=fleet.run.key_path, known_hosts_path=fleet.run.known_hosts_path)
    with RemotePool(access, fleet.run.root / "hosts") as pool:

        def work(host: Host) -> None:
            remote = pool.get(host)
            for name, content in FILES.items():
                remote.put(content, f"/root/{name}", mode=0o644)
            for command in COMMANDS:
                remote.run(command.split())

        stage = run_on_hosts("bench", fleet.hosts, work, threads=AT_ONCE, deadline_s=60.0)
    assert stage.failed == (), stage


def by_fabric(fleet: Fleet) -> None:
    """With none of them."""
    connect = {
        "key_filename": str(fleet.run.key_path),
        "allow_agent": False,
        "look_for_keys": False,
    }

    def work(host: Host) -> None:
        with fabric.Connection(
            host.address, user=host.user, port=host.port, connect_kwargs=connect
        ) as c:
            c.config.run.in_stream = False  # threads cannot share this terminal's input
            for name, content in FILES.items():
                c.put(io.BytesIO(content), f"/root/{name}")
            for command in COMMANDS:
                assert c.run(command, hide=True).ok

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(work, fleet.hosts))


def by_asyncssh(fleet: Fleet) -> None:
    """With none of them, and no threads."""
    asyncio.run(_all_by_asyncssh(fleet.hosts, fleet.run.key_path))


async def _all_by_asyncssh(hosts: Sequence[Host], key: Path) -> None:
    asyncssh = importlib.import_module("asyncssh")  # of this benchmark alone
    at_once = asyncio.Semaphore(AT_ONCE)
    options: dict[str, Any] = {"client_keys": [str(key)], "known_hosts": None, "config": None}

    async def work(host: Host) -> None:
        async with (
            at_once,
            asyncssh.connect(host.address, host.port, username=host.user, **options) as link,
        ):
            async with link.start_sftp_client() as sftp:
                for name, content in FILES.items():
                    async with sftp.open(f"/root/{name}", "wb") as file:
                        await file.write(content)
            for command in COMMANDS:
                await link.run(command, check=True)

    await asyncio.gather(*map(work, hosts))


def contestants() -> dict[str, Callable[[Fleet], None]]:
    """The ways that can be had here, ours first."""
    ways: dict[str, Callable[[Fleet], None]] = {"perfkit": by_perfkit, "bare Fabric": by_fabric}
    if importlib.util.find_spec("asyncssh"):
        ways["asyncssh"] = by_asyncssh
    return ways
