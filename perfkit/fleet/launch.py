"""The provider thread: launches in batches, waits until hosts answer, and queues them.

    with Fleet(run_id, provider, inventory, journal, …) as fleet:
        fleet.launch(requests)                    # returns at once
        for host in fleet.reachable():            # as they come, while others are launching
            …

Leaving the block releases everything that carries the run's tag, unless `keep` says otherwise.
The intent to make a batch is in the journal, on the disk, before the provider is called.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from perfkit.errors import PerfkitError, UnreachableError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import HostRequest, LaunchRequest, Provider, ReleaseReport
from perfkit.fleet.reap import release_until_quiet
from perfkit.journal import Journal
from perfkit.model import Host, HostState

Probe = Callable[[Host, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """How a fleet is launched.

    Attributes:
        authorized_key: Public key of the run.
        batch_size: Hosts asked of the provider in one call; the next call starts at once, while
            the hosts of this one are being probed.
        ready_timeout_s: A host that does not answer for so long has failed.
        probe_threads: Hosts probed at the same time.
    """

    owner: str
    expires_utc: datetime
    authorized_key: str
    batch_size: int = 25
    ready_timeout_s: float = 60.0
    probe_threads: int = 16


class Fleet:
    """The hosts of one run, from launch to release."""

    def __init__(
        self,
        run_id: str,
        provider: Provider,
        inventory: Inventory,
        journal: Journal,
        plan: LaunchPlan,
        *,
        keep: bool = False,
        probe: Probe | None = None,
    ) -> None:
        self.run_id, self.provider, self.inventory = run_id, provider, inventory
        self.plan, self.keep = plan, keep
        self._journal = journal
        self._probe = probe or answers_with_ssh_banner
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.keep:
            self.release()

    def launch(self, requests: Sequence[HostRequest]) -> None:
        """Enter the hosts in the inventory and start the provider thread."""
        for request in requests:
            self.inventory.add(request.name, request.role)
        self._thread = threading.Thread(
            target=self._launch_all, args=(list(requests),), name="provider", daemon=True
        )
        self._thread.start()

    def reachable(self) -> Iterator[Host]:
        """Hosts that can be configured, as they come; ends when no more can."""
        return self.inventory.as_they_become(HostState.REACHABLE)

    def wait(self) -> None:
        """Wait until every host is reachable or has failed."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.2)  # short, so that an interrupt gets through

    def release(self) -> ReleaseReport:
        """End everything that carries the run's tag, and record what is still there."""
        self.wait()
        self._journal.append("release-intent", run_id=self.run_id)
        report = release_until_quiet(self.provider, self.run_id)
        self._journal.append("released", leaked=report.leaked, count=len(report.released))
        if not report.leaked:
            for record in self.inventory.records():
                self.inventory.move(record.name, HostState.RELEASED)
        return report

    def _launch_all(self, requests: list[HostRequest]) -> None:
        with ThreadPoolExecutor(self.plan.probe_threads, thread_name_prefix="probe") as pool:
            for batch in _batches(requests, self.plan.batch_size):
                for host in self._launch_batch(batch):
                    pool.submit(self._await_ready, host)

    def _launch_batch(self, batch: tuple[HostRequest, ...]) -> Sequence[Host]:
        """One provider call; whatever goes wrong, every host of the batch ends in a state."""
        names = [request.name for request in batch]
        token = batch_token(self.run_id, names)
        self._journal.append("launch-intent", token=token, names=names)
        hosts: Sequence[Host] = ()
        reason = "the provider did not make it"
        try:
            hosts = self.provider.launch(
                LaunchRequest(
                    token=token,
                    run_id=self.run_id,
                    owner=self.plan.owner,
                    expires_utc=self.plan.expires_utc,
                    authorized_key=self.plan.authorized_key,
                    hosts=batch,
                )
            )
        except PerfkitError as exc:
            reason = f"{type(exc).__name__}: {exc}"
        except Exception as exc:  # noqa: BLE001 - a third party's provider must not end the thread
            reason = f"provider {self.provider.name} raised {type(exc).__name__}: {exc}"
        self._journal.append("launch-result", token=token, names=[host.name for host in hosts])
        for host in hosts:
            self.inventory.move(host.name, HostState.RUNNING, host=host)
        for name in set(names) - {host.name for host in hosts}:
            self.inventory.move(name, HostState.FAILED, reason=reason)
        return hosts

    def _await_ready(self, host: Host) -> None:
        try:
            self._probe(host, self.plan.ready_timeout_s)
        except PerfkitError as exc:
            self.inventory.move(host.name, HostState.FAILED, reason=f"{type(exc).__name__}: {exc}")
        else:
            self.inventory.move(host.name, HostState.REACHABLE)


def _batches(requests: list[HostRequest], size: int) -> Iterator[tuple[HostRequest, ...]]:
    for start in range(0, len(requests), size):  # itertools.batched needs Python 3.12
        yield tuple(requests[start : start + size])


def batch_token(run_id: str, names: Sequence[str]) -> str:
    """The same batch of the same run has the same token, also after a crash; 32 characters."""
    return hashlib.sha256("\n".join([run_id, *names]).encode()).hexdigest()[:32]


def answers_with_ssh_banner(host: Host, timeout_s: float) -> None:
    """Wait until an SSH server on the host says who it is.

    Enough for hosts whose sshd perfkit itself configured. Where others did, pass a probe that
    authenticates: from 9.8 on, sshd shuts out addresses that connect and do not.

    Raises:
        UnreachableError: it did not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    pause_s, problem = 0.02, "no answer"
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(
                (host.address, host.port), timeout=min(left_s, 5)
            ) as conn:
                banner = conn.recv(64)
            if banner.startswith(b"SSH-2.0-"):
                return
            problem = f"something else than SSH answers: {banner!r}"
        except OSError as exc:
            problem = str(exc)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 1.0)
    raise UnreachableError(host.name, f"no SSH on {host.address}:{host.port}: {problem}")
