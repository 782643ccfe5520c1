"""The contract of providers of hosts, what they say about themselves, and how one is found by name.

A provider is any object with the methods of `Provider`. Third parties register a factory under
the entry-point group ``perfkit.providers``; the built-in ones use the same door.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Any, Protocol, cast, runtime_checkable

from perfkit.errors import ConfigError, LaunchError, did_you_mean
from perfkit.model import Host, HostLink, Role
from perfkit.units import format_count, format_some

ENTRY_POINT_GROUP = "perfkit.providers"

PACKED_BITS = 20  # of a pool for packed hosts: a network of so many bits for each machine
RUN_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
HOST_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # a host name's label, RFC 1123
_NAMED = 5  # so many in a line, then "and N more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a provider's hosts are like; the other rooms ask this, never the provider's class.

    Attributes:
        costs_money: Launching is paid for; caps and confirmation apply.
        shared_cpu: All hosts run on the same processors, so a host's CPU is the machine's.
        can_tunnel: Hosts may open /dev/net/tun.
        max_hosts: More than these cannot be had in one run.
        temporary_host_keys: A new host shows a key that its whole batch has seen; it gets its own,
            `HostRequest.host_key`, at the first login, which accepts no other than these two.
        renewable: The end of its hosts can be moved: it has the method of `RenewableProvider`.
        interruptible: It may take a host back: it has the method of `SpotProvider`.
        asks_hosts: Its listing is what each host answers, so a host that does not answer is not in
            it and may still be there: it has the method of `AskingProvider`.
        can_link: Its hosts can have links: it has the methods of `LinkingProvider`.
        can_ipv6: Its hosts have an address of IPv6 too, if `LaunchRequest.with_ipv6` asks for it.
        per_machine: So many clients at most are on one machine (`Host.machine`) and share its
            processors, clock and NIC; the server has one of its own. 1: all have.
        settle_s: Longest time that something asked for may take to show up in a listing.
        ready_s: Longest time from launched to reachable.
        batches_at_once: Launch calls that may be under way at the same time.
    """

    costs_money: bool
    shared_cpu: bool
    can_tunnel: bool
    max_hosts: int
    temporary_host_keys: bool = False
    renewable: bool = False
    interruptible: bool = False
    asks_hosts: bool = False
    can_link: bool = False
    can_ipv6: bool = False
    per_machine: int = 1
    settle_s: float = 0.0
    ready_s: float = 60.0
    batches_at_once: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRequest:
    """One host to make. Its SSH host key is made by the controller, so it is known beforehand."""

    name: str
    role: Role
    host_key: str  # public, "ssh-ed25519 AAAA…"
    host_key_private: str = field(repr=False)  # OpenSSH PEM


