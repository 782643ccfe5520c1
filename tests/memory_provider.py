"""A provider that keeps its hosts in a list: what is above providers can be tested without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from perfkit.fleet.provider import (
    LaunchRequest,
    ListedHost,
    ReleaseReport,
    Traits,
    UnaskedHost,
)
from perfkit.model import Host, Role


class MemoryProvider:
    """Lists what was put into `there`; releases all but the hosts named in `stuck`."""

    name = "memory"
    notice = "Hosts in memory, for tests."

    def __init__(self, *, can_tunnel: bool = True, max_hosts: int = 50) -> None:
        self.there: list[ListedHost] = []
        self.stuck: set[str] = set()
        self.made: dict[str, list[str]] = {}
        self.preflights: list[int] = []
        self.traits = Traits(
            costs_money=False,
            shared_cpu=True,
            can_tunnel=can_tunnel,
            max_hosts=max_hosts,
        )

    def put(self, run_id: str, *names: str, expires_in_s: float = 3600) -> None:
        """Let hosts be there, as if launched by somebody else."""
        expires = datetime.now(UTC) + timedelta(seconds=expires_in_s)
        for name in names:
            self.there.append(
                ListedHost(
                    run_id=run_id,
                    name=name,
                    role=Role.SERVER if name == "server" else Role.CLIENT,
                    address="198.18.0.9",
                    expires_utc=expires,
                    owner="someone",
                    identity=f"memory {name}",
                )
            )

    def preflight(self, n_hosts: int) -> None:
        self.preflights.append(n_hosts)

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Idempotent: what a token had made is returned, and no name is given twice."""
        taken = {host.name for host in self.hosts(request.run_id)}
        if request.token not in self.made:
            self.made[request.token] = [h.name for h in request.hosts if h.name not in taken]
            self.put(request.run_id, *self.made[request.token])
        there = {host.name for host in self.hosts(request.run_id)} & set(self.made[request.token])
        return [
            Host(name=host.name, role=host.role, address="198.18.0.9", host_key=host.host_key)
            for host in request.hosts
            if host.name in there
        ]

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        return [host for host in self.there if run_id in (None, host.run_id)]

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        going = [h for h in self.hosts(run_id) if h.name in names and h.name not in self.stuck]
        self.there = [host for host in self.there if host not in going]
        return ReleaseReport(released=tuple(host.name for host in going))

    def release(self, run_id: str) -> ReleaseReport:
        done = self.terminate(run_id, [host.name for host in self.hosts(run_id)])
        return ReleaseReport(
            released=done.released, leaked=tuple(host.name for host in self.hosts(run_id))
        )

    def runs(self) -> Sequence[str]:
        return sorted({host.run_id for host in self.there})

    def residue(self, run_id: str) -> Sequence[str]:
        return ()


class AskingMemoryProvider(MemoryProvider):
    """Lists what its hosts answer; those in `silent` (name -> why) do not, and are there."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = replace(self.traits, asks_hosts=True)
        self.silent: dict[str, str] = {}

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        return [host for host in super().hosts(run_id) if host.name not in self.silent]

    def runs(self) -> Sequence[str]:
        return sorted({host.run_id for host in self.hosts()})

    def unasked(self, run_id: str = "", known: Sequence[Host] = ()) -> Sequence[UnaskedHost]:
        names = [host.name for host in known] if run_id else list(self.silent)
        return [
            UnaskedHost(
                machine=f"lab-{name}", name=name if run_id else "", reason=self.silent[name]
            )
            for name in names
            if name in self.silent
        ]
