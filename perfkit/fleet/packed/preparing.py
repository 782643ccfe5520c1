"""Making machines ready for hosts, once each: looked at, sent what they need, reached by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perfkit.errors import HostError, LaunchError, PerfkitError
from perfkit.fleet.packed import requirements
from perfkit.fleet.packed.machines import Machines
from perfkit.fleet.packed.places import Places
from perfkit.fleet.packed.taking import Inner, why
from perfkit.fleet.parallel import on_all
from perfkit.model import Host
from perfkit.ssh.remote import RemotePool


@dataclass(slots=True, kw_only=True)
class Preparing:
    """Makes the machines of one run ready; remembers those that this process has seen ready."""

    inner: Inner
    machines: Machines
    places: Places
    _ready: set[str] = field(default_factory=set)  # Host.machine
    _tried: set[str] = field(default_factory=set)  # Host.machine

    def forget(self) -> None:
        """The run has been released."""
        self._ready.clear()
        self._tried.clear()

    def prepare(
        self,
        pool: RemotePool,
        run_id: str,
        there: Mapping[str, Host],
        server: Host,
        wanted: set[str],
    ) -> dict[str, str]:
        """Make those ready that are not.

        Args:
            wanted: Machines that are tried again where they failed before.

        Returns:
            By name of a machine why it is not ready.

        Raises:
            LaunchError: the server cannot reach any of their hosts.
        """
        new = [
            it
            for it in there.values()
            if it is not server
            and it.machine not in self._ready
            and (it.machine not in self._tried or it.name in wanted)
        ]
        if not new:
            return {}
        self._tried |= {it.machine for it in new}
        reasons = self._reasons_before(run_id, new, server)
        new = [it for it in new if it.name not in reasons]

        def prepare(machine: Host) -> None:
            self.machines.prepare(pool, machine, run_id)

        for name, it in on_all(new, prepare).items():
            if isinstance(it, PerfkitError):
                reasons[name] = why(there[name], it)
        ready = [machine for machine in new if machine.name not in reasons]
        if ready:
            ways = {self.places.prefix_of(it.name): it.traffic_address for it in ready}
            try:
                self.machines.route(pool, server, run_id, ways)
            except HostError as exc:
                raise LaunchError(f"the server's routes to packed hosts: {exc}") from exc
            self._ready |= {machine.machine for machine in ready}
        return reasons

    def _reasons_before(self, run_id: str, new: Sequence[Host], server: Host) -> dict[str, str]:
        """Why machines cannot carry hosts, by name: what the provider must allow, what they lack.

        Raises:
            LaunchError: it is the server's.
        """
        closed = self.inner.open_ways(run_id)
        found: dict[str, list[str]] = {name: [it] for name, it in closed.items()}
        if not self.inner.candidates(1):  # nobody could look before the launch
            reached = {it.name: [server.traffic_address] for it in new} | {server.name: []}
            per_machine = self.places.per_machine
            for name, said in self.machines.look([server, *new], reached, run_id).items():
                found.setdefault(name, [])
                if isinstance(said, PerfkitError):
                    found[name].append(str(said))
                    continue
                prefixes = [self.places.prefix_of(it.name) for it in new]
                each = per_machine if said and name != server.name else 0
                found[name] += requirements.obstacles_of(said, prefixes, each)
        if found.get(server.name):
            raise LaunchError(f"the server cannot be used: {'; '.join(found[server.name])}")
        return {
            it.name: f"machine {it.machine}: {'; '.join(found[it.name])}"
            for it in new
            if found.get(it.name)
        }
