"""A provider of many hosts on each machine of another one: clients in namespaces there, no NAT.

The other provider launches, or takes, a machine for every `per_machine` clients and one for the server,
which stays a plain host. Each machine of clients is sent what local hosts are made with, makes its own
on a bridge, and forwards between them and the server. Their addresses are of a prefix for each machine;
the server has a route to each prefix, and only it. SSH goes through the machine.

Nothing of this layer outlives the other one's part: what ends a run on a machine, at release, by its tag
or when it expires, runs `packed/stop` there first (see `PackableProvider`, `machine.sh`). So there is no
state here and the other provider alone can reap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import islice
from typing import Any, Protocol, cast

from perfkit.errors import ConfigError, HostError, LaunchError, PerfkitError, ProviderError
from perfkit.fleet.packed import requirements
from perfkit.fleet.packed.machines import Machines
from perfkit.fleet.parallel import on_all
from perfkit.fleet.provider import (
    PACKED_BITS,
    AskingProvider,
    HostRequest,
    LaunchRequest,
    ListedHost,
    PackableProvider,
    Provider,
    ReleaseReport,
    UnaskedHost,
    check_request,
)
from perfkit.fleet.silent_hosts import unasked
from perfkit.model import Host, Role
from perfkit.ssh.jump_hosts import to_jump
from perfkit.ssh.remote import RemotePool

_CLIENT = re.compile(r"client-([0-9]+)")


class Inner(Provider, PackableProvider, Protocol):
    """What machines come from."""


class PackedProvider:
    """Packs clients onto the machines of another provider; see the module's docstring.

    Args:
        inner: Where machines come from.
        per_machine: Clients on each machine at most.
        n_clients: Of the whole run.
        machines: How they are worked on.

    Raises:
        ConfigError: its machines cannot carry hosts, or it is one client on each.
    """

    def __init__(
        self,
        inner: Provider,
        per_machine: int,
        n_clients: int,
        machines: Machines | None = None,
    ) -> None:
        if per_machine < 2:
            raise ConfigError(
                "parameters",
                "per_machine",
                per_machine,
                "so many clients on a machine are none that share it",
                "give 2 or more, or leave it out",
            )
        if not isinstance(inner, PackableProvider):
            raise ConfigError(
                "parameters",
                "per_machine",
                per_machine,
                f"hosts of provider {inner.name} cannot carry hosts of their own",
                "use provider = static, or leave per_machine out",
            )
        self._inner = cast(Inner, inner)
        self._per_machine, self._n_clients = per_machine, n_clients
        self._machines = machines or Machines()
        self._prepared: set[str] = set()
        self.name = inner.name
        pool = IPv4Network(inner.packed_pool)
        self._n_prefixes = 2 ** (PACKED_BITS - pool.prefixlen)
        n_machines = min(self._n_prefixes, inner.traits.max_hosts - 1)
        self.traits = replace(
            inner.traits,
            max_hosts=1 + n_machines * per_machine,
            can_link=False,
            can_ipv6=False,
            per_machine=per_machine,
        )
        self.notice = (
            f"{inner.notice} Clients are packed, {per_machine} on a machine at most: those of one "
            "machine share its processors, clock and NIC, and fail together."
        )

    def preflight(self, n_hosts: int) -> None:
        """Refuse now what cannot work; nothing on a machine is changed.

        Raises:
            ConfigError: more hosts than there are machines or addresses for.
            ProviderError: every machine that cannot be used, each with what is wrong.
        """
        if n_hosts > self.traits.max_hosts:
            raise ConfigError(
                "parameters",
                "clients",
                n_hosts - 1,
                f"{self.traits.max_hosts - 1} are the most, {self._per_machine} on a machine",
                "ask for fewer, name more machines, or raise per_machine or packed_pool",
            )
        n_machines = math.ceil((n_hosts - 1) / self._per_machine)
        self._inner.preflight(1 + n_machines)
        server, *machines = self._inner.candidates(1 + n_machines)
        problems = requirements.of_addresses([server, *machines])
        if not problems:
            reached = {server.name: [machine.traffic_address for machine in machines]}
            reached |= {machine.name: [server.traffic_address] for machine in machines}
            found = self._machines.look([server, *machines], reached)
            prefixes = list(islice(self._prefixes(), n_machines))
            problems = requirements.obstacles(server, machines, found, prefixes, self._per_machine)
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ProviderError(f"{len(problems)} problems with per_machine:{lines}")

    def _prefixes(self) -> Iterator[IPv4Network]:
        """The prefix of each machine, in their order."""
        return IPv4Network(self._inner.packed_pool).subnets(new_prefix=PACKED_BITS)

    # -- launching -----------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Take the machines of the run that it does not have yet, and have the hosts made there.

        Raises:
            LaunchError: no machine can be had, or no host.
        """
        check_request(request)
        reasons: dict[str, str] = {}
        machines = self._take(request, reasons)
        server = next((host for host in machines.values() if host.role is Role.SERVER), None)
        if server is None:
            raise LaunchError(
                f"run {request.run_id} has no server, so its clients would have no way to it: "
                f"{'; '.join(reasons.values()) or 'it was released'}"
            )
        wanted: dict[str, list[HostRequest]] = {}
        for host in request.hosts:
            if host.role is not Role.SERVER:
                wanted.setdefault(self._machine_of(host.name), []).append(host)
        made = {host.name: server for host in request.hosts if host.role is Role.SERVER}
        with self._machines.connections() as pool:
            self._prepare(pool, request.run_id, machines, server, reasons)

            def pack(machine: Host) -> tuple[dict[str, Host], dict[str, str]]:
                return self._pack(pool, request, machine, wanted[machine.name], server)

            ready = [machines[it] for it in wanted if it in machines and it not in reasons]
            for name, done in on_all(ready, pack).items():
                if isinstance(done, PerfkitError):
                    reasons[name] = _why(machines[name], done)
                else:
                    made |= done[0]
                    reasons |= done[1]
        return self._told(request, made, reasons)

    def _told(
        self, request: LaunchRequest, made: Mapping[str, Host], reasons: Mapping[str, str]
    ) -> list[Host]:
        """The hosts in the order of the request; the reason of each other one is recorded.

        Raises:
            LaunchError: there is none.
        """
        for host in request.hosts:
            if host.name not in made:
                machine = self._machine_of(host.name)
                reason = reasons.get(host.name) or reasons.get(machine) or "no reason was given"
                request.record("launch-shortfall", name=host.name, reason=reason)
        if not made:
            raise LaunchError("; ".join(dict.fromkeys(reasons.values())) or "no host was made")
        return [made[host.name] for host in request.hosts if host.name in made]

    def _machine_of(self, client: str) -> str:
        """The name in the run of the machine that a client is on."""
        return f"machine-{1 + self._place(client):03d}"

    def _place(self, client: str) -> int:
        """The number, from 0, of the machine that a client is on.

        Raises:
            LaunchError: its name is no client's.
        """
        match = _CLIENT.fullmatch(client)
        if match is None or int(match[1]) < 1:
            raise LaunchError(f"{client}: packed hosts are called client-001 and so on")
        return (int(match[1]) - 1) // self._per_machine

    def _take(self, request: LaunchRequest, reasons: dict[str, str]) -> dict[str, Host]:
        """All machines of the run, by name; those that it does not have yet are asked for.

        Raises:
            LaunchError: none can be had, and the run has no server yet.
        """
        run_id = request.run_id
        taken = {host.name: host for host in self._inner.machines(run_id)}
        n_machines = math.ceil(self._n_clients / self._per_machine)
        names = [f"machine-{number:03d}" for number in range(1, n_machines + 1)]
        asked = [host for host in request.hosts if host.role is Role.SERVER]
        asked += [
            HostRequest(name=name, role=Role.CLIENT, host_key="", host_key_private="")
            for name in names
        ]

        def record(kind: str, **fields: Any) -> object:
            if kind == "launch-shortfall" and fields.get("name") in names:
                reasons[fields["name"]] = f"machine {fields['name']}: {fields['reason']}"
                return None
            return request.record(kind, **fields)

        missing = tuple(host for host in asked if host.name not in taken)
        if missing:
            try:
                self._inner.launch(replace(request, hosts=missing, record=record))
            except LaunchError as exc:
                if not any(host.role is Role.SERVER for host in taken.values()):
                    raise
                silent = [f"{it.machine}: {it.reason}" for it in unasked(self._inner, run_id)]
                reasons |= dict.fromkeys(
                    (it.name for it in missing), "; ".join([*silent, str(exc)])
                )
            taken = {host.name: host for host in self._inner.machines(run_id)}
        return taken

    def _prepare(
        self,
        pool: RemotePool,
        run_id: str,
        machines: Mapping[str, Host],
        server: Host,
        reasons: dict[str, str],
    ) -> None:
        """Make machines ready that this process has not seen ready yet.

        Raises:
            LaunchError: the server cannot reach any of their hosts.
        """
        new = [it for it in machines.values() if it is not server and it.name not in self._prepared]

        def prepare(machine: Host) -> None:
            self._machines.prepare(pool, machine, run_id)

        done = on_all(new, prepare)
        errors = {name: it for name, it in done.items() if isinstance(it, PerfkitError)}
        reasons |= {name: _why(machines[name], it) for name, it in errors.items()}
        ready = [machine for machine in new if machine.name not in errors]
        if ready:
            ways = {self._prefix_of(it): it.traffic_address for it in ready}
            try:
                self._machines.route(pool, server, run_id, ways)
            except HostError as exc:
                raise LaunchError(f"the server's routes to packed hosts: {exc}") from exc
            self._prepared |= {machine.name for machine in ready}

    def _prefix_of(self, machine: Host) -> IPv4Network:
        number = int(machine.name.rpartition("-")[2])
        return next(islice(self._prefixes(), number - 1, None))

    def _pack(
        self,
        pool: RemotePool,
        request: LaunchRequest,
        machine: Host,
        hosts: Sequence[HostRequest],
        server: Host,
    ) -> tuple[dict[str, Host], dict[str, str]]:
        """Have hosts made on one machine: they by name, and the reasons of the others.

        Raises:
            HostError: it cannot be asked, or the server does not reach them.
        """
        more = {
            "subnet": str(self._prefix_of(machine)),
            "peers": [server.traffic_address],
            "n_hosts": self._per_machine,
        }
        addresses, reasons = self._machines.launch(pool, machine, request, hosts, more)
        if addresses and not self._machines.pings(
            pool, server, first := next(iter(addresses.values()))
        ):
            raise HostError(
                machine.machine,
                f"the server does not reach the hosts on it (no answer from {first}): see whether a "
                "firewall there, or on the server, filters what is forwarded (iptables -S FORWARD)",
            )
        made = {
            host.name: Host(
                name=host.name,
                role=host.role,
                address=addresses[host.name],
                host_key=host.host_key,
                can_tunnel=self.traits.can_tunnel,
                jump=to_jump(machine),
                machine=machine.machine,
            )
            for host in hosts
            if host.name in addresses
        }
        return made, {n: f"machine {machine.machine}: {reasons[n]}" for n in reasons}

    # -- listing -------------------------------------------------------------------------------

    def runs(self) -> Sequence[str]:
        """Ids of all runs that have a machine."""
        return self._inner.runs()

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        """The servers, and the hosts that machines say they have.

        Raises:
            ProviderError: a machine that belongs to a run does not say it.
        """
        runs = self.runs() if run_id is None else [run_id]
        return [host for run in runs for host in self._hosts_of(run)]

    def _hosts_of(self, run_id: str) -> list[ListedHost]:
        listed = {host.name: host for host in self._inner.hosts(run_id)}
        found = [host for host in listed.values() if host.role is Role.SERVER]
        machines = [it for it in self._client_machines(run_id) if it.name in listed]
        for name, said in self._machines.list_hosts(machines, run_id).items():
            where = listed[name]
            if isinstance(said, PerfkitError):
                raise ProviderError(f"hosts on {where.identity} could not be listed: {said}")
            found += [
                replace(
                    where,
                    name=host,
                    address=str(address),
                    port=22,
                    identity=f"on {where.identity}",
                    n_packed=None,
                )
                for host, address in said.items()
            ]
        return found

    def _client_machines(self, run_id: str) -> list[Host]:
        return [it for it in self._inner.machines(run_id) if it.role is not Role.SERVER]

    def unasked(self, run_id: str = "", known: Sequence[Host] = ()) -> Sequence[UnaskedHost]:
        """Machines of a run that do not answer, with each known host that is on one."""
        return cast(AskingProvider, self._inner).unasked(run_id, known)

    def residue(self, run_id: str) -> Sequence[str]:
        """The machines that clients are on, whether they have hosts or not, and what else there is."""
        machines = [f"machine {it.machine}" for it in self._client_machines(run_id)]
        return [*machines, *self._inner.residue(run_id)]

    # -- ending --------------------------------------------------------------------------------

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """End some hosts of a run; their machines stay the run's."""
        report = self._inner.terminate(run_id, [it for it in names if not _CLIENT.fullmatch(it)])
        clients = [name for name in names if _CLIENT.fullmatch(name)]
        wanted = {self._machine_of(name) for name in clients}
        machines = [it for it in self._client_machines(run_id) if it.name in wanted]
        leaked, released = [*report.leaked], [*report.released]
        for name, said in self._machines.end_hosts(machines, run_id, clients).items():
            if isinstance(said, PerfkitError):
                leaked.append(f"hosts on {name}: {said}")
            else:
                leaked += said.get("left", ())
                released += " ".join(said.get("cleaned", ())).split()
        return ReleaseReport(leaked=tuple(leaked), released=tuple(released), besides=report.besides)

    def release(self, run_id: str) -> ReleaseReport:
        """End all of a run: machines end their hosts first, then they are given back."""
        self._prepared.clear()
        return self._inner.release(run_id)


def _why(machine: Host, error: PerfkitError) -> str:
    """Why the hosts of a machine are missing."""
    said = error.message if isinstance(error, HostError) else str(error)
    return f"machine {machine.machine}: {said}"
