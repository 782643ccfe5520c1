"""Clients packed onto machines: a whole run over the SSH of existing machines, three clients on each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import busy_machine
import pytest
from local_runs import LocalRun, in_fresh_process
from project_copy import copy_project
from whole_machines import MachineLab, whole_machines

from perfkit.campaign import phases
from perfkit.errors import ProviderError, UnreachableError
from perfkit.fleet.packed.provider import PackedProvider
from perfkit.fleet.static.host_agents import HOST_AGENT
from perfkit.fleet.static.provider import StaticProvider
from perfkit.logs.reader import read_run
from perfkit.model import Host
from perfkit.ssh.remote import Access, RemotePool

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = [f"client-{number:03d}" for number in range(1, 7)]
# What may be left on a machine: processes, routes, interfaces, files of its own.
LOOK = r"""
cat /proc/sys/net/ipv4/ip_forward
ip -4 route; ip -o link | cut -d ' ' -f 2 | cut -d @ -f 1
for dir in /proc/[0-9]*; do tr '\0\n' '  ' <$dir/cmdline && echo; done 2>/dev/null |
    grep -v -e '^sh -c' -e '^sort' -e '^sshd: ' -e '^tr ' -e '^grep ' -e '^$' | sort
find /var/lib /run /tmp /root -xdev ! -path '/run/perfkit*' | sort
"""

# Root in a host tries to reach port 22 of who is in $no, and then of who is in $yes.
DOORS = r"""
ip route replace default via 198.18.0.1
for place in $no; do
    timeout 2 bash -c "exec 3<>/dev/tcp/$place/22 && head -c 3 <&3 && echo ' $place'" 2>/dev/null &
    ping -n -c 1 -W 2 $place >/dev/null && echo ping $place &
done
wait
for place in $yes; do timeout 60 bash -c "exec 3<>/dev/tcp/$place/22 && head -c 3 <&3 && echo ' $place'"; done
cat /opt/person/for-all /var/lib/perfkit/perfkit.tag || echo no file
"""
REAP = """
import sys
from pathlib import Path
from perfkit.fleet.reap import survey
from perfkit.fleet.static.provider import StaticProvider
provider = StaticProvider(Path(sys.argv[1]))
(fleet,) = survey(provider)
print(str(fleet).partition(": ")[2].partition(" at ")[0])
report = provider.release(sys.argv[2])
assert not report.leaked, report.leaked
print(*report.released)
print(*report.besides, sep=", ")
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineLab]:
    with whole_machines(tmp_path_factory.mktemp("lab"), n_clients=2) as lab:
        yield lab


@pytest.fixture
def lab(machines: MachineLab) -> Iterator[MachineLab]:
    yield machines
    provider = StaticProvider(machines.config_dir)
    for run_id in provider.runs():
        provider.release(run_id)


def left(lab: MachineLab) -> dict[str, str]:
    return {name: machine.inside(LOOK) for name, machine in lab.machines.items()}