def _forget(_kind: str, **_fields: Any) -> None:
    """A record that nobody keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """A batch of hosts. The same token again makes nothing twice and returns the same hosts.

    Attributes:
        token: Unique to this batch; journalled before the first call.
        run_id: Goes into the tag of everything that is made.
        expires_utc: Hosts end by themselves at this moment, whoever is still alive.
        authorized_key: Public key of the run; the only one that may log in.
        record: Writes an event to the run's journal; it is on the disk when this returns. A
            provider whose calls cost money records `launch-call` (field `call`, unique) before
            each and `launch-call-result` (`call`, `made`) after it; and `launch-shortfall`
            (`reason`, and `name` if it is one host's own, or `hosts` with the reason of each by
            name) when it returns fewer hosts than it was asked for.
        earlier: The fields of `launch-call` records of this token, from before a crash, that did
            not end in a failure: to be found again or sent again, before anything new is asked.
        with_ipv6: Hosts are to have an address of IPv6 as well, `Host.ipv6_address`. Only providers
            whose traits say `can_ipv6` are asked for it.
        packed: Clients on each machine at most, and of the run: the hosts asked for, but the server, are
            machines that fill one after the other; each one's number, from 1, ends its name.
    """

    token: str
    run_id: str
    owner: str
    expires_utc: datetime
    authorized_key: str
    hosts: tuple[HostRequest, ...]
    record: Callable[..., object] = field(default=_forget, repr=False, compare=False)
    earlier: tuple[Mapping[str, Any], ...] = ()
    with_ipv6: bool = False
    packed: tuple[int, int] | None = None


def check_request(request: LaunchRequest) -> None:
    """Refuse what must not go into tags, command lines, host names and paths, or would end at once.

    Raises:
        LaunchError: the run's id, a name, or the expiry is wrong.
    """
    names = [host.name for host in request.hosts]
    if not RUN_ID_PATTERN.fullmatch(request.run_id):
        raise LaunchError(f"run id {request.run_id!r}: letters, digits, '.', '_' and '-' only")
    wrong = [name for name in names if not HOST_NAME_PATTERN.fullmatch(name)]
    if wrong or len(set(names)) != len(names) or not names:
        raise LaunchError(
            f"run {request.run_id}: host names must be distinct labels of lower-case letters, "
            f"digits and '-', got {wrong or names}"
        )
    if request.expires_utc <= datetime.now(UTC):
        raise LaunchError(f"run {request.run_id}: expired already at {request.expires_utc}")


def check_size(n_hosts: int, traits: Traits, where: str) -> None:
    """Refuse a number of hosts that no run can have.

    Raises:
        ConfigError: it is none, or more than the provider makes.
    """
    if not 1 <= n_hosts <= traits.max_hosts:
        problem = f"{where} has 1 to {traits.max_hosts} hosts, the server among them"
        raise ConfigError("parameters", "clients", n_hosts, problem, "ask for fewer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHost:
    """A host as the provider's own listing shows it, by tag, with no local state.

    Attributes:
        n_packed: Hosts that are packed onto it, as far as it says; None: it is one host itself.
    """

    run_id: str
    name: str
    role: Role
    address: str
    expires_utc: datetime
    owner: str
    identity: str  # what the provider calls it: "pid 1234", "i-0abc"
    port: int = 22
    n_packed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReport:
    """What a release did. What it could not release comes first.

    Attributes:
        leaked: What is still there, hosts or not.
        released: Hosts that are gone.
        besides: What has gone and is no host: keepers, keys, groups.
    """

    leaked: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()

    @classmethod
    def joined(cls, reports: Sequence[ReleaseReport]) -> ReleaseReport:
        """What several releases did, as one."""
        return cls(
            leaked=tuple(what for report in reports for what in report.leaked),
            released=tuple(what for report in reports for what in report.released),
            besides=tuple(what for report in reports for what in report.besides),
        )

    def summary(self, *, of: str = "") -> str:
        """What has gone, in words: `3 hosts of x; also keeper (pid 7)`."""
        hosts = f"{format_count(len(self.released), 'host')}{of and f' of {of}'}"
        return f"{hosts}; also {format_some(self.besides, _NAMED)}" if self.besides else hosts

    def __str__(self) -> str:
        lines = [f"STILL THERE: {what}" for what in self.leaked]
        return "\n".join([*lines, f"released {self.summary()}"])

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in str(self).splitlines())


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """What a run would cost: no bill, the provider's own list price is what counts.

    Attributes:
        usd_per_h: All hosts together.
        worst_usd: If every host lives until it expires.
        lines: How it was reckoned, for people.
        over: The caps of the provider's file that the run would exceed, each in words.
    """

    usd_per_h: float
    worst_usd: float
    lines: tuple[str, ...] = ()
    over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The provider has said that it takes a host back: what it measures from then on is void."""

    host: str
    noticed_utc: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaskedHost:
    """A machine that could not be asked whether it still belongs to a run.

    Attributes:
        machine: What the provider calls it.
        reason: Why it could not be asked.
        name: The host's name in the run; empty where that is not known.
    """

    machine: str
    reason: str
    name: str = ""


