"""Links of a run's hosts: refused before launch where they cannot be had, and in force while it measures.

They are put in force right before the tests of a run or a block and lifted right after them, so that
hosts are configured, switched and read through the network as it is. What the links have counted is
then in raw/controller/links.json, beside what they were to be.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import cast

from perfkit.campaign.links_over_ssh import MEASURED, LinksOverSsh
from perfkit.campaign.open_run import OpenRun
from perfkit.errors import ConfigError, ProviderError, StageError
from perfkit.fleet.provider import LinkingProvider, Provider
from perfkit.model import Host, HostLink, Role, host_names
from perfkit.runs import folder
from perfkit.settings import variants
from perfkit.settings.links import format_link, format_links
from perfkit.settings.parameters import Settings


def require(settings: Settings, provider: Provider) -> None:
    """Refuse links that the hosts of this run cannot have.

    Args:
        settings: Fitted to the provider, of no variant.

    Raises:
        ConfigError: with what to write, or to install, in their place.
    """
    for variant in variants.load(settings):
        links = variants.applied(settings, variant).links
        is_own = bool(variant.links) and len(settings.parameters.link) < 2
        _require_one(
            settings, provider, links, variants.section(variant) if is_own else "parameters"
        )


def _require_one(
    settings: Settings, provider: Provider, links: Mapping[str, HostLink], where: str
) -> None:
    if not any(link != HostLink() for link in links.values()):
        return
    names = {name for name, _ in host_names(settings.parameters.most_clients)}
    for side in links:
        if side not in (*Role, *names):
            last = max(names - {Role.SERVER})
            remedy = f"name a client (the last is {last}), server, client or both"
            raise ConfigError(where, "link", format_links(links), f"no host {side}", remedy)
    if not provider.traits.can_link:
        _require_leave(settings, provider, links, where)
    elif why := cast(LinkingProvider, provider).check_links(links.values()):
        problem, _, remedy = why.partition("; ")
        raise ConfigError(where, "link", format_links(links), problem, remedy)


def _require_leave(
    settings: Settings, provider: Provider, links: Mapping[str, HostLink], where: str
) -> None:
    """See that hosts which are not ours to change may be changed."""
    problem, remedy = "", "use local hosts in namespaces (provider=local, as root), or leave it out"
    if provider.name == "local":
        problem = "these hosts have no network of their own"
    elif provider.traits.per_machine > 1:
        problem = "no links are built yet for clients that share machines"
        remedy = "leave link out, or per_machine"
    elif not settings.parameters.link_real_hosts:
        problem = f"hosts of provider {provider.name} are given links only when that is asked for"
        remedy = "give link_real_hosts too (--link-real-hosts, or -p link_real_hosts yes)"
    elif any(link.loss_ratio for link in links.values()):
        problem = f"hosts of provider {provider.name} can have a rate and a delay, no loss"
    if problem:
        raise ConfigError(where, "link", format_links(links), problem, remedy)


def links_of(links: Mapping[str, HostLink], hosts: Iterable[Host]) -> dict[str, HostLink]:
    """The link of each host that has one: that of its name, else that of its role."""
    found = {host.name: links.get(host.name, links.get(host.role)) for host in hosts}
    return {name: link for name, link in found.items() if link is not None and link != HostLink()}


@contextlib.contextmanager
def in_force(session: OpenRun, *, are_there: bool = False) -> Iterator[Callable[[float], None]]:
    """Meanwhile, have the hosts of a run the links of its settings, and then say what they counted.

    Args:
        are_there: They were put in force by a process that died; what they count goes on.

    Yields:
        What is to be told the time from T0 now and then, to tell the counts of tests apart.

    Raises:
        StageError: they cannot be put in force.
    """
    provider: LinkingProvider | LinksOverSsh
    if session.provider.traits.can_link:
        provider = cast(LinkingProvider, session.provider)
    elif session.settings.parameters.link_real_hosts:
        provider = LinksOverSsh(session)
    else:
        yield lambda _t_s: None
        return
    links = _Links(session, provider)
    try:  # from here on: whoever is interrupted while links are put on takes them off as well
        if not are_there:
            links.put_on()
        yield links.look
        links.keep()
    finally:
        with contextlib.suppress(ProviderError):  # the hosts are gone, and their links with them
            provider.set_links(session.fleet_id, {})


class _Links:
    """The links of a run's hosts, and what the server's has counted when each test was over."""

    def __init__(self, session: OpenRun, provider: LinkingProvider | LinksOverSsh) -> None:
        self._session, self._provider = session, provider
        self._wanted = links_of(session.settings.links, session.inventory.hosts(*MEASURED))
        self._left = list(session.slots) if Role.SERVER in self._wanted else []
        self._by_test: dict[str, Mapping[str, Mapping[str, int]] | None] = {}

    def put_on(self) -> None:
        try:
            self._provider.set_links(self._session.fleet_id, self._wanted)
        except ProviderError as exc:
            raise StageError(f"measure: links: {exc}", ()) from exc

    def look(self, t_s: float) -> None:
        """Read what was counted, where a test has ended since; nothing where it cannot be read."""
        while self._left and t_s >= self._left[0].end_s:
            slot = self._left.pop(0)
            self._by_test[slot.name] = None
            if self._left and t_s >= self._left[0].start_s:
                continue  # what is counted by now is also of the next test
            with contextlib.suppress(ProviderError):  # the reading at the end says why
                said = self._provider.link_counters(self._session.fleet_id, [Role.SERVER])
                self._by_test[slot.name] = said.get(Role.SERVER, {})

    def keep(self) -> None:
        """Write what the links were to be, and what they have counted."""
        if not self._wanted:
            return
        why, counted = "", dict[str, Mapping[str, Mapping[str, int]]]()
        try:
            counted = dict(self._provider.link_counters(self._session.fleet_id))
        except ProviderError as exc:
            why = str(exc)
        hosts = {
            name: {"link": format_link(link), **asdict(link), **counted.get(name, {})}
            for name, link in self._wanted.items()
        }
        self.look(math.inf)
        found = {"hosts": hosts, "server_after": self._by_test, "not_read": why}
        folder.write_json(self._session.run.links_path, found)  # which makes its folder
