"""The provider of hosts that exist already: taken, used, cleaned, never launched and never ended.

A host is taken by putting a tag file into perfkit's folder there, which only one run can do; the
tag says whose run it is and until when. Releasing removes everything the run put on the host; so
does, at the run's expiry, a small process on the host itself (`host_agent.sh`). What is listed is
what the tags on the hosts say: there is no local state.

The hosts of the file take the run's names in its order: its first server becomes `server`, its
clients `client-001` and so on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from perfkit.errors import ConfigError, LaunchError, PerfkitError, ProviderError
from perfkit.fleet.parallel import on_all
from perfkit.fleet.provider import (
    RUN_ID_PATTERN,
    HostRequest,
    LaunchRequest,
    ListedHost,
    ReleaseReport,
    Traits,
    UnaskedHost,
    check_request,
)
from perfkit.fleet.silent_hosts import describe
from perfkit.fleet.static import hostlist
from perfkit.fleet.static.host_agents import HostAgents, login_fault
from perfkit.fleet.static.hostlist import Machine
from perfkit.fleet.static.polling import Poller
from perfkit.fleet.static.tags import Tag, find_tag, obstacles
from perfkit.model import Host, Role
from perfkit.vpn.base import Vpn

# What the recipes need; they would install it, and nobody would take it away again.
TOOLS = ("crontab", "ip", "iperf", "ping", "python3", "setsid", "timeout")
SAME = "it is the same machine as"


class StaticProvider:
    """Uses the machines of config/static.conf; see the module's docstring.

    Args:
        config_dir: Folder with static.conf and ssh.conf.
        vpns: Of the run that hosts are taken for, one or, of variants, several; none: no run.

    Raises:
        NotSetUpError: there is no static.conf.
        ConfigError: it is wrong.
    """

    name = "static"

    def __init__(self, config_dir: Path, vpns: Sequence[Vpn] = ()) -> None:
        self._list = hostlist.load(config_dir)
        self._workdir = self._list.common.workdir
        self.packed_pool = self._list.common.packed_pool
        self._vpns = vpns
        self._agents = HostAgents()
        self._by_name = {machine.name: machine for machine in self._list.hosts}
        self._poller = Poller(self._list.hosts, self._agents, self._workdir)
        self.traits = Traits(
            costs_money=False,
            shared_cpu=False,
            asks_hosts=True,
            can_tunnel=self._list.common.tunnel,
            max_hosts=1 + len(self._list.of_role(Role.CLIENT)),
        )
        self.notice = (
            f"Hosts are the {len(self._list.hosts)} machines of static.conf: they are cleaned at the "
            "end and stay; the first of each role are taken first."
        )

    # -- before anything is touched ------------------------------------------------------------

    def preflight(self, n_hosts: int) -> None:
        """Log in to every host the run would use and look; nothing there is changed.

        Raises:
            ConfigError: more hosts than the file has.
            ProviderError: every host that cannot be used, each with what is wrong.
        """
        if not 2 <= n_hosts <= self.traits.max_hosts:
            raise ConfigError(
                "parameters",
                "clients",
                n_hosts - 1,
                f"with the server a run of {n_hosts} hosts; static.conf has "
                f"{self.traits.max_hosts}, two are the least",
                "ask for as many as there are, or name more",
            )
        problems = list(self._obstacles(self._first(n_hosts)))
        if problems:
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise ProviderError(f"{len(problems)} problems on the hosts of static.conf:{lines}")

    def _first(self, n_hosts: int) -> list[Machine]:
        """The machines that are taken first."""
        clients = self._list.of_role(Role.CLIENT)[: n_hosts - 1]
        return [*self._list.of_role(Role.SERVER)[:1], *clients]

    def check_packing(self, per_machine: int, memory_bytes: int) -> None:
        """Nothing: all is asked on the machines themselves."""

    def open_ways(self, run_id: str) -> Mapping[str, str]:
        """Nothing: they are in one network, and nobody there looks at addresses."""
        return {}

    def candidates(self, n_hosts: int) -> Sequence[Host]:
        """The machines that a run of so many would take; see `perfkit.fleet.packable`."""
        return [self._host(machine, machine.name) for machine in self._first(n_hosts)]

    def _devices(self) -> tuple[str, ...]:
        """Network devices that the run's VPNs make on hosts."""
        return tuple(sorted({it for vpn in self._vpns for it in vpn.traits.devices.values()}))

    def _obstacles(self, machines: Sequence[Machine]) -> Iterator[str]:
        """Everything that is wrong with some machines, one line each."""
        places = {m.name: m for machine in machines for m in (machine.jump, machine) if m}
        faults = {name: fault for name, place in places.items() if (fault := login_fault(place))}
        yield from (f"{name}: {fault}" for name, fault in faults.items())
        ready = [m for m in machines if not {m.name, m.jump.name if m.jump else ""} & {*faults}]
        vpns = self._vpns if self.traits.can_tunnel else ()
        programs = sorted({it.name for vpn in vpns for it in vpn.programs if not it.unless})
        wanted = (*TOOLS, *programs, *(f"nic:{device}" for device in self._devices()))
        found = on_all(
            ready, lambda m: self._agents.ask(m, "look", self._workdir, *wanted, files=True)
        )
        first: dict[str, str] = {}
        for name, answer in found.items():
            if isinstance(answer, PerfkitError):
                yield str(answer)
            elif (other := first.setdefault(answer.get("machine", (name,))[0], name)) != name:
                yield f"{name}: {SAME} {other}: name it once"
            else:
                yield from (
                    f"{name}: {p}" for p in obstacles(answer, self._workdir, tunnel=bool(vpns))
                )

    # -- taking --------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Take a free machine of its role for each host of the batch.

        Side effects: on each, perfkit's folder with the tag, and a process that cleans up at
        `request.expires_utc`.

        Raises:
            LaunchError: a machine is taken by another run, which is named; or none could be had.
        """
        check_request(request)
        self._poller.forget()
        tags = self._poller.tags()
        mine = {tag.name: name for name, tag in tags.items() if tag.run_id == request.run_id}
        ended = {name for machine in mine.values() for name in tags[machine].ended}
        wanted = [h for h in request.hosts if h.name not in mine and h.name not in ended]
        taken = {name for name, tag in tags.items() if tag.is_live}
        chosen = self._choose(request, wanted, taken)
        made = self._take(request, chosen)
        errors = {name: it for name, it in made.items() if isinstance(it, PerfkitError)}
        reasons = {chosen[name].name: f"{type(it).__name__}: {it}" for name, it in errors.items()}
        for host in request.hosts:
            if host.name in mine and tags[mine[host.name]].token != request.token:
                reasons[host.name] = f"{mine[host.name]} has that name in this run already"
            elif host.name in ended and host.name not in mine:
                reasons[host.name] = "it was released earlier in this run"
        for name, reason in reasons.items():
            request.record("launch-shortfall", name=name, reason=reason)
        hosts = [host for host in made.values() if isinstance(host, Host)]
        if errors and not hosts and not mine:
            raise LaunchError("; ".join(str(error) for error in errors.values()))
        served = [n for n in mine if tags[mine[n]].token == request.token]
        hosts += [self._host(self._by_name[mine[name]], name) for name in served]
        order = [host.name for host in request.hosts]
        return sorted((h for h in hosts if h.name in order), key=lambda h: order.index(h.name))

    def _choose(
        self, request: LaunchRequest, wanted: Sequence[HostRequest], taken: set[str]
    ) -> dict[str, HostRequest]:
        """A machine for each host: of its role, not taken, the first in the file that answers."""
        # A machine of the run that died would be asked for its own successor.
        silent = self._poller.silent()
        chosen: dict[str, HostRequest] = {}
        for host in wanted:
            machines = sorted(
                (m.name for m in self._list.of_role(host.role)), key=silent.__contains__
            )
            free = [name for name in machines if name not in taken and name not in chosen]
            if not free:
                tags = self._poller.tags()
                holders = [
                    tags[name].says(name)
                    for name in machines
                    if name in tags and tags[name].run_id != request.run_id
                ]
                reason = "; ".join(holders) or f"the file has {len(machines)}"
                raise LaunchError(
                    f"no {host.role} in static.conf is free for {host.name}, so none of this batch "
                    f"is taken: {reason}"
                )
            chosen[free[0]] = host
        return chosen

    def _take(
        self, request: LaunchRequest, chosen: dict[str, HostRequest]
    ) -> dict[str, Host | PerfkitError]:
        """Tag the chosen machines.

        Raises:
            LaunchError: another run was quicker; what this call had taken is free again.
        """
        machines = [self._by_name[name] for name in chosen]

        def claim(machine: Machine) -> Host:
            return self._claim(machine, chosen[machine.name], request, tuple(chosen))

        made = on_all(machines, claim)
        self._poller.forget()
        conflicts = [str(error) for error in made.values() if isinstance(error, LaunchError)]
        if conflicts:
            self._clean([m for m in machines if isinstance(made[m.name], Host)], request.run_id)
            raise LaunchError("; ".join(conflicts))
        return made

    def _claim(
        self,
        machine: Machine,
        wanted: HostRequest,
        request: LaunchRequest,
        members: tuple[str, ...],
    ) -> Host:
        tag = Tag(
            run_id=request.run_id,
            name=wanted.name,
            role=wanted.role,
            token=request.token,
            owner=request.owner,
            expires_utc=request.expires_utc,
            members=members,
            devices=self._devices(),
            carries_hosts=request.packed is not None and wanted.role is Role.CLIENT,
        )
        expires = str(int(request.expires_utc.timestamp()))
        answer = self._agents.ask(
            machine, "claim", self._workdir, request.run_id, machine.user, expires, tag.to_text()
        )
        held = find_tag(answer)
        if held is None:
            problems = "; ".join(obstacles(answer, self._workdir, tunnel=False))
            raise ProviderError(f"{machine.name}: {problems or 'its host agent gave no reason'}")
        if held.run_id != request.run_id:
            raise LaunchError(held.says(machine.name))
        if held.name != wanted.name:
            raise ProviderError(f"{machine.name}: {SAME} {held.name}, which this run has already")
        return self._host(machine, wanted.name)

    def _host(self, machine: Machine, name: str) -> Host:
        return machine.to_host(
            name,
            workdir=self._workdir,
            can_tunnel=self.traits.can_tunnel,
            machine=machine.name,
            inside_address=machine.traffic_address or _only_ipv6(machine.address),
        )

    # -- listing -------------------------------------------------------------------------------

    def runs(self) -> Sequence[str]:
        """Ids of all runs that have taken a host; hosts that do not answer are logged."""
        return sorted({tag.run_id for tag in self._poller.tags().values()})

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        """The hosts that runs have taken, as the tags on them say."""
        return [
            ListedHost(
                run_id=tag.run_id,
                name=tag.name,
                role=tag.role,
                address=self._by_name[machine].address,
                expires_utc=tag.expires_utc,
                owner=tag.owner,
                identity=str(self._by_name[machine]),
                port=self._by_name[machine].port,
                n_packed=tag.n_packed,
            )
            for machine, tag in self._poller.tags(run_id).items()
        ]

    def machines(self, run_id: str) -> Sequence[Host]:
        """The machines that a run has taken; see `perfkit.fleet.packable`."""
        tags = self._poller.tags(run_id)
        return [self._host(self._by_name[machine], tag.name) for machine, tag in tags.items()]

    def residue(self, run_id: str) -> Sequence[str]:
        """Nothing: all that a run puts on a host is cleaned with the host."""
        return ()

    def unasked(self, run_id: str = "", known: Sequence[Host] = ()) -> Sequence[UnaskedHost]:
        """Machines that do not answer now: the known hosts', and members by the tags seen so far.

        Without a run: all machines of static.conf that do not answer.
        """
        silent = self._poller.silent()
        found = [it for host in known if (it := self._unasked_host(host, silent))]
        names = self._poller.members(run_id) if run_id else silent.keys()
        shown = {host.machine for host in found}
        more = [it for it in silent if it in names and it not in shown]
        return [*found, *(UnaskedHost(machine=it, reason=silent[it]) for it in more)]

    def _unasked_host(self, host: Host, silent: Mapping[str, str]) -> UnaskedHost | None:
        """One host that a run had; None when its machine answers."""
        at = host.jump if host.jump and host.jump.name == host.machine else host  # packed onto it
        machine = next(
            (m for m in self._list.hosts if (m.address, m.port) == (at.address, at.port)),
            next((m for m in self._list.hosts if m.host_key == at.host_key), None),
        )
        if machine is None:
            return UnaskedHost(
                name=host.name,
                machine=f"{host.name} ({host.address})",
                reason=f"{hostlist.FILE} no longer names it",
            )
        if machine.name not in silent:
            return None
        return UnaskedHost(name=host.name, machine=machine.name, reason=silent[machine.name])

    # -- cleaning ------------------------------------------------------------------------------

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """Clean some hosts of a run and give them free; the machines go on."""
        tags = self._poller.tags(run_id)
        going = [self._by_name[machine] for machine, tag in tags.items() if tag.name in names]
        staying = [self._by_name[machine] for machine, tag in tags.items() if tag.name not in names]
        report = self._clean(going, run_id)
        if going:  # so that the same launch, asked again, does not take them again
            line = f"ended={quote(' '.join(tags[machine.name].name for machine in going))}"
            on_all(staying, lambda m: self._agents.ask(m, "note", self._workdir, run_id, line))
            self._poller.forget()
        return report

    def release(self, run_id: str) -> ReleaseReport:
        """Remove from every host what the run put there; safe to repeat and after any crash."""
        self._poller.forget(silent_too=True)
        done = self._clean([self._by_name[name] for name in self._poller.tags(run_id)], run_id)
        silent = describe(self.unasked(run_id), run_id) if RUN_ID_PATTERN.fullmatch(run_id) else []
        return replace(done, leaked=(*done.leaked, *silent))

    def _clean(self, machines: Sequence[Machine], run_id: str) -> ReleaseReport:
        if not RUN_ID_PATTERN.fullmatch(run_id):
            return ReleaseReport()
        done = on_all(
            machines, lambda m: self._agents.ask(m, "clean", self._workdir, run_id, m.user)
        )
        self._poller.forget()
        leaked: list[str] = []
        released: list[str] = []
        freed: list[str] = []
        for name, answer in done.items():
            if isinstance(answer, PerfkitError):
                leaked.append(str(answer))
                continue
            leaked += [f"{name}: {left}" for left in answer.get("left", ())]
            released += " ".join(answer.get("cleaned", ())).split()  # several that were packed
            freed += [f"machine {name}" for _ in answer.get("freed", ())]
        return ReleaseReport(leaked=tuple(leaked), released=tuple(released), besides=tuple(freed))


def _only_ipv6(name: str) -> str:
    """The address of a name that has none of IPv4, which programs ask for first; else empty."""
    try:
        found = {(family, address[0]) for family, *_, address in socket.getaddrinfo(name, None)}
    except OSError:  # it is not known here, or only to the jump host
        return ""
    families = {family for family, _ in found}
    return min(str(address) for _, address in found) if families == {socket.AF_INET6} else ""
