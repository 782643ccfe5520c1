"""The machines of a run: asked for at the provider that has them, and logged in to for the first time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from perfkit.errors import HostError, LaunchError, LaunchUnknownError, PerfkitError
from perfkit.fleet.packable import PackableProvider
from perfkit.fleet.packed.logins import ALL
from perfkit.fleet.packed.machines import Machines
from perfkit.fleet.packed.places import Places
from perfkit.fleet.parallel import on_all
from perfkit.fleet.provider import HostRequest, LaunchRequest, Provider
from perfkit.fleet.silent_hosts import unasked
from perfkit.model import Host, Role
from perfkit.ssh.remote import RemotePool

LOOK_EVERY_S = 2.0
AGAIN_S = 30.0  # for a machine that was waited for in vain before


class Inner(Provider, PackableProvider, Protocol):
    """What machines come from."""


@dataclass(slots=True, kw_only=True)
class Taking:
    """Takes the machines of one run; remembers those that have been seen and logged in to."""

    inner: Inner
    machines: Machines
    places: Places
    _seen: set[str] = field(default_factory=set)  # names of those that are there
    _own: dict[str, Host] = field(default_factory=dict)  # with their own key, by Host.machine
    _tried: set[str] = field(default_factory=set)  # Host.machine

    def forget(self) -> None:
        """The run has been released."""
        self._seen.clear()
        self._own.clear()
        self._tried.clear()

    def take(self, request: LaunchRequest, reasons: dict[str, str]) -> dict[str, Host]:
        """All machines of the run, by name; those that it does not have yet are asked for.

        Args:
            reasons: Gets, by name, why a machine is missing.

        Raises:
            LaunchError: none can be had, and the run has no server yet.
            LaunchUnknownError: it is not known what was made.
        """
        run_id, names = request.run_id, self.places.machine_names()
        taken = self._there(run_id)
        asked = [host for host in self._requests(request, names) if host.name not in taken]
        if not asked:
            return taken
        record = _told(request.record, {*names}, reasons)
        try:
            packed = (self.places.per_machine, self.places.n_clients)
            asking = replace(request, hosts=tuple(asked), record=record, packed=packed)
            made = self.inner.launch(asking)
        except LaunchUnknownError:
            raise
        except LaunchError as exc:
            if not any(host.role is Role.SERVER for host in taken.values()):
                raise
            silent = [f"{it.machine}: {it.reason}" for it in unasked(self.inner, run_id)]
            for it in asked:
                reasons.setdefault(it.name, "; ".join([*silent, str(exc)]))
            made = ()
        unlisted = {it.name: replace(it, machine=it.machine or it.name) for it in made}
        return unlisted | self._there(run_id)

    def _there(self, run_id: str) -> dict[str, Host]:
        """The machines that are listed. One that was is looked for as long as a listing may lag."""
        deadline_s = time.monotonic() + self.inner.traits.settle_s
        there = {host.name: host for host in self.inner.machines(run_id)}
        while self._seen - there.keys() and time.monotonic() < deadline_s:
            time.sleep(LOOK_EVERY_S)
            there = {host.name: host for host in self.inner.machines(run_id)}
        self._seen = set(there)
        return there

    def _requests(self, request: LaunchRequest, names: Sequence[str]) -> list[HostRequest]:
        """The server, if it is asked for, and all machines.

        What temporary keys are derived from is the same for all: whichever of them are asked for again
        after a crash, what they are launched with is the same to the byte.

        Raises:
            LaunchError: they need keys, and nobody has said which.
        """
        public = private = ""
        if self.inner.traits.temporary_host_keys:
            if self.machines.logins is None:
                raise LaunchError("machines of this provider need the run's key: open its run")
            key = self.machines.logins.host_key(ALL)
            public, private = key.public_openssh, key.private_openssh
        asked = [host for host in request.hosts if host.role is Role.SERVER]
        if public:
            asked = [replace(it, host_key=public, host_key_private=private) for it in asked]
        asked += [
            HostRequest(name=name, role=Role.CLIENT, host_key=public, host_key_private=private)
            for name in names
        ]
        return asked

    def log_in(
        self,
        pool: RemotePool,
        taken: Mapping[str, Host],
        run_id: str,
        wanted: set[str],
        reasons: dict[str, str],
    ) -> dict[str, Host]:
        """The machines that let us in, with their own keys; the reasons of the others.

        Args:
            wanted: Machines that are waited for once more, if shortly, where that was in vain.
        """
        if not self.inner.traits.temporary_host_keys:
            return dict(taken)
        new = [it for it in taken.values() if it.machine not in self._own]
        new = [it for it in new if it.machine not in self._tried or it.name in wanted]

        def take_over(machine: Host) -> Host:
            is_known = machine.machine in self._tried
            timeout_s = AGAIN_S if is_known else self.inner.traits.ready_s
            return self.machines.take_over(pool, machine, run_id, timeout_s)

        done = on_all(new, take_over)
        self._tried |= {it.machine for it in new}
        for name, it in done.items():
            if isinstance(it, PerfkitError):
                reasons[name] = why(taken[name], it)
            else:
                self._own[it.machine] = it
        return {
            name: self._own[it.machine] for name, it in taken.items() if it.machine in self._own
        }

    def pinned(self, machines: Sequence[Host]) -> list[Host]:
        """Machines as they are logged in to after the first time."""
        logins = self.machines.logins
        if not self.inner.traits.temporary_host_keys or logins is None:
            return list(machines)
        return [replace(it, host_key=logins.host_key(it.name).public_openssh) for it in machines]


def _told(
    record: Callable[..., object], names: set[str], reasons: dict[str, str]
) -> Callable[..., object]:
    """A record that keeps the reasons of machines to itself: they are no hosts of the run."""

    def tell(kind: str, **fields: Any) -> object:
        if kind != "launch-shortfall":
            return record(kind, **fields)
        said = {str(name): str(it) for name, it in fields.get("hosts", {}).items()}
        said |= {str(fields["name"]): str(fields["reason"])} if "name" in fields else {}
        reasons.update({it: f"machine {it}: {said[it]}" for it in names & said.keys()})
        if others := {it: said[it] for it in said.keys() - names}:
            return record(kind, reason=fields["reason"], hosts=others)
        return None if said else record(kind, **fields)

    return tell


def why(machine: Host, error: PerfkitError) -> str:
    """Why the hosts of a machine are missing."""
    said = error.message if isinstance(error, HostError) else str(error)
    return f"machine {machine.machine}: {said}"
