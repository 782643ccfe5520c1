"""Existing hosts as labs have them: behind a jump host that lets few in at a time, dies, and comes
back; and with a network for the tests' traffic beside the one that SSH takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import busy_machine
import pytest
from existing_hosts import Lab, existing_hosts, listens, until_it_listens
from local_runs import LocalRun
from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.fleet.static.provider import StaticProvider
from perfkit.model import Host
from perfkit.runs import progress
from perfkit.runs.journal import Event

pytestmark = [pytest.mark.root, pytest.mark.slow]

KILL_SSHD = f"kill -KILL $(pgrep -x sshd); while {listens()}; do sleep 0.1; done"
START_SSHD = (
    "setsid /usr/sbin/sshd -f /etc/ssh/sshd_config >/dev/null 2>&1 </dev/null; "
    f"{until_it_listens()}"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server, two clients behind a jump host, one beside it, and the jump host itself."""
    with existing_hosts(tmp_path_factory.mktemp("lab"), n_clients=4) as lab:
        server, first, second, beside, bastion = lab.hosts
        ten = lab.link_up()
        inner = [
            lab.section(host, jump="gate", traffic_address=ten[host.name])
            for host in (first, second)
        ]
        outer = [lab.section(host, traffic_address=ten[host.name]) for host in (server, beside)]
        gate = lab.section(bastion, "gate").replace("role = client", "role = jump")
        lab.write_conf(outer[0], *inner, outer[1], gate)
        yield lab


@pytest.fixture
def gate(lab: Lab) -> Iterator[Host]:
    """The jump host; it lets one at a time log in."""
    bastion = lab.hosts[-1]
    few = "sed -i /MaxStartups/d /etc/ssh/sshd_config && echo 'MaxStartups 1:100:1' >>/etc/ssh/sshd_config"
    lab.inside(bastion, f"{few} && {KILL_SSHD}; {START_SSHD}")
    yield bastion
    lab.inside(bastion, f"{KILL_SSHD}; {START_SSHD}")
    provider = StaticProvider(lab.config_dir)
    for run_id in provider.runs():
        provider.release(run_id)


def test_a_jump_host_is_logged_in_to_once_and_named_when_it_is_gone(
    lab: Lab, gate: Host, tmp_path: Path
) -> None:
    provider = StaticProvider(lab.config_dir)
    provider.preflight(4)
    run = LocalRun(tmp_path)
    clients = ["client-001", "client-002", "client-003"]
    hosts = provider.launch(run.request("server", *clients))
    assert len(hosts) == 4
    lab.inside(gate, KILL_SSHD)
    provider = StaticProvider(lab.config_dir)
    assert len(provider.release(run.run_id).released) == 2
    unasked = {host.machine: host.reason for host in provider.unasked(run.run_id, hosts)}
    assert unasked.keys() == {"lab-client-001", "lab-client-002"}
    for reason in unasked.values():
        assert "its jump host gate was not reached: connection" in reason
    lab.inside(gate, START_SSHD)
    provider = StaticProvider(lab.config_dir)
    assert len(provider.release(run.run_id).released) == 2
    assert provider.unasked(run.run_id, hosts) == []


def test_a_jump_host_that_dies_in_a_test_costs_nothing_once_it_is_back(
    lab: Lab, gate: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hosts behind it go on alone; the same command again brings their logs home."""
    copy_project(tmp_path, "resources")
    shutil.copytree(lab.config_dir, tmp_path / "config")
    (tmp_path / "config/ssh.conf").write_text("[ssh]\nconnect_timeout_s = 2\n")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    busy_machine.bear_with_it(monkeypatch)
    command = {"provider": "static", "clients": 3, "duration_s": 2, "name": "lab"}
    command |= {"tests": "direct-tcp", "on_shortfall": "go"}
    with phases.start(**command) as session:
        phases.launch(session)
        phases.configure(session)

        def kill_once_all_have_their_orders(event: Event) -> None:
            if event.kind == progress.ARMED:
                lab.inside(gate, KILL_SSHD)

        session.journal.observe(kill_once_all_have_their_orders)
        measured = phases.measure(session)
        collected = phases.collect(session)
        left = phases.release(session).leaked
    for result in (*measured.failed, *collected.failed):
        assert result.host in {"client-001", "client-002"}
        assert "its jump host gate" in result.reason
    assert len(measured.failed) == len(collected.failed) == 2
    assert f"run={session.run.id} collects what is missing" in left[0]

    lab.inside(gate, START_SSHD)
    with phases.start(**command) as again:
        assert again.run.id == session.run.id
        report = phases.run_all(again)
    (test,) = report.summary.tests.to_dict("records")
    assert (test["clients_expected"], test["clients_failed"]) == (3, 0)
    assert set(report.logs.hosts["traffic_address"]) == {f"10.77.0.{n}" for n in range(1, 5)}
    received = report.logs.traffic.query("side == 'receiver'")
    assert set(received["local_address"]) == {"10.77.0.1"}
    assert set(received["host"]) == {"client-001", "client-002", "client-003"}
    assert StaticProvider(lab.config_dir).runs() == []