@runtime_checkable
class Provider(Protocol):
    """Makes hosts and takes them away again. One contract test runs against every provider."""

    name: str
    traits: Traits
    notice: str  # one plain sentence about its hosts, for people

    def preflight(self, n_hosts: int) -> None:
        """Refuse now, before anything is made, what cannot work: privileges, tools, memory.

        Raises:
            ProviderError, ConfigError: what is missing and the command that mends it.
        """

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        """Make the hosts of one batch, in parallel; return when they run.

        Idempotent by `request.token`; everything made carries the run's tag from its creation.
        A partial result is a normal outcome: the hosts that could be made are returned.

        Raises:
            LaunchError: none could be made.
            LaunchRefusedError: nor can any other batch of this run.
            LaunchUnknownError: it is not known what was made.
        """

    def runs(self) -> Sequence[str]:
        """Ids of all runs that have anything here, hosts or other things; reads no local state."""

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        """List what is really there, by tag, for one run or for all; reads no local state."""

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        """End some hosts of a run; unknown names are fine: they are gone already."""

    def release(self, run_id: str) -> ReleaseReport:
        """End all that carries the run's tag; safe to call twice and after any failure."""

    def residue(self, run_id: str) -> Sequence[str]:
        """Name everything but hosts that carries the run's tag (bridges, keys, groups)."""


class PricedProvider(Provider, Protocol):
    """What a provider with `Traits.costs_money` does besides."""

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        """Reckon what a run would cost; asks for nothing that costs money."""


class RenewableProvider(Provider, Protocol):
    """What a provider with `Traits.renewable` does besides."""

    def expiry(self, run_id: str) -> datetime | None:
        """The last moment in the tags of what a run has, hosts or not; None: it has nothing."""

    def renew(self, run_id: str, expires_utc: datetime) -> str:
        """Move the expiry in the tags of all that a run has; safe to repeat.

        Returns:
            A POSIX sh script that moves the host's own timer, to be run on each host as root.
        """


class SpotProvider(Provider, Protocol):
    """What a provider with `Traits.interruptible` does besides."""

    def interruptions(self, run_id: str) -> Sequence[Interruption]:
        """Hosts of the run that the provider has taken back or is about to."""


class AskingProvider(Provider, Protocol):
    """What a provider with `Traits.asks_hosts` does besides."""

    def unasked(self, run_id: str = "", known: Sequence[Host] = ()) -> Sequence[UnaskedHost]:
        """Machines of a run that do not answer now; without a run: all that do not answer.

        Args:
            known: Hosts of the run, as whoever launched them knows them.
        """


class LinkingProvider(Provider, Protocol):
    """What a provider with `Traits.can_link` does besides."""

    def check_links(self, links: Iterable[HostLink]) -> str:
        """Why hosts could not have one of these, `; ` and the remedy; empty: they could."""

    def set_links(self, run_id: str, links: Mapping[str, HostLink]) -> None:
        """Give hosts links by name, and all others of the run none; counters begin at 0.

        A link is that of the host, in both directions, and ends with it. What a host and the
        controller say to each other passes beside it.

        Raises:
            ProviderError: a host is not there, or what makes links refuses.
        """

    def link_counters(
        self, run_id: str, names: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """What was counted by host and direction (`from_host`, `to_host`).

        Args:
            names: Only of these hosts; empty: of all.

        Returns:
            `carried_bytes`, `carried_packets` and `queue_drops` of a rate; `lost_packets` and
            `passed_packets` of a loss.

        Raises:
            ProviderError: it cannot be read.
        """


ProviderFactory = Callable[..., Provider]


def provider_names() -> list[str]:
    """Names of the registered providers, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def get_provider(name: str, **options: Any) -> Provider:
    """Make the provider registered under `name`; its module is imported only now.

    Every factory is given `config_dir`, the folder where it may have a `<name>.conf`, to be read
    with `perfkit.settings.ini`; `local` has options of its own besides.

    Raises:
        ConfigError: no such provider.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            return cast(ProviderFactory, point.load())(**options)
    raise ConfigError(
        "parameters", "provider", name, "no such provider", did_you_mean(name, provider_names())
    )
