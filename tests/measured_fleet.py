"""Real hosts to measure on, for the tests and benchmarks of measuring and collecting."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from perfkit.fleet.provider import HostRequest, LaunchRequest, get_provider
from perfkit.measure.options import Hooks, Options
from perfkit.measure.pacing import Pacing
from perfkit.measure.plan import Addresses
from perfkit.measure.runner import Measurement
from perfkit.measure.starters import EpochStarter
from perfkit.model import Host, Role, Slot, StageResult, TestSpec
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access, RemotePool

RESOURCES = Path(__file__).parents[1] / "resources"
# A start is the time stamp of a file, which is that of the kernel's last tick: 4 ms ago, and more
# where a busy virtual machine gets its ticks late.
TICK_S = 0.05
# A starved machine wakes whoever sleeps so much later at most. Whoever starts at a wrong instant is
# further off: by a test, or by a minute of cron.
LATE_S = 5.0


@dataclass(frozen=True)
class Fleet:
    """Hosts that are up, the server first, and connections to them."""

    run: Run
    hosts: Sequence[Host]
    pool: RemotePool

    @property
    def addresses(self) -> Addresses:
        return Addresses(remote=self.hosts[0].address)

    def client(self, number: int) -> Host:
        return self.hosts[number]

    def sh(self, host: Host, script: str) -> str:
        return self.pool.get(host).run_script(script).stdout

    def in_new_run(self, tmp_path: Path) -> Fleet:
        """The same hosts, with a run folder of their own for what is measured."""
        return replace(self, run=runs.create(tmp_path / "runs", "again", {}))

    def measure(
        self, slots: Sequence[Slot], hosts: Sequence[Host] | None = None, **hooks: Any
    ) -> StageResult:
        chosen = self.hosts[:4] if hosts is None else hosts
        return Measurement(**self.measurement(slots, chosen), hooks=Hooks(**hooks)).measure()

    def measurement(self, slots: Sequence[Slot], hosts: Sequence[Host]) -> dict[str, Any]:
        """The arguments of a measurement."""
        return {
            "run": self.run,
            "hosts": hosts,
            "slots": slots,
            "pool": self.pool,
            "starter": EpochStarter(),
            "addresses": self.addresses,
            "options": Options(bin_dir=RESOURCES / "bin", threads=6, pacing=Pacing(late_s=LATE_S)),
        }

    def events(self, host: Host, slot: str) -> dict[str, Any]:
        return dict(
            json.loads((self.run.host_raw_dir(host.name) / f"{slot}.events.json").read_text())
        )

    def processes(self, host: Host) -> str:
        return self.sh(host, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")

    def still_runs(self, host: Host, *words: str, timeout_s: float = 30.0) -> str:
        """What runs on a host, if a word of these is still in it after so long; else nothing.

        Whoever was told to end needs the processor for it.
        """
        deadline_s = time.monotonic() + timeout_s
        while any(word in (running := self.processes(host)) for word in words):
            if time.monotonic() > deadline_s:
                return running
            time.sleep(0.1)
        return ""


def launch(folder: Path, isolation: str, n_clients: int) -> Iterator[Fleet]:
    run = runs.create(folder, f"measure-{uuid.uuid4().hex[:8]}", {})
    provider = get_provider("local", isolation=isolation)
    names = [("server", Role.SERVER)]
    names += [(f"client-{n:03d}", Role.CLIENT) for n in range(1, n_clients + 1)]
    user_key = make_ssh_key()
    runs.write_atomic(run.key_path, user_key.private_openssh.encode())
    keys = {name: make_ssh_key() for name, _ in names}
    request = LaunchRequest(
        token=uuid.uuid4().hex,
        run_id=run.id,
        owner="measure tests",
        expires_utc=datetime.now(UTC) + timedelta(minutes=20),
        authorized_key=user_key.public_openssh,
        hosts=tuple(
            HostRequest(
                name=name,
                role=role,
                host_key=keys[name].public_openssh,
                host_key_private=keys[name].private_openssh,
            )
            for name, role in names
        ),
    )
    try:
        hosts = sorted(provider.launch(request), key=lambda h: (h.role is not Role.SERVER, h.name))
        pin_hosts(run.known_hosts_path, hosts)
        access = Access(
            key_path=run.key_path,
            known_hosts_path=run.known_hosts_path,
            connect_timeout_s=6,
            patience_s=8,
        )
        with RemotePool(access, log_dir=run.root / "hosts") as pool:
            yield Fleet(run, hosts, pool)
    finally:
        provider.release(run.id)


def spec(name: str, folder: Path, text: str, duration_s: float = 1) -> TestSpec:
    """A test with a script of its own and no server."""
    script = folder / name
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return TestSpec(name=name, script=script, server_script=None, duration_s=duration_s)


def shipped(name: str, duration_s: float) -> TestSpec:
    """A test of resources/tests, with its server."""
    script = RESOURCES / "tests" / name
    return TestSpec(
        name=name,
        script=script,
        server_script=script.with_name(f"{name}.server"),
        duration_s=duration_s,
    )
