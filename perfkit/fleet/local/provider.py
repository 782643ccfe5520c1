"""The local provider: hosts on this one machine, with root in namespaces, without on loopback.

`isolation` says which: `namespaces` are real hosts to everyone who connects (own network, root,
processes, sshd, cron); `loopback` is one sshd per host on 127.0.0.1 as the current user, for
machines where there is neither root nor passwordless sudo; `auto` takes the first where it can be
had. Listing and ending work on both, whatever was chosen, by the tags of `perfkit.fleet.local.tags`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import perfkit
from perfkit.errors import ConfigError, ProviderError, did_you_mean
from perfkit.fleet import shaping
from perfkit.fleet.local import (
    bridges,
    cleanup,
    limits,
    loopback,
    loopback_folders,
    machine_view,
    namespaces,
    tags,
    tools,
    userns,
)
from perfkit.fleet.provider import (
    LaunchRequest,
    ListedHost,
    ReleaseReport,
    Traits,
    check_request,
    check_size,
)
from perfkit.model import Host, HostLink, Role

ISOLATIONS = ("auto", tags.NAMESPACES, tags.LOOPBACK)
MAX_HOSTS = {  # in a run; more has not been tried
    tags.NAMESPACES: bridges.MAX_HOSTS,
    tags.LOOPBACK: 1_001,
}

_LOOPBACK_PROGRAMS = ("sshd", "sleep")


class LocalProvider:
    """Makes hosts on this machine; see the module's docstring.

    Args:
        isolation: One of `ISOLATIONS`.
        hidden: Folders that hosts must not see, beyond homes and the project: where runs are kept.
        programs: What the run needs on its hosts; they have this machine's programs.
        ports: TCP ports the run's servers listen on; loopback hosts share this machine's.
        config_dir: Told to every provider; this one has no file there.

    Attributes:
        isolation: What was chosen, never `auto`.
        notice: One plain sentence about the hosts, for people; says what `loopback` cannot do.
    """

    name = "local"

    def __init__(
        self,
        isolation: str = "auto",
        hidden: Sequence[str | Path] = (),
        programs: Sequence[str] = (),
        ports: Sequence[int] = (),
        config_dir: Path | None = None,
    ) -> None:
        if isolation not in ISOLATIONS:
            raise ConfigError(
                "parameters",
                "isolation",
                isolation,
                "no such isolation",
                did_you_mean(isolation, ISOLATIONS),
            )
        obstacle = namespaces.why_not() if isolation == "auto" else None
        self.isolation = (
            isolation if isolation != "auto" else (tags.LOOPBACK if obstacle else tags.NAMESPACES)
        )
        self._hidden = _hidden_folders(hidden)
        self._programs, self._ports = tuple(programs), tuple(ports)
        self._n_hosts = 0  # as many as a run was looked at for
        in_namespaces = self.isolation == tags.NAMESPACES
        self.notice = _notice(self.isolation, obstacle)
        self.traits = Traits(
            costs_money=False,
            shared_cpu=True,
            can_tunnel=in_namespaces and Path("/dev/net/tun").exists(),
            max_hosts=MAX_HOSTS[self.isolation],
            can_link=in_namespaces,
            can_ipv6=in_namespaces,
        )

    def preflight(self, n_hosts: int) -> None:
        """Refuse now what cannot work: number, programs, privileges, kernel, memory, disk.

        Raises:
            ConfigError: more hosts than a run can have.
            ProviderError: something is missing; the message says how to mend it.
        """
        check_size(n_hosts, self.traits, "a local run")
        self._n_hosts = n_hosts
        in_namespaces = self.isolation == tags.NAMESPACES
        own = tools.HOST_TOOLS if in_namespaces else _LOOPBACK_PROGRAMS
        _require_programs((*own, *self._programs))
        if in_namespaces:
            obstacle = namespaces.why_not() or userns.why_not(n_hosts)
            if obstacle:
                remedy = "" if "; " in obstacle else "; run as root, allow sudo without password"
                raise ProviderError(
                    f"isolation=namespaces cannot be had: {obstacle}{remedy}, "
                    "or set isolation=loopback (no tunnels)"
                )
            limits.require_kernel(n_hosts)
            namespaces.probe()
        else:
            loopback_folders.check(n_hosts)
            loopback.check_ports(self._ports)
        limits.require_memory(n_hosts)

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Make the hosts of one batch; see `perfkit.fleet.provider.Provider.launch`.

        Side effects: starts processes and, in namespaces, makes one network interface, all of
        which end at `request.expires_utc`.

        Raises:
            LaunchError: none could be made, or the request is not one.
        """
        check_request(request)
        if self.isolation == tags.NAMESPACES:
            return namespaces.launch(
                request,
                self._hidden,
                can_tunnel=self.traits.can_tunnel,
                n_hosts=self._n_hosts,
            )
        return loopback.launch(request)

    def check_links(self, links: Iterable[HostLink]) -> str:
        """Why hosts could not have one of these links; see `perfkit.fleet.provider.LinkingProvider`."""
        needs = list(dict.fromkeys(need for link in links for need in shaping.needs_of(link)))
        return namespaces.probe_links(needs) if needs else ""

    def set_links(self, run_id: str, links: Mapping[str, HostLink]) -> None:
        """Give hosts links, and all others of the run none.

        Raises:
            LaunchError: a host is not there, or the kernel refuses.
        """
        wanted = {name: asdict(link) for name, link in links.items()}
        namespaces.ask_keeper(run_id, {"links": wanted})

    def link_counters(
        self, run_id: str, names: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """What the links of a run have counted, by host and direction.

        Raises:
            LaunchError: it cannot be read.
        """
        answer = namespaces.ask_keeper(run_id, {"counted": list(names)})
        counted: Mapping[str, Mapping[str, Mapping[str, int]]] = answer["counted"]
        return counted

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        """List the hosts of one run, or of all, of either isolation, from the process table."""
        return [
            ListedHost(
                run_id=tagged.run_id,
                name=tagged.fields["name"],
                role=Role(tagged.fields["role"]),
                address=tagged.fields["address"],
                expires_utc=datetime.fromtimestamp(float(tagged.fields["expires"]), UTC),
                owner=tagged.fields["owner"],
                identity=f"pid {tagged.pid}",
                port=int(tagged.fields.get("port", "22")),
            )
            for tagged in tags.scan(run_id)
            if tagged.kind == tags.HOST
        ]

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """End some hosts of a run; names that are not there are gone already."""
        if not names:
            return ReleaseReport()
        return ReleaseReport.joined([namespaces.end(run_id, names), loopback.end(run_id, names)])

    def release(self, run_id: str) -> ReleaseReport:
        """End all of a run, its network included; safe to repeat and after any crash.

        Raises:
            ReleaseError: no rights to end root's processes.
        """
        return ReleaseReport.joined([namespaces.end(run_id), loopback.end(run_id)])

    def runs(self) -> Sequence[str]:
        """Ids of all runs that have processes or folders here."""
        return sorted({tagged.run_id for tagged in tags.scan()} | set(loopback.runs()))

    def residue(self, run_id: str) -> Sequence[str]:
        """Name what else carries the tag: keepers, interfaces, folders of loopback hosts."""
        keepers = [
            f"keeper of {tagged.run_id} (pid {tagged.pid})"
            for tagged in tags.scan(run_id)
            if tagged.kind == tags.KEEPER
        ]
        return [*keepers, *cleanup.uplinks(run_id), *loopback.residue(run_id)]


def _notice(isolation: str, obstacle: str | None) -> str:
    if isolation == tags.NAMESPACES:
        return (
            "Local hosts are namespaces of this machine, each with its own network, root, sshd "
            "and cron; processor and clock are the machine's."
        )
    because = f" ({obstacle})" if obstacle else ""
    return (
        f"Local hosts are only sshd processes on 127.0.0.1{because}: they share this machine's "
        "network, files and user, and cannot run tunnel tests."
    )


def _require_programs(names: tuple[str, ...]) -> None:
    missing = tools.missing(names)
    if missing:
        raise ProviderError(
            f"local hosts need {', '.join(missing)}, not installed here; "
            f"run: {tools.install_command(missing)}"
        )


def _hidden_folders(more: Sequence[str | Path]) -> list[Path]:
    """Homes of people, the project if we run from a clone, its environment, and `more`."""
    source = Path(perfkit.__file__).resolve().parents[1]
    folders = [Path(folder).resolve() for folder in more]
    if (source / "pyproject.toml").exists():
        folders.append(source)
    if sys.prefix != sys.base_prefix:
        folders.append(Path(sys.prefix).resolve())
    return sorted({*folders, *machine_view.homes()})
