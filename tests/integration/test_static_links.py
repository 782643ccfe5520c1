"""Links of hosts that exist already: only when asked for, and nothing of them stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import busy_machine
import pytest
from existing_hosts import Lab, existing_hosts

from perfkit.campaign import phases
from perfkit.campaign.links_over_ssh import IFB, LinksOverSsh
from perfkit.campaign.session import Session
from perfkit.errors import ConfigError, ProviderError
from perfkit.model import Host, HostLink
from perfkit.report.page import Report

pytestmark = [pytest.mark.root, pytest.mark.slow]

QUEUES = "PATH=$PATH:/usr/sbin; tc qdisc show; ip -o -d link show | grep -o '^[0-9]*: [^:@]*\\|gso_max_segs [0-9]*'"
RATE_BPS = 20e6


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with existing_hosts(tmp_path_factory.mktemp("lab"), n_clients=1) as lab:
        yield lab


def queues(lab: Lab, host: Host) -> str:
    return lab.inside(host, QUEUES)


def opened(lab: Lab, tmp_path: Path, **more: Any) -> Session:
    chosen = {
        "provider": "static",
        "clients": 1,
        "tests": "direct-tcp",
        "vpn": "none",
        "duration_s": 3,
        "name": "links",
        "link_real_hosts": True,
        "runs_dir": str(tmp_path / "runs"),
        "config_dir": str(lab.config_dir),
    }
    return phases.start(**{**chosen, **more})


def test_a_link_of_an_existing_host_is_there_while_it_measures_and_leaves_nothing(
    lab: Lab, tmp_path: Path, needs_tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_tools("sshd", "iperf", "ip", "tc")
    busy_machine.bear_with_it(monkeypatch)
    before = {host.name: queues(lab, host) for host in lab.hosts}
    with opened(lab, tmp_path, link="server 20mbit") as session:
        try:
            phases.launch(session)
            phases.configure(session)
            phases.measure(session)
            phases.collect(session)
            assert {host.name: queues(lab, host) for host in lab.hosts} == before
        finally:
            phases.release(session)
        report = phases.report(session.run)
        assert isinstance(report, Report)
        (server,) = session.run.load_json(session.run.links_path)["hosts"].items()
    assert server[0] == "server"
    assert server[1]["to_host"]["carried_bytes"] > 1e6
    assert server[1]["to_host"]["queue_drops"] > 0
    assert server[1]["from_host"]["carried_packets"] > 0
    assert not [warning for warning in report.warnings if "link" in warning]
    (figures,) = report.summary.tests.to_dict("records")
    # A link that nobody shaped carries a hundred times as much. On a busy machine a second of the log
    # may hold what has come in several.
    assert 0 < figures["goodput_bps"] < 5 * RATE_BPS


def test_a_link_that_a_killed_controller_left_goes_with_the_tag_and_what_is_not_ours_stays(
    lab: Lab, tmp_path: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("sshd", "iperf", "ip", "tc")
    server, client = lab.hosts
    before = queues(lab, server)
    lab.inside(client, "PATH=$PATH:/usr/sbin; tc qdisc add dev eth0 root handle 7: pfifo")
    foreign = queues(lab, client)
    with opened(lab, tmp_path, link="both 20mbit") as session:
        phases.launch(session)
        phases.configure(session)
        links = LinksOverSsh(session)
        with pytest.raises(ProviderError, match=r"client-001.*eth0 has queueing of its own"):
            links.set_links(
                session.run.id, dict.fromkeys(["server", "client-001"], HostLink(rate_bps=1e6))
            )
        assert (queues(lab, server), queues(lab, client)) == (before, foreign)
        links.set_links(session.run.id, {"server": HostLink(rate_bps=1e6)})
        assert IFB in queues(lab, server)
        phases.release(session)  # as `perfkit clean`, and the host itself at its expiry
    assert (queues(lab, server), queues(lab, client)) == (before, foreign)
    lab.inside(client, "PATH=$PATH:/usr/sbin; tc qdisc del dev eth0 root")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"link": "20mbit", "link_real_hosts": False},
            "only when that is asked for.*link_real_hosts",
        ),
        ({"link": "20mbit, loss 1%"}, "a rate and a delay, no loss"),
        ({"link": "client-002 20mbit"}, "no host client-002"),
    ],
)
def test_a_link_that_an_existing_host_is_not_to_have_is_refused_before_it_is_taken(
    lab: Lab, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        opened(lab, tmp_path, **more)
    assert not list(tmp_path.glob("runs/*"))
