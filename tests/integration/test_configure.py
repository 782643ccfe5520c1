"""Configuring real hosts: recipes, tunnels, the gate, and what becomes of sick hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shlex import quote

import pytest

from perfkit.configure.facts import collect_facts
from perfkit.configure.recipes import configure
from perfkit.errors import LostError
from perfkit.fleet.provider import HostRequest, LaunchRequest, get_provider
from perfkit.model import Host, HostResult, Role, StageResult
from perfkit.runs import folder as runs
from perfkit.runs.folder import Run
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access, Remote, RemotePool
from perfkit.testing.provider_runs import answers, wait_until
from perfkit.vpn.health import check_tunnels
from perfkit.vpn.openvpn.ca import Authority
from perfkit.vpn.openvpn.configuration import OpenVpn
from perfkit.vpn.plan import TunnelPlan

RESOURCES = Path(__file__).parents[2] / "resources"
VPN = OpenVpn(RESOURCES)
SIGNAL_SSHD = """
for process in /proc/[0-9]*; do
    [ "$(cat $process/comm)" = sshd ] && kill -SIGNAL ${process#/proc/}
done
"""


@dataclass
class Fleet:
    """Real hosts of one run, and the way to them."""

    run: Run
    hosts: dict[str, Host]
    pool: RemotePool

    @property
    def plan(self) -> TunnelPlan:
        return TunnelPlan(server_address=self.hosts["server"].address, clients=len(self.hosts))

    def configure(
        self,
        *names: str,
        resources: Path = RESOURCES,
        tunnel: TunnelPlan | None = None,
        deadline_s: float = 60.0,
        on_result: Callable[[HostResult], None] | None = None,
    ) -> StageResult:
        return configure(
            self.run,
            [self.hosts[name] for name in names or self.hosts],
            pool=self.pool,
            threads=8,
            resources_dir=resources,
            vpn=OpenVpn(resources) if tunnel else None,
            tunnel=tunnel,
            deadline_s=deadline_s,
            on_result=on_result,
        )

    def sh(self, name: str, script: str) -> str:
        return self.pool.get(self.hosts[name]).run_script(script).stdout

    def later(self, name: str, script: str) -> None:
        """Do something to a host that its own connection may not survive."""
        argv = ["sh", "-c", f"sleep 0.5; {script}"]
        self.pool.get(self.hosts[name]).start_detached(argv)

    def log(self, name: str) -> str:
        return (self.run.host_dir(name) / "configure.log").read_text()


def make_fleet(folder: Path, names: list[str], isolation: str, **access: float) -> Iterator[Fleet]:
    provider = get_provider("local", isolation=isolation)
    run = runs.create(folder, "test", {})
    key = make_ssh_key()
    runs.write_atomic(run.key_path, key.private_openssh.encode())
    requests = []
    for name in names:
        host_key = make_ssh_key()
        requests.append(
            HostRequest(
                name=name,
                role=Role.SERVER if name == "server" else Role.CLIENT,
                host_key=host_key.public_openssh,
                host_key_private=host_key.private_openssh,
            )
        )
    pool = RemotePool(
        Access(key_path=run.key_path, known_hosts_path=run.known_hosts_path, **access),
        run.root / "hosts",
    )
    try:
        hosts = provider.launch(
            LaunchRequest(
                token=run.id,
                run_id=run.id,
                owner="test",
                expires_utc=datetime.now(UTC) + timedelta(minutes=15),
                authorized_key=key.public_openssh,
                hosts=tuple(requests),
            )
        )
        pin_hosts(run.known_hosts_path, hosts)
        yield Fleet(run, {host.name: host for host in hosts}, pool)
    finally:
        pool.close()
        provider.release(run.id)


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, needs_root: None, needs_tools: object
) -> Iterator[Fleet]:
    """A server and four clients, configured."""
    del needs_root
    assert callable(needs_tools)
    needs_tools("sshd", "openvpn", "iperf", "ip", "ping")
    names = ["server", *(f"client-{n:03d}" for n in range(1, 5))]
    for made in make_fleet(tmp_path_factory.mktemp("runs"), names, "namespaces"):
        stage = made.configure(tunnel=made.plan)
        assert stage.failed == (), str(stage)
        yield made


@pytest.mark.root
def test_every_host_has_its_files_its_log_and_its_facts(fleet: Fleet) -> None:
    for name, host in fleet.hosts.items():
        listing = fleet.sh(name, f"cd {host.workdir} && find . -type f")
        assert f"./vpn/{host.role}.conf" in listing
        assert "./tests/direct-tcp" in listing
        assert ".bundle.tgz" not in listing
        facts = collect_facts(fleet.pool.get(host), vpn_version=VPN.traits.version_command)
        assert json.loads(fleet.sh(name, f"cat {host.workdir}/logs/facts.json")) == facts
        assert facts["ncpu"] == os.cpu_count()
        assert facts["vpn_version"].startswith("2.")
        assert facts["iperf_version"].startswith("2.")
        assert facts["iperf3_version"] == "" or facts["iperf3_version"].startswith("3.")
        assert "= exit status 0" in fleet.log(name)


@pytest.mark.root
def test_every_tunnel_is_up_and_has_an_address_of_its_own(fleet: Fleet) -> None:
    found = check_tunnels(
        fleet.hosts.values(),
        fleet.pool,
        vpn=VPN,
        peer=fleet.plan.server_tunnel_address,
        timeout_s=20,
    )
    assert {name: health.reason for name, health in found.items()} == dict.fromkeys(fleet.hosts, "")
    assert found["server"].tunnel_address == "10.8.0.1"
    assert len({health.tunnel_address for health in found.values()}) == len(fleet.hosts)


@pytest.mark.root
def test_configuring_again_starts_no_second_openvpn_and_keeps_the_keys(fleet: Fleet) -> None:
    show = "cat vpn/openvpn.pid vpn/host.crt; cat /proc/[0-9]*/comm | grep -c openvpn"
    script = f"cd {fleet.hosts['client-001'].workdir} && {show}"
    before = fleet.sh("client-001", script)
    begun = fleet.log("client-001").count("recipe setup_client: begins")
    assert fleet.configure("client-001", tunnel=fleet.plan).failed == ()
    assert fleet.sh("client-001", script) == before
    assert before.splitlines()[-1] == "1"
    assert fleet.log("client-001").count("recipe setup_client: begins") == begun


@pytest.mark.root
def test_a_recipe_is_repeated_when_its_file_was_edited_or_the_host_was_rebooted(
    fleet: Fleet, tmp_path: Path
) -> None:
    def times_begun() -> int:
        return fleet.log("client-002").count("recipe setup_client: begins")

    edited = tmp_path / "resources"
    shutil.copytree(RESOURCES, edited)
    with (edited / "fabfile.py").open("a") as file:
        file.write("# edited\n")
    before = times_begun()
    assert fleet.configure("client-002", resources=edited, tunnel=fleet.plan).failed == ()
    assert times_begun() == before + 1
    assert fleet.configure("client-002", resources=edited, tunnel=fleet.plan).failed == ()
    assert times_begun() == before + 1
    stamps = f"{fleet.hosts['client-002'].workdir}/steps/*"
    fleet.sh("client-002", f"for stamp in {stamps}; do echo another-boot >$stamp; done")
    assert fleet.configure("client-002", resources=edited, tunnel=fleet.plan).failed == ()
    assert times_begun() == before + 2


@pytest.mark.root
def test_secrets_on_a_host_are_its_own_and_for_its_owner_only(fleet: Fleet) -> None:
    workdir = fleet.hosts["client-001"].workdir
    modes = fleet.sh("client-001", f"cd {workdir}/vpn && stat -c '%a %n' *.key *.conf")
    assert {line.split()[0] for line in modes.splitlines()} == {"600"}
    authority = (fleet.run.keys_dir / "ca.key").read_text().splitlines()[1]
    assert fleet.sh("client-001", f"grep -rl {authority} {workdir} || true") == ""


@pytest.mark.root
def test_partly_configured_clients_are_listed_with_what_they_lack(fleet: Fleet) -> None:
    """One is not running, one has lost its route, one gets no answer, one is of another run."""
    hosts, plan = fleet.hosts, fleet.plan
    peer = plan.server_tunnel_address
    stop = "pid=$(cat vpn/openvpn.pid) && kill $pid; while [ -e /proc/$pid ]; do sleep 0.05; done"
    try:
        fleet.sh("client-001", f"cd {hosts['client-001'].workdir} && {stop}")
        fleet.sh("client-002", f"ip route del {plan.network} dev tun0")
        unheard = fleet.sh("client-003", "ip -4 -o addr show dev tun0").split()[3].split("/")[0]
        fleet.sh("server", f"ip route add blackhole {unheard}/32")
        stranger = Authority(fleet.run.root / "another").issue("client-004", Role.CLIENT)
        remote = fleet.pool.get(hosts["client-004"])
        for name, text in (("crt", stranger.certificate), ("key", stranger.key)):
            path = f"{remote.host.workdir}/vpn/host.{name}"
            remote.put(text.encode(), path, mode=0o600)
        fleet.sh(
            "client-004",
            f"cd {remote.host.workdir} && {stop}; openvpn --cd vpn --config client.conf --daemon",
        )
        found = check_tunnels(hosts.values(), fleet.pool, vpn=VPN, peer=peer, timeout_s=4)
    finally:
        fleet.sh("server", "ip route flush type blackhole")
    assert found["server"].ok
    lacks = {name: health.reason.split(";")[0] for name, health in found.items()}
    nothing = f"no tunnel address, no route to {peer}, no answer to a ping from {peer}"
    assert re.fullmatch("OpenVPN: .*process exiting", lacks["client-001"])
    assert lacks["client-002"] == f"no route to {peer}, no answer to a ping from {peer}"
    assert lacks["client-003"] == f"no answer to a ping from {peer}"
    assert lacks["client-004"] == nothing
    assert "openvpn.log ends: " in found["client-004"].reason


@pytest.mark.root
def test_an_openvpn_that_gave_up_ends_the_wait_with_its_own_words(fleet: Fleet) -> None:
    """One has no tun device, one another cipher, one does not trust the server."""
    plan, stranger = fleet.plan, Authority(fleet.run.root / "yet-another")
    breaks = {
        "client-001": ("rm /dev/net/tun", "Cannot open TUN/TAP dev"),
        "client-002": ("sed -i 's/^data-ciphers .*/data-ciphers AES-128-CBC/' client.conf", "AUTH"),
        "client-003": (f"echo {quote(stranger.certificate)} >ca.crt", "VERIFY ERROR"),
    }
    for name, (script, _) in breaks.items():
        fleet.sh(
            name,
            f"cd {fleet.hosts[name].workdir}/vpn && {script}\n"
            "pid=$(cat openvpn.pid 2>/dev/null) && kill $pid\n"
            "while [ -e /proc/${pid:-none} ]; do sleep 0.05; done\n"
            "openvpn --config client.conf --daemon",
        )
    found = check_tunnels(
        [fleet.hosts[name] for name in breaks],
        fleet.pool,
        vpn=VPN,
        peer=plan.server_tunnel_address,
        timeout_s=200,
    )
    for name, (_, words) in breaks.items():
        assert re.match(f"OpenVPN: .*{words}", found[name].reason)


@pytest.mark.root
def test_a_configuration_that_openvpn_refuses_fails_the_recipe_with_its_words(
    fleet: Fleet, tmp_path: Path
) -> None:
    resources = tmp_path / "resources"
    shutil.copytree(RESOURCES, resources)
    conf = resources / "openvpn/client.conf"
    conf.write_text(conf.read_text() + "no-such-directive\n")
    stop = "pid=$(cat openvpn.pid) && kill $pid; while [ -e /proc/$pid ]; do sleep 0.05; done"
    fleet.sh("client-004", f"cd {fleet.hosts['client-004'].workdir}/vpn && {stop}")
    stage = fleet.configure("client-004", resources=resources, tunnel=fleet.plan)
    assert "Options error: Unrecognized option" in stage.failed[0].reason
    assert "no-such-directive" in stage.failed[0].reason


@pytest.mark.root
def test_plain_fabric_runs_the_same_recipe(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts["client-001"]
    fleet.sh("client-001", f"rm -r {host.workdir}/tests")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("fab")),
            *("-r", str(RESOURCES), "-i", str(fleet.run.key_path)),
            *("-H", f"{host.user}@{host.address}:{host.port}", "setup-client"),
        ],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "PERFKIT_BUNDLE": str(fleet.run.host_dir("client-001") / "bundle"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "direct-tcp" in fleet.sh("client-001", f"ls {host.workdir}/tests")


SICK_FABFILE = """
from fabric import task

@task
def setup_client(c):
    if c.config.perfkit["host"] == "client-004":
        c.run("printf 'Restart services? [y/N] '; read -r answer || exit 1")
    c.run("sleep 0.2")

setup_server = setup_client
"""


def silent(host: Host) -> bool:
    return not answers(host)


def is_closed(remote: Remote) -> bool:
    return not remote.connection.is_open


@pytest.mark.root
def test_sick_hosts_are_named_with_their_reason_and_do_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    """Killed sshd, stopped sshd, link down, a recipe that prompts; four are well."""
    resources = tmp_path / "resources"
    resources.mkdir()
    (resources / "fabfile.py").write_text(SICK_FABFILE)
    names = [f"client-{n:03d}" for n in range(1, 9)]
    options = {"connect_timeout_s": 6.0, "patience_s": 10.0, "silence_s": 6.0}
    for fleet in make_fleet(tmp_path / "runs", names, "namespaces", **options):
        first = fleet.pool.get(fleet.hosts["client-001"])
        fleet.later("client-001", SIGNAL_SSHD.replace("SIGNAL", "KILL"))
        fleet.later("client-002", SIGNAL_SSHD.replace("SIGNAL", "STOP"))
        fleet.later("client-003", "ip link set eth0 down")
        for name in names[:3]:
            assert wait_until(partial(silent, fleet.hosts[name]), 60)
        assert wait_until(partial(is_closed, first), 60)
        arrived: list[HostResult] = []
        stage = fleet.configure(resources=resources, deadline_s=40.0, on_result=arrived.append)
        reasons = {result.host: result.reason for result in stage.failed}
        assert sorted(reasons) == names[:4]
        assert "UnreachableError" in reasons["client-001"]
        assert "connection refused" in reasons["client-001"]
        assert "UnreachableError" in reasons["client-002"] or "LostError" in reasons["client-002"]
        assert "UnreachableError" in reasons["client-003"] or "LostError" in reasons["client-003"]
        assert "Restart services? [y/N]" in reasons["client-004"]
        # When all that are well had arrived, one that is sick was still out.
        assert arrived[-1].host in names[:3]
        sick_s = [result.elapsed_s for result in stage.failed]
        assert stage.elapsed_s < 0.9 * sum(sick_s)  # they were waited for together
        assert all(result.log is not None and result.log.exists() for result in stage.results)


FAKE_APT = """#!/bin/sh
# Writes down how it was called, and installs iperf as a script; asks when told nothing of -y.
echo "$DEBIAN_FRONTEND $*" >>/tmp/apt
[ "$1" = update ] && exit
case $* in *-y*) ;; *) printf 'Do you want to continue? [Y/n] '; read -r answer || exit 1 ;; esac
printf '#!/bin/sh\necho iperf version 2.9.9' >/usr/bin/iperf
chmod +x /usr/bin/iperf
"""


@pytest.mark.root
def test_missing_tools_are_installed_without_a_question(tmp_path: Path) -> None:
    for fleet in make_fleet(tmp_path, ["client-001"], "namespaces"):
        remote = fleet.pool.get(fleet.hosts["client-001"])
        remote.put(FAKE_APT.encode(), "/usr/local/bin/apt-get", mode=0o755)
        fleet.sh("client-001", "rm /usr/bin/iperf; ! command -v iperf")
        assert fleet.configure().failed == ()
        update, install = fleet.sh("client-001", "cat /tmp/apt").splitlines()
        assert update == "noninteractive update"
        assert install.startswith("noninteractive install -y ")
        assert install.endswith(" iperf")
        assert collect_facts(remote)["iperf_version"] == "2.9.9"


@pytest.mark.root
def test_a_link_that_goes_down_in_the_middle_means_lost(tmp_path: Path) -> None:
    for fleet in make_fleet(tmp_path, ["client-001"], "namespaces"):
        fleet.later("client-001", "ip link set eth0 down")
        started = time.monotonic()
        with pytest.raises(LostError):
            fleet.pool.get(fleet.hosts["client-001"]).run_script("sleep 150", timeout_s=160)
        assert time.monotonic() - started < 100  # the command itself would take 150


def test_hosts_without_root_are_configured_without_a_tunnel(
    tmp_path: Path, needs_tools: object
) -> None:
    assert callable(needs_tools)
    needs_tools("sshd", "iperf")
    names = ["server", "client-001"]
    for fleet in make_fleet(tmp_path, names, "loopback"):
        home = fleet.sh("client-001", "echo $HOME").strip()
        assert home == fleet.hosts["client-001"].workdir  # not the user's, with its shell profile
        stage = fleet.configure()
        assert stage.failed == (), str(stage)
        for host in fleet.hosts.values():
            assert (Path(host.workdir) / "tests" / "direct-tcp").exists()
            assert (Path(host.workdir) / "logs" / "facts.json").exists()
