"""A provider of many hosts on each machine of another one: clients in namespaces there, no NAT.

The other provider launches, or takes, a machine for every `per_machine` clients and one for the server,
which stays a plain host. Each machine of clients is sent what local hosts are made with, makes its own
on a bridge, and forwards between them and the server. Their addresses are of a prefix for each machine;
the server has a route to each prefix, and only it. SSH goes through the machine.

Nothing of this layer outlives the other one's part: what ends a run on a machine, at release, by its tag
or when it expires, runs `packed/stop` there first (see `perfkit.fleet.packable`, `machine.sh`), or ends
the machine itself. So there is no state here and the other provider alone can reap.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import islice
from typing import Any, cast

from perfkit.errors import ConfigError, HostError, LaunchError, PerfkitError, ProviderError
from perfkit.fleet.packable import PackableProvider
from perfkit.fleet.packed import requirements
from perfkit.fleet.packed.logins import Logins
from perfkit.fleet.packed.machines import Machines
from perfkit.fleet.packed.places import Places, is_client
from perfkit.fleet.packed.preparing import Preparing
from perfkit.fleet.packed.taking import Inner, Taking, why
from perfkit.fleet.parallel import on_all
from perfkit.fleet.provider import (
    AskingProvider,
    CostEstimate,
    HostRequest,
    Interruption,
    LaunchRequest,
    ListedHost,
    PricedProvider,
    Provider,
    ReleaseReport,
    SpotProvider,
    UnaskedHost,
    check_request,
)
from perfkit.model import Host, Role
from perfkit.ssh.jump_hosts import to_jump
from perfkit.ssh.remote import RemotePool


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
                "use provider = static or ec2, or leave per_machine out",
            )
        self._inner = cast(Inner, inner)
        self._per_machine = per_machine
        self._places = Places(
            pool=IPv4Network(inner.packed_pool), per_machine=per_machine, n_clients=n_clients
        )
        self._machines = machines or Machines()
        self._taking = Taking(inner=self._inner, machines=self._machines, places=self._places)
        self._preparing = Preparing(inner=self._inner, machines=self._machines, places=self._places)
        self._lock = threading.Lock()  # while machines are taken and prepared
        self._at_work: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.name = inner.name
        n_machines = min(self._places.n_prefixes, inner.traits.max_hosts - 1)
        self.traits = replace(
            inner.traits,
            max_hosts=1 + n_machines * per_machine,
            temporary_host_keys=False,  # machines have been logged in to before their hosts are there
            renewable=False,  # the hosts on a machine have an end of their own
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
        n_machines = self._places.n_machines(n_hosts - 1)
        self._inner.preflight(1 + n_machines)
        self._inner.check_packing(self._per_machine, requirements.memory_bytes(self._per_machine))
        there = self._inner.candidates(1 + n_machines)
        if not there:  # they are looked at once they have been launched
            return
        server, *machines = there
        problems = requirements.of_addresses(there)
        if not problems:
            reached = {server.name: [machine.traffic_address for machine in machines]}
            reached |= {machine.name: [server.traffic_address] for machine in machines}
            found = self._machines.look([server, *machines], reached)
            prefixes = list(islice(self._places.prefixes(), n_machines))
            problems = requirements.obstacles(server, machines, found, prefixes, self._per_machine)
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ProviderError(f"{len(problems)} problems with per_machine:{lines}")

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        """Reckon what a run would cost: machines are paid for, not hosts; see `PricedProvider`."""
        n_machines = self._places.n_machines(n_hosts - 1)
        reckoned = cast(PricedProvider, self._inner).estimate(1 + n_machines, life_s)
        count = f"{n_machines} machine{'s' if n_machines != 1 else ''}"
        line = f"{n_hosts - 1} clients on {count}, {self._per_machine} on each at most"
        return replace(reckoned, lines=(line, *reckoned.lines))

    def log_in_by(self, logins: Logins) -> None:
        """How machines are logged in to that are launched for the run alone."""
        self._machines.logins = logins

    # -- launching -----------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Take the machines of the run that it does not have yet, and have the hosts made there.

        Raises:
            LaunchError: no machine can be had, or no host.
        """
        check_request(request)
        reasons: dict[str, str] = {}
        wanted: dict[str, list[HostRequest]] = {}
        for host in request.hosts:
            if host.role is not Role.SERVER:
                wanted.setdefault(self._places.machine_of(host.name), []).append(host)
        with self._machines.connections() as pool:
            with self._lock:
                machines, server = self._ready(pool, request, {*wanted}, reasons)
            made = {host.name: server for host in request.hosts if host.role is Role.SERVER}

            def pack(machine: Host) -> tuple[dict[str, Host], dict[str, str]]:
                return self._pack(pool, request, machine, wanted[machine.name], server)

            ready = [machines[it] for it in wanted if it in machines and it not in reasons]
            for name, done in on_all(ready, pack).items():
                if isinstance(done, PerfkitError):
                    reasons[name] = why(machines[name], done)
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
                machine = self._places.machine_of(host.name)
                reason = reasons.get(host.name) or reasons.get(machine) or "no reason was given"
                request.record("launch-shortfall", name=host.name, reason=reason)
        if not made:
            raise LaunchError("; ".join(dict.fromkeys(reasons.values())) or "no host was made")
        return [made[host.name] for host in request.hosts if host.name in made]

    def _ready(
        self, pool: RemotePool, request: LaunchRequest, wanted: set[str], reasons: dict[str, str]
    ) -> tuple[dict[str, Host], Host]:
        """The machines of the run that can carry hosts, by name, and its server.

        Raises:
            LaunchError: there is no server, or none of them can be had.
        """
        run_id = request.run_id
        taken = self._taking.take(request, reasons)
        machines = self._taking.log_in(pool, taken, run_id, wanted, reasons)
        server = next((host for host in machines.values() if host.role is Role.SERVER), None)
        if server is None:
            raise LaunchError(
                f"run {run_id} has no server, so its clients would have no way to it: "
                f"{'; '.join(reasons.values()) or 'it was released'}"
            )
        reasons |= self._preparing.prepare(pool, run_id, machines, server, wanted)
        return machines, server

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
            "subnet": str(self._places.prefix_of(machine.name)),
            "peers": [server.traffic_address],
            "n_hosts": self._per_machine,
        }
        with self._at_work[machine.name]:  # its keeper is begun by one
            addresses, reasons = self._machines.launch(pool, machine, request, hosts, more)
        if addresses and not self._machines.pings(
            pool, server, first := next(iter(addresses.values()))
        ):
            raise HostError(
                machine.machine,
                f"the server does not reach the hosts on it (no answer from {first}): see whether a "
                "firewall there, or on the server, filters what is forwarded (iptables -S FORWARD), or "
                "one between them does, as the network ACL of a subnet at EC2",
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

        Of a machine that is listed and does not answer, or that nobody here may log in to, all hosts that
        are to be on it: they may be there.

        Raises:
            ProviderError: a machine that belongs to a run, by its own word, does not say it any more.
        """
        runs = self.runs() if run_id is None else [run_id]
        return [host for run in runs for host in self._hosts_of(run)]

    def _hosts_of(self, run_id: str) -> list[ListedHost]:
        listed = {host.name: host for host in self._inner.hosts(run_id)}
        found = [host for host in listed.values() if host.role is Role.SERVER]
        machines = [it for it in self._client_machines(run_id) if it.name in listed]
        for name, said in self._ask(machines, run_id).items():
            where = listed[name]
            if isinstance(said, PerfkitError) and self.traits.asks_hosts:
                raise ProviderError(f"hosts on {where.identity} could not be listed: {said}")
            may_be = dict.fromkeys(self._places.clients_on(name), "")
            there = may_be if isinstance(said, PerfkitError) else said
            found += [
                replace(
                    where,
                    name=host,
                    address=str(address),
                    port=22,
                    identity=f"on {where.identity}",
                    n_packed=None,
                )
                for host, address in there.items()
            ]
        return found

    def _ask(self, machines: Sequence[Host], run_id: str) -> Mapping[str, Any]:
        """What machines say of their hosts: addresses by name, or what went wrong."""
        if self._inner.traits.temporary_host_keys and self._machines.logins is None:
            return {it.name: HostError(it.machine, "no key to log in with") for it in machines}
        return self._machines.list_hosts(machines, run_id)

    def _client_machines(self, run_id: str) -> list[Host]:
        """The machines of clients, as they are logged in to."""
        machines = [it for it in self._inner.machines(run_id) if it.role is not Role.SERVER]
        return self._taking.pinned(machines)

    def interruptions(self, run_id: str) -> Sequence[Interruption]:
        """Hosts that are taken back with their machine, and the server; see `SpotProvider`."""
        return [
            replace(notice, host=host, reason=reason)
            for notice in cast(SpotProvider, self._inner).interruptions(run_id)
            for host, reason in self._concerned(notice)
        ]

    def _concerned(self, notice: Interruption) -> Iterator[tuple[str, str]]:
        """The hosts that a notice concerns, each with the reason."""
        clients = self._places.clients_on(notice.host)
        yield from ((name, f"{notice.host}: {notice.reason}") for name in clients)
        if not clients:
            yield notice.host, notice.reason

    def unasked(self, run_id: str = "", known: Sequence[Host] = ()) -> Sequence[UnaskedHost]:
        """Machines of a run that do not answer, with each known host that is on one."""
        return cast(AskingProvider, self._inner).unasked(run_id, known)

    def residue(self, run_id: str) -> Sequence[str]:
        """The machines that clients are on, whether they have hosts or not, and what else there is."""
        known = {it.name: it.machine for it in self._client_machines(run_id)}
        listed = [it for it in self._inner.hosts(run_id) if it.role is not Role.SERVER]
        machines = [f"machine {known.get(it.name, it.identity)}" for it in listed]
        return [*machines, *self._inner.residue(run_id)]

    # -- ending --------------------------------------------------------------------------------

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """End some hosts of a run; their machines stay the run's."""
        report = self._inner.terminate(run_id, [it for it in names if not is_client(it)])
        clients = [name for name in names if is_client(name)]
        wanted = {self._places.machine_of(name) for name in clients}
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
        self._taking.forget()
        self._preparing.forget()
        return self._inner.release(run_id)
