"""Existing hosts with addresses of IPv6: SSH, the shipped tests, the tunnel and the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import busy_machine
import pandas as pd
import pytest
from existing_hosts import Lab, existing_hosts
from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.runs.folder import list_runs

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A server and two clients with a network of IPv6 of their own; SSH takes it to the clients."""
    (tmp_path / "lab").mkdir()
    with existing_hosts(tmp_path / "lab", n_clients=2) as lab:
        lab.link_up()
        fd77 = {host.name: f"fd77::{n}" for n, host in enumerate(lab.hosts, start=1)}
        for host in lab.hosts:
            device = "ten" if host.role == "server" else "ten0"
            lab.inside(host, f"sysctl -w net.ipv6.conf.{device}.disable_ipv6=0")
            lab.inside(host, f"ip addr add {fd77[host.name]}/64 dev {device} nodad")
        server, *clients = lab.hosts
        # Written as nobody prints them: what a log says is compared with what the file says.
        sections = [lab.section(server, traffic_address="FD77:0:0:0:0:0:0:1")]
        sections += [
            lab.section(host, address=fd77[host.name].upper(), jump="lab-server")
            for host in clients
        ]
        lab.write_conf(*sections)
        yield lab


def test_a_campaign_on_hosts_with_ipv6_measures_beside_and_through_the_tunnel(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_project(tmp_path / "project")
    (project / "config" / "static.conf").write_text((lab.config_dir / "static.conf").read_text())
    monkeypatch.setenv("PERFKIT_HOME", str(project))
    busy_machine.bear_with_it(monkeypatch)
    with phases.start(provider="static", clients=2, duration_s=2, name="six") as session:
        report = phases.run_all(session)
    (run,) = list_runs(project / "runs")
    tests = report.tables["tests"].to_frame()
    assert list(tests["clients_seen"]) == [2, 2]
    assert list(tests["clients_failed"]) == [0, 0]
    assert (report.summary.tests["goodput_bps"] > 0).all()
    log = (run.host_raw_dir("server") / "01-direct-tcp.server.log").read_text()
    found = re.findall(r"local fd77::1(?:%ten)? port 5001 connected with (\S+) port", log)
    assert sorted(found) == ["fd77::2", "fd77::3"]
    assert "[AF_INET6]fd77::" in (run.host_raw_dir("server") / "openvpn.log").read_text()
    monitor = (run.host_raw_dir("server") / "monitor.csv").read_text()
    assert "net/ten" in monitor
    facts = pd.DataFrame(run.load_json(run.hosts_path))
    assert list(facts["traffic_address"]) == ["fd77::1", "fd77::2", "fd77::3"]