def test_six_clients_on_two_machines_are_measured_through_the_tunnel_and_reaped_by_the_tag_alone(
    lab: MachineLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left(lab)
    copy_project(tmp_path, "resources")
    config = Path(shutil.copytree(lab.config_dir, tmp_path / "config"))
    shipped = (config / "tests.conf.sample").read_text()
    few_each = shipped.replace("clients_per_server = 900", "clients_per_server = 4")
    (config / "tests.conf").write_text(few_each)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    busy_machine.bear_with_it(monkeypatch)
    with phases.start(
        provider="static", per_machine=3, clients=6, duration_s=1, tests="tunnel-tcp", name="packed"
    ) as session:
        phases.launch(session)
        phases.configure(session)
        assert phases.measure(session).failed == ()
        assert phases.collect(session).failed == ()
    hosts = {it["name"]: it for it in json.loads(session.run.hosts_path.read_text())}
    on = {name: hosts[name]["machine"] for name in CLIENTS}
    assert on == dict(zip(CLIENTS, ["lab-1"] * 3 + ["lab-2"] * 3, strict=True))
    prefixes = [hosts[name]["address"].rpartition(".")[0] for name in CLIENTS]
    assert prefixes == ["198.18.0"] * 3 + ["198.18.16"] * 3
    received = read_run(session.run).traffic.query("side == 'receiver'")
    assert set(received["host"]) == set(CLIENTS)
    assert session.run.manifest()["provider_traits"]["per_machine"] == 3
    servers = sorted(it.name for it in session.run.host_raw_dir("server").glob("01-*.log"))
    assert servers == ["01-tunnel-tcp.server-2.log", "01-tunnel-tcp.server.log"]

    said = in_fresh_process(REAP, str(lab.config_dir), session.run.id)
    there, released, besides = said.splitlines()
    assert there == "7 hosts on 3 machines"
    assert sorted(released.split()) == [*CLIENTS, "server"]
    assert besides == "machine lab-1, machine lab-2"
    assert left(lab) == before


def check_doors(lab: MachineLab, run: LocalRun, hosts: dict[str, Host]) -> None:
    """A packed host reaches the server, and none else: no machine, no host of another, no file."""
    server, own, other = (lab.machines[it].address for it in ("lab-server", "lab-1", "lab-2"))
    no = ["198.18.0.1", own, other, hosts["client-003"].address]
    words = f"no='{' '.join(no)}' yes='{server}'\n{DOORS}"
    access = Access(key_path=run.key_path, known_hosts_path=None, may_boot=False)
    with RemotePool(access) as pool:
        said = pool.get(hosts["client-001"]).run_script(words).stdout.splitlines()
    assert said == [f"SSH {server}", "no file"]


def test_machines_end_their_hosts_at_expiry_and_one_that_dies_is_named_for_each_of_its_hosts(
    machines: MachineLab, tmp_path: Path
) -> None:
    """The last test of this file: one machine stays off."""
    machines.machines["lab-1"].inside(
        "mkdir -p /opt/person && echo x >/opt/person/for-all && useradd -d /opt/person person"
    )
    before = left(machines)
    provider = PackedProvider(StaticProvider(machines.config_dir), per_machine=2, n_clients=4)
    run = LocalRun(tmp_path)
    provider.preflight(5)
    hosts = provider.launch(run.request("server", *CLIENTS[:4], life_s=900))
    with pytest.raises(ProviderError, match=r"lab-1: it is in use by run"):
        provider.preflight(5)
    check_doors(machines, run, {host.name: host for host in hosts})
    machines.machines["lab-1"].inside("echo 0 >/proc/sys/net/ipv4/ip_forward")  # as a reboot does
    ended = provider.terminate(run.run_id, ["client-001"])
    assert (ended.released, ended.leaked) == (("client-001",), ())
    (again,) = provider.launch(
        run.request("client-001", token="again", life_s=900)
    )  # the server reaches it
    hosts = [again if host.name == again.name else host for host in hosts]
    provider = PackedProvider(StaticProvider(machines.config_dir), per_machine=2, n_clients=4)
    ended = provider.terminate(run.run_id, ["client-002", "nobody"])
    assert (ended.released, ended.leaked) == (("client-002",), ())
    there = {host.name: host.address for host in provider.hosts(run.run_id)}
    assert there == {host.name: host.address for host in hosts if host.name != "client-002"}
    first, second = machines.machines["lab-1"], machines.machines["lab-2"]
    assert first.inside(LOOK) != before["lab-1"]
    first.inside(
        'text=$(cat); export text; exec sh -c "$text" host-agent keep '
        f"/var/lib/perfkit {run.run_id} root 1",  # as its own does then, with nobody to tell it
        HOST_AGENT.read_bytes(),
    )
    assert first.inside(LOOK) == before["lab-1"]

    access = Access(key_path=run.key_path, known_hosts_path=None, patience_s=4, may_boot=False)
    with RemotePool(access) as pool, second.rebooting():
        for host in hosts[3:]:
            with pytest.raises(UnreachableError, match="its machine lab-2 was not reached"):
                pool.get(host)
        provider = PackedProvider(StaticProvider(machines.config_dir), per_machine=2, n_clients=4)
        silent = {it.name: it.machine for it in provider.unasked(run.run_id, hosts)}
        assert silent == {"client-003": "lab-2", "client-004": "lab-2"}
        report = provider.release(run.run_id)
        assert report.released == ("server",)
        (leaked,) = report.leaked
        assert leaked.startswith("not reached, so not cleaned: lab-2: ")
