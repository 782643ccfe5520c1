"""Links of a run: refused before launch where they cannot be had, lifted whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from memory_provider import MemoryProvider

from perfkit.campaign import links, phases
from perfkit.campaign import session as sessions
from perfkit.campaign.open_run import OpenRun
from perfkit.errors import ConfigError, LaunchError, StageError
from perfkit.logs.links import read_links
from perfkit.measure.plan import plan
from perfkit.model import Host, HostLink, Role
from perfkit.runs import folder
from perfkit.settings import parameters

HOSTS = [
    Host(name=name, role=role, address="198.18.0.9", host_key="")
    for name, role in (
        ("server", Role.SERVER),
        ("client-001", Role.CLIENT),
        ("client-002", Role.CLIENT),
    )
]


class LinkingProvider(MemoryProvider):
    """Remembers the links that its hosts have."""

    def __init__(self, *, can_link: bool = True, why_not: str = "") -> None:
        super().__init__()
        self.traits = replace(self.traits, can_link=can_link)
        self.why_not, self.refuses, self.looks = why_not, "", 0
        self.links: dict[str, HostLink] = {}
        self.history: list[dict[str, HostLink]] = []

    def check_links(self, links: Iterable[HostLink]) -> str:
        return self.why_not if any(link.delay_s for link in links) else ""

    def set_links(self, run_id: str, links: Mapping[str, HostLink]) -> None:
        if self.refuses:
            raise LaunchError(self.refuses)
        self.links = dict(links)
        self.history.append(self.links)

    def link_counters(
        self, run_id: str, names: Sequence[str] = ()
    ) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        if self.refuses:
            raise LaunchError(self.refuses)
        if names:
            self.looks += 1
            return {name: {"to_host": {"queue_drops": 10 * self.looks}} for name in names}
        return {name: {"to_host": {"lost_packets": 1}} for name in self.links}


def opened(tmp_path: Path, provider: LinkingProvider, link: str) -> OpenRun:
    inventory = SimpleNamespace(hosts=lambda *_: HOSTS)
    run = SimpleNamespace(
        settings=parameters.load({"link": link}),
        provider=provider,
        fleet_id="r",
        slots=plan(parameters.load().tests),
        inventory=inventory,
        run=folder.create(tmp_path, "r", {}),
    )
    return cast(OpenRun, run)


@pytest.mark.parametrize(
    ("link", "chosen", "says"),
    [
        ("100mbit, delay 20ms", {}, "no netem here"),
        ("none; 100mbit, delay 20ms", {}, "no netem here"),
        ("client-011 1mbit", {}, "no host client-011.*the last is client-010"),
        ("client-100 1mbit", {"clients": 100}, ""),
        ("client-0001 1mbit", {"clients": 1000}, ""),
        ("client-001 1mbit", {"clients": 1000}, "no host client-001.*the last is client-1000"),
        ("client-101 1mbit", {"clients": "10,100"}, "no host client-101"),
    ],
)
def test_links_that_hosts_cannot_have_are_refused_with_the_remedy(
    link: str, chosen: dict[str, Any], says: str
) -> None:
    provider = LinkingProvider(why_not="no netem here; modprobe it")
    settings = parameters.load({"link": link, **chosen})
    if not says:
        links.require(settings, provider)
        return
    with pytest.raises(ConfigError, match=f"parameters: link.*{says}"):
        links.require(settings, provider)


def test_hosts_that_may_not_be_changed_are_given_no_link() -> None:
    with pytest.raises(ConfigError, match="hosts of provider memory are given links only when"):
        links.require(parameters.load({"link": "1mbit"}), LinkingProvider(can_link=False))
    links.require(parameters.load(), LinkingProvider(can_link=False))
    links.require(parameters.load({"link": "none"}), LinkingProvider(can_link=False))


def test_a_hosts_own_link_is_nearer_than_that_of_its_role() -> None:
    slow, fast = HostLink(rate_bps=1e6), HostLink(rate_bps=1e9)
    found = links.links_of({"client": fast, "client-002": slow, "server": HostLink()}, HOSTS)
    assert found == {"client-001": fast, "client-002": slow}


def test_links_are_in_force_while_it_measures_and_what_they_counted_is_kept(
    tmp_path: Path,
) -> None:
    provider = LinkingProvider()
    run = opened(tmp_path, provider, "server 20mbit, loss 1%")
    with links.in_force(run):
        assert provider.links == {"server": HostLink(rate_bps=20e6, loss_ratio=0.01)}
    assert provider.links == {}
    kept = run.run.load_json(run.run.links_path)
    assert kept["hosts"]["server"]["link"] == "20mbit, loss 1%"
    assert kept["hosts"]["server"]["rate_bps"] == 20e6
    assert kept["hosts"]["server"]["to_host"] == {"lost_packets": 1}


def test_what_the_servers_link_counted_in_each_test_is_read_when_the_test_is_over(
    tmp_path: Path,
) -> None:
    provider = LinkingProvider()
    run = opened(tmp_path, provider, "20mbit")
    first, second = run.slots
    with links.in_force(run) as look:
        for t_s in (
            -3.0,
            1.0,
            first.end_s - 1,
            first.end_s + 0.5,
            first.end_s + 1.5,
            second.end_s - 1,
        ):
            look(t_s)
        assert provider.looks == 1
    after = run.run.load_json(run.run.links_path)["server_after"]
    assert list(after) == [first.name, second.name]
    log = read_links(run.run.links_path)
    assert [log.arriving_drops(slot.name) for slot in run.slots] == [10, 10]
    assert np.isnan(log.arriving_drops("another"))
    with links.in_force(opened(tmp_path / "more", provider, "client 20mbit")) as look:
        look(1e6)
    assert provider.looks == 2


def test_what_was_not_read_before_the_next_test_began_is_of_neither(tmp_path: Path) -> None:
    run = opened(tmp_path, LinkingProvider(), "20mbit")
    first, second = run.slots
    with links.in_force(run) as look:
        look(second.start_s + 1)  # a process that died had not looked before
    log = read_links(run.run.links_path)
    assert np.isnan([log.arriving_drops(slot.name) for slot in (first, second)]).all()


def test_links_are_lifted_when_measuring_fails_and_go_on_when_it_is_taken_up(
    tmp_path: Path,
) -> None:
    provider = LinkingProvider()
    run = opened(tmp_path, provider, "20mbit")
    with pytest.raises(KeyboardInterrupt), links.in_force(run):
        raise KeyboardInterrupt
    assert provider.links == {}
    provider.links = {"server": HostLink(rate_bps=20e6)}  # by a process that was killed
    before = len(provider.history)
    with links.in_force(run, are_there=True):
        assert len(provider.history) == before
    assert run.run.load_json(run.run.links_path)["hosts"]["server"]["to_host"]


def test_a_block_without_a_link_has_none_left_of_the_block_before(tmp_path: Path) -> None:
    provider = LinkingProvider()
    provider.links = {"server": HostLink(rate_bps=1e6)}  # its process was killed
    run = opened(tmp_path, provider, "")
    with links.in_force(run):
        assert provider.links == {}
    assert not run.run.links_path.exists()


def test_a_link_that_is_refused_ends_the_phase_and_one_that_is_not_read_is_said(
    tmp_path: Path,
) -> None:
    provider = LinkingProvider()
    run = opened(tmp_path, provider, "20mbit")
    provider.refuses = "no keeper"
    with pytest.raises(StageError, match="links: no keeper"), links.in_force(run):
        raise AssertionError
    provider.refuses = ""
    with links.in_force(run):
        provider.refuses = "no keeper"
    assert run.run.load_json(run.run.links_path)["not_read"] == "no keeper"


def test_a_run_whose_link_cannot_be_had_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "get_provider", lambda *_, **__: LinkingProvider(can_link=False))
    with pytest.raises(ConfigError, match="only when that is asked for"):
        phases.start(
            link="1mbit", tests="direct-tcp", vpn="none", clients=2, runs_dir=str(tmp_path / "runs")
        )
    assert not list(tmp_path.glob("runs/*"))
