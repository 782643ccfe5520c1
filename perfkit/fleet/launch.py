"""The provider thread: launches in batches, waits until hosts answer, and queues them.

    with Fleet(run_id, provider, inventory, journal, …) as fleet:
        fleet.launch(requests)                    # returns at once
        for host in fleet.reachable():            # as they come, while others are launching
            …

Leaving the block releases everything that carries the run's tag.
The intent to make a batch is in the journal, on the disk, before the provider is called, and so is
each single call of a provider that costs money: see `perfkit.fleet.calls`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from perfkit.errors import (
    JournalError,
    LaunchRefusedError,
    LaunchUnknownError,
    PerfkitError,
    ProviderError,
)
from perfkit.fleet.calls import Calls
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import HostRequest, LaunchRequest, Provider, ReleaseReport
from perfkit.fleet.reap import release_until_quiet
from perfkit.fleet.silent_hosts import unasked
from perfkit.model import Host, HostState
from perfkit.runs.journal import Journal

RELEASING = "the run is being released"
BATCH_SIZE = 25

# Waits until a host can be configured, at most so many seconds; returns it if it has changed.
Probe = Callable[[Host, float], Host | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """How a fleet is launched.

    Attributes:
        authorized_key: Public key of the run.
        batch_size: Hosts asked of the provider in one call; the next call starts at once, while
            the hosts of this one are being probed.
        ready_timeout_s: A host that does not answer for so long has failed.
        probe_threads: Hosts probed at the same time.
        earlier: What `calls.unresolved` found in the journal of a run that was begun before.
        tokens: Of all batches it had asked for: hosts of them that are gone get another one.
        with_ipv6: See `perfkit.fleet.provider.LaunchRequest`.
        outside_ip: The version of IP by which hosts are to reach each other; None: any.
    """

    owner: str
    expires_utc: datetime
    authorized_key: str
    batch_size: int = BATCH_SIZE
    ready_timeout_s: float = 60.0
    probe_threads: int = 16
    earlier: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()
    with_ipv6: bool = False
    outside_ip: int | None = None


class Fleet:
    """The hosts of one run, from launch to release.

    Attributes:
        on_released: Called when a release has left nothing behind.
        leaked: What the last release of this process could not release.
    """

    def __init__(
        self,
        run_id: str,
        provider: Provider,
        inventory: Inventory,
        journal: Journal,
        plan: LaunchPlan,
        *,
        probe: Probe,
        stop_probes: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is launched yet.

        Args:
            probe: Waits for a host.
            stop_probes: Makes probes that are under way give up, for a release before they end.
        """
        self.run_id, self.provider, self.inventory = run_id, provider, inventory
        self.plan, self._journal = plan, journal
        self._probe, self._stop_probes = probe, stop_probes
        self.on_released: Callable[[], object] = lambda: None
        self.leaked: tuple[str, ...] = ()
        self._unresolved: Calls = dict(plan.earlier)
        self._refusal = ""  # why no batch is asked for any more
        self._is_releasing = False
        # Not `Thread.is_alive`: in Python 3.11 an interrupt of a `join` marks the thread as ended.
        self._launch_over = threading.Event()
        self._launch_over.set()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_launching(self) -> bool:
        """The provider thread of this process is at work."""
        return not self._launch_over.is_set()

    def launch(
        self,
        requests: Sequence[HostRequest],
        *,
        again: Mapping[str, tuple[HostRequest, ...]] | None = None,
    ) -> None:
        """Enter the hosts in the inventory and start the provider thread.

        Hosts that another process made and had not reached when it died are waited for as well.

        Args:
            requests: Hosts that are not there; those that are `requested` since a process died
                may be among them.
            again: Batches of that process by their token: asked for with the same one, what was
                made is found and nothing is made twice.
        """
        self._refusal = ""
        orphans = self.inventory.names(HostState.REQUESTED)
        for request in requests:
            if request.name not in orphans:
                self.inventory.add(request.name, request.role)
        self._launch_over.clear()
        threading.Thread(
            target=self._launch_and_say,
            args=(list(requests), again or {}),
            name="provider",
            daemon=True,
        ).start()

    def reachable(self) -> Iterator[Host]:
        """Hosts that can be configured, as they come; ends when no more can."""
        return self.inventory.as_they_become(HostState.REACHABLE)

    def wait(self) -> None:
        """Wait until every host is reachable or has failed."""
        while not self._launch_over.wait(0.2):  # short, so that an interrupt gets through
            pass

    def release(self) -> ReleaseReport:
        """End everything that carries the run's tag, and record what is still there.

        A launch that is under way is cut short: the calls that were sent are waited for. When the
        outcome of a call is not known, it takes as long as the provider's listing may lag.
        """
        self._refusal = self._refusal or RELEASING
        self._is_releasing = True
        self._stop_probes()
        self.wait()
        self._is_releasing = False
        with contextlib.suppress(JournalError):  # a full disk here must not keep hosts alive there
            self._journal.append("release-intent", run_id=self.run_id)
        settle_s = self.provider.traits.settle_s if self._unresolved else 0.0
        report = release_until_quiet(
            self.provider, self.run_id, quiet_s=settle_s, known=self._made()
        )
        self._journal.append("released", leaked=report.leaked, count=len(report.released))
        self._refusal, self.leaked = "", report.leaked
        if not report.leaked:
            self._unresolved.clear()
            for record in self.inventory.records():
                self.inventory.move(record.name, HostState.RELEASED)
            self.on_released()
        else:
            for name in self._gone():
                self.inventory.move(name, HostState.RELEASED)
        return report

    def _made(self) -> list[Host]:
        """Hosts that were made and not released since, failed ones included."""
        records = self.inventory.records()
        return [r.host for r in records if r.host and r.state is not HostState.RELEASED]

    def _gone(self) -> set[str]:
        """Of the hosts that were made, those that the provider is known to have no more."""
        made = self._made()
        try:
            listed = {host.name for host in self.provider.hosts(self.run_id)}
            silent = {host.name for host in unasked(self.provider, self.run_id, made)}
        except ProviderError:
            return set()
        return {host.name for host in made} - listed - silent

    def _launch_and_say(
        self, requests: list[HostRequest], again: Mapping[str, tuple[HostRequest, ...]]
    ) -> None:
        try:
            self._launch_all(requests, again)
        finally:
            self._launch_over.set()

    def _launch_all(
        self, requests: list[HostRequest], again: Mapping[str, tuple[HostRequest, ...]]
    ) -> None:
        """The first batch goes alone: what no batch can do is then found out once."""
        at_once = self.provider.traits.batches_at_once
        unproven = self.inventory.hosts(HostState.RUNNING)
        with ThreadPoolExecutor(self.plan.probe_threads, thread_name_prefix="probe") as probes:

            def probe(hosts: Iterable[Host]) -> None:
                for host in hosts:
                    probes.submit(self._await_ready, host)

            def launch_batch(batch: tuple[HostRequest, ...]) -> None:
                probe(self._launch_batch(batch))

            probe(unproven)
            for token, batch in again.items():
                probe(self._ask_provider(batch, token)[0])
            missing = self.inventory.names(HostState.REQUESTED)  # new, or not found again
            left = [request for request in requests if request.name in missing]
            first, *others = [*_batches(left, self.plan.batch_size)] or [()]
            launch_batch(first)
            with ThreadPoolExecutor(at_once, thread_name_prefix="batch") as callers:
                list(callers.map(launch_batch, others))

    def _fresh_token(self, names: Sequence[str]) -> str:
        tokens = (batch_token(self.run_id, names, attempt) for attempt in itertools.count())
        return next(token for token in tokens if token not in self.plan.tokens)

    def _launch_batch(self, batch: tuple[HostRequest, ...]) -> Sequence[Host]:
        """One provider call; whatever goes wrong, every host of the batch ends in a state."""
        names = [request.name for request in batch]
        if self._refusal or not batch:
            self._fail(names, self._refusal)
            return ()
        hosts, reasons = self._ask_provider(batch, self._fresh_token(names))
        for name in self.inventory.names(HostState.REQUESTED) & set(names):
            self._fail([name], reasons.get(name, reasons[""]))
        return hosts

    def _ask_provider(
        self, batch: tuple[HostRequest, ...], token: str
    ) -> tuple[Sequence[Host], dict[str, str]]:
        """The hosts that are new, and why not all of them; journalled before and after.

        Returns:
            The reasons by host; under the empty name that of hosts which have none of their own.
        """
        names = [request.name for request in batch]
        reasons = {"": f"provider {self.provider.name} did not return this host and gave no reason"}

        def record(kind: str, **fields: Any) -> None:
            self._journal.append(kind, token=token, **fields)
            if "reason" in fields:
                reasons[fields.get("name", "")] = str(fields["reason"])
            reasons.update({name: str(why) for name, why in fields.get("hosts", {}).items()})

        request = LaunchRequest(
            token=token,
            run_id=self.run_id,
            owner=self.plan.owner,
            expires_utc=self.plan.expires_utc,
            authorized_key=self.plan.authorized_key,
            hosts=batch,
            record=record,
            earlier=tuple(self._unresolved.get(token, ())),
            with_ipv6=self.plan.with_ipv6,
        )
        self._journal.append("launch-intent", token=token, names=names)
        self._unresolved.setdefault(token, [])
        hosts: Sequence[Host] = ()
        known = True
        try:
            hosts = self.provider.launch(request)
        except PerfkitError as exc:
            known = not isinstance(exc, LaunchUnknownError)
            reasons[""] = f"{type(exc).__name__}: {exc}"
            if isinstance(exc, LaunchRefusedError):
                self._refusal = reasons[""]
        except Exception as exc:  # noqa: BLE001 - a third party's provider must not end the thread
            known = False
            reasons[""] = f"provider {self.provider.name} raised {type(exc).__name__}: {exc}"
        waited_for = self.inventory.names(HostState.REQUESTED)
        new = [host for host in hosts if host.name in waited_for]
        for host in new:  # before the result: with one, the batch is not asked for again
            self.inventory.move(host.name, HostState.RUNNING, host=self._as_reached(host))
        if known:
            self._journal.append("launch-result", token=token, names=[h.name for h in hosts])
            self._unresolved.pop(token, None)
        return new, reasons

    def _as_reached(self, host: Host) -> Host:
        return host.reached_by(self.plan.outside_ip) or host

    def _fail(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self.inventory.move(name, HostState.FAILED, reason=reason)

    def _await_ready(self, host: Host) -> None:
        if self._is_releasing:
            self._fail([host.name], RELEASING)
            return
        if host.reached_by(self.plan.outside_ip) is None:
            wanted = self.plan.outside_ip
            self._fail(
                [host.name],
                f"it has no address of IPv{wanted}, only {host.traffic_address}: leave outside_ip out, or "
                "give it one",
            )
            return
        try:
            ready = self._probe(host, self.plan.ready_timeout_s) or host
        except PerfkitError as exc:
            self._fail([host.name], f"{type(exc).__name__}: {exc}")
        except Exception as exc:  # noqa: BLE001 - whoever waits for the host must be told
            self._fail([host.name], f"the probe raised {type(exc).__name__}: {exc}")
        else:
            self.inventory.move(host.name, HostState.REACHABLE, host=self._as_reached(ready))


def _batches(requests: list[HostRequest], size: int) -> Iterator[tuple[HostRequest, ...]]:
    for start in range(0, len(requests), size):  # itertools.batched needs Python 3.12
        yield tuple(requests[start : start + size])


def batch_token(run_id: str, names: Sequence[str], attempt: int = 0) -> str:
    """The same batch of the same run has the same token, also after a crash; 32 characters.

    Args:
        attempt: How often just these hosts were asked for and are gone again.
    """
    again = [f"attempt {attempt}"] if attempt else []
    return hashlib.sha256("\n".join([run_id, *names, *again]).encode()).hexdigest()[:32]
