"""Existing hosts: used for a campaign and left as they were; taken by one run at a time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from existing_hosts import Lab, existing_hosts, until_it_listens
from local_runs import LocalRun, wait_until
from project_copy import PROJECT, copy_project

from perfkit.campaign import phases
from perfkit.cli.app import main
from perfkit.errors import LaunchError, ProviderError, UnreachableError
from perfkit.fleet.static.provider import StaticProvider
from perfkit.measure.starters import get_starter
from perfkit.model import Host
from perfkit.runs.folder import list_runs
from perfkit.runs.journal import read
from perfkit.settings.hosts_conf import CronConf
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access, RemotePool
from perfkit.vpn.base import get_vpn

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with existing_hosts(tmp_path_factory.mktemp("lab"), n_clients=3) as lab:
        yield lab


@pytest.fixture
def lab(machines: Lab) -> Iterator[Lab]:
    """The machines, in a static.conf of their own, free before and after."""
    machines.write_conf()
    yield machines
    machines.write_conf()
    provider = StaticProvider(machines.config_dir)
    for run_id in provider.runs():
        provider.release(run_id)


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Path:
    copy_project(tmp_path, "resources", "notebooks")
    shutil.copytree(lab.config_dir, tmp_path / "config")
    return tmp_path


def perfkit(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=project / "notebooks",
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_campaign_on_existing_hosts_leaves_them_as_they_were(lab: Lab, project: Path) -> None:
    lab.inside(lab.clients[0], "echo '5 4 * * 1 true # mine' | crontab -")
    since_s = time.time()
    before = {host.name: lab.listing(host) for host in lab.hosts}
    options = {"provider": "static", "clients": 2, "duration_s": 3, "name": "lab"}
    words = [str(word) for name, value in options.items() for word in ("-p", name, value)]
    quiet = ("--no-progress-bar", "--log-level", "ERROR", "--stdout-file", "-")
    done = perfkit(project, "papermill", "campaign.ipynb", "out.ipynb", *words, *quiet)
    said, _ = done.communicate(timeout=280)
    assert done.returncode == 0, said[-3000:]
    (run,) = list_runs(project / "runs")
    slots = (run.report_dir / "tests.csv").read_text()
    assert "01-direct-tcp" in slots
    assert "02-tunnel-tcp" in slots
    assert "they are cleaned at the end and stay" in said
    assert not list(run.root.rglob("ca.key"))
    assert not list(run.root.rglob("host.key"))
    logins = "pgrep -c '^sshd: ' || true"
    assert wait_until(lambda: lab.inside(lab.hosts[0], logins) == "0\n", 60)
    for host in lab.hosts:
        assert changes(before[host.name], lab.listing(host)) == []
        assert lab.changed_since(host, since_s) == []


def test_wireguard_is_gone_from_existing_hosts_when_they_are_released(
    lab: Lab, tmp_path: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("wg", "wireguard-go")
    lab.inside(lab.clients[0], "crontab -r 2>/dev/null || :")
    before = {host.name: lab.listing(host) for host in lab.hosts[:2]}
    session = phases.start(
        provider="static", vpn="wireguard", clients=1, tests="tunnel-tcp", duration_s=2,
        runs_dir=str(tmp_path / "runs"), config_dir=str(lab.config_dir),
    )  # fmt: skip
    with session:
        try:
            phases.launch(session)
            phases.configure(session)
            for host in lab.hosts[:2]:
                assert "wg0" in lab.inside(host, "ls /sys/class/net")
                assert "process: wireguard-go" in lab.inside(
                    host, f"cat {host.workdir}/vpn/implementation"
                )
            assert list(session.run.root.rglob("wireguard.key"))
        finally:
            assert phases.release(session).leaked == ()
        assert not list(session.run.root.rglob("wireguard.key"))
    logins = "pgrep -c '^sshd: ' || true"
    assert wait_until(lambda: lab.inside(lab.hosts[0], logins) == "0\n", 60)
    for host in lab.hosts[:2]:
        assert changes(before[host.name], lab.listing(host)) == []


def test_what_changes_on_this_machine_meanwhile_is_not_taken_for_a_change_of_a_host(
    lab: Lab,
) -> None:
    since_s = time.time()
    lab.inside(lab.clients[0], "touch /opt/left-by-the-host")
    installed = Path("/opt") / f"perfkit-installed-{uuid.uuid4().hex[:10]}"
    installed.mkdir()
    try:
        assert lab.changed_since(lab.clients[0], since_s) == ["/opt/left-by-the-host"]
        assert lab.changed_since(lab.clients[1], since_s) == []
    finally:
        installed.rmdir()
        lab.inside(lab.clients[0], "rm /opt/left-by-the-host")


def test_what_a_killed_controller_left_is_found_by_its_tag_and_removed(
    lab: Lab, project: Path
) -> None:
    before = {host.name: lab.listing(host) for host in lab.hosts}
    options = ["--provider", "static", "--clients", "2", "--duration-s", "60", "--name", "killed"]
    process = perfkit(project, "perfkit.cli.app", "run", *options, "--starter", "cron")
    try:
        assert wait_until(lambda: armed(project), 200), "never armed"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    (run,) = list_runs(project / "runs")
    assert lab.listing(lab.hosts[0]) != before["server"]

    config = ["--config-dir", str(lab.config_dir), "--runs-dir", str(project / "runs")]
    shown = CliRunner().invoke(main, ["clean", *config])
    assert f"would end {run.id}: 3 hosts at static" in shown.output
    cleaned = CliRunner().invoke(main, ["clean", run.id, "--yes", *config])
    assert cleaned.exit_code == 0, cleaned.output
    assert "STILL THERE" not in cleaned.output
    for host in lab.hosts:
        assert changes(before[host.name], lab.listing(host)) == []
    assert not list(run.root.rglob("ca.key"))


def changes(before: list[str], after: list[str]) -> list[str]:
    """Lines that came and went."""
    came = [f"+ {line}" for line in after if line not in before]
    return came + [f"- {line}" for line in before if line not in after]


def armed(project: Path) -> bool:
    """The run's clients wait for their tests."""
    for path in (project / "runs").glob("*/journal.jsonl"):
        events = [e for e in read(path).events if e.kind == "host-state"]
        return sum(event.fields["state"] == "armed" for event in events) == 3
    return False


def test_a_second_run_on_the_same_hosts_is_told_who_has_them(lab: Lab, tmp_path: Path) -> None:
    first, second = LocalRun(tmp_path), LocalRun(tmp_path)
    StaticProvider(lab.config_dir).launch(first.request("server", "client-001", owner="åsa@desk"))
    held = rf"lab-server.*in use by run {first.run_id} of åsa@desk until .*perfkit clean"
    with pytest.raises(ProviderError, match=held):
        StaticProvider(lab.config_dir).preflight(3)
    with pytest.raises(LaunchError, match=held):
        StaticProvider(lab.config_dir).launch(second.request("server", "client-001"))
    assert StaticProvider(lab.config_dir).runs() == [first.run_id]


def test_one_of_two_runs_that_want_a_host_in_the_same_instant_gets_it(
    lab: Lab, tmp_path: Path
) -> None:
    server = lab.hosts[0]
    script = (PROJECT / "perfkit/fleet/static/host_agent.sh").read_text()
    (tmp_path / "text").write_text(script)
    claim = "sh -c \"$text\" host-agent claim /var/lib/perfkit r{0} root 4000000000 'run=r{0}' &"
    said = lab.inside(
        server,
        f"text=$(cat <<'PERFKIT-END'\n{script}\nPERFKIT-END\n); export text\n"
        + "\n".join(claim.format(n) for n in range(8))
        + "\nwait",
    )
    assert said.count("claimed=yes") == 1
    assert len(set(re.findall(r"tag\.run=(r[0-9])", said))) == 1
    winner = re.findall(r"tag\.run=(r[0-9])", said)[0]
    clean = f'sh -c "$text" host-agent clean /var/lib/perfkit {winner} root'
    again = lab.inside(
        server, f"text=$(cat <<'PERFKIT-END'\n{script}\nPERFKIT-END\n); export text\n{clean}"
    )
    assert "cleaned=" in again


def test_every_bad_host_is_named_at_once(lab: Lab, tmp_path: Path) -> None:
    server, first, second, third = lab.hosts
    lab.inside(first, "mkdir -p /var/lib/perfkit && touch /var/lib/perfkit/mine")
    lab.write_conf(
        lab.section(server, host_key=first.host_key),
        lab.section(first),
        lab.section(second, port="9"),
        lab.section(third).replace(f"host_key = {third.host_key}\n", ""),
    )
    try:
        with pytest.raises(ProviderError) as refused:
            StaticProvider(lab.config_dir).preflight(4)
    finally:
        lab.inside(first, "rm /var/lib/perfkit/mine")
    problems = str(refused.value).splitlines()[1:]
    expected = {
        "lab-server": "host key is not the pinned one",
        "lab-client-001": "holds files that are not perfkit's",
        "lab-client-002": "connection refused",
        "lab-client-003": "host key is not known: perfkit trust lab-client-003",
    }
    assert len(problems) == len(expected)
    for name, words in expected.items():
        assert [line for line in problems if name in line and words in line], problems


def test_what_a_host_lacks_is_said_with_the_remedy(lab: Lab) -> None:
    client, openvpn = lab.clients[0], get_vpn("openvpn", PROJECT / "resources")
    assert openvpn is not None
    lab.inside(
        client,
        "ip tuntap add dev tun0 mode tun && mount -t tmpfs none /dev/net"
        " && mv /usr/bin/iperf /usr/bin/iperf-away",
    )
    try:
        with pytest.raises(ProviderError) as refused:
            StaticProvider(lab.config_dir, [openvpn]).preflight(2)
    finally:
        lab.inside(
            client,
            "umount /dev/net; ip tuntap del dev tun0 mode tun; mv /usr/bin/iperf-away /usr/bin/iperf",
        )
    text = str(refused.value)
    assert "modprobe tun there, or set tunnel = no" in text
    assert "device tun0 exists already" in text
    assert "not installed: iperf" in text
    lab.write_conf(tunnel="no")
    StaticProvider(lab.config_dir).preflight(2)
    assert not StaticProvider(lab.config_dir).traits.can_tunnel


def test_what_would_make_a_host_another_one_than_it_seems_is_said(lab: Lab) -> None:
    _, noisy, fish, twice = lab.hosts
    lab.inside(noisy, "echo 'echo Welcome, left=1' >/root/.bashrc")
    lab.inside(fish, "cp /bin/dash /bin/fish && usermod -s /bin/fish root")
    other = "/usr/sbin/sshd -p 2222 -o PidFile=/run/other.pid -f /etc/ssh/sshd_config"
    lab.inside(twice, f"{other}; {until_it_listens(2222)}")
    again = lab.section(twice, "again", port="2222")
    lab.write_conf(*[lab.section(host) for host in lab.hosts], again)
    try:
        with pytest.raises(ProviderError) as refused:
            StaticProvider(lab.config_dir).preflight(5)
    finally:
        lab.inside(noisy, "rm /root/.bashrc")
        lab.inside(fish, "usermod -s /bin/bash root && rm /bin/fish")
        lab.inside(twice, "kill $(cat /run/other.pid)")
    problems = str(refused.value).splitlines()[1:]
    assert len(problems) == 3
    for name, words in (
        ("lab-client-001", "its login shell prints 'Welcome, left=1' before every command"),
        ("lab-client-002", "its login shell is fish, which is not a POSIX shell"),
        ("again", "it is the same machine as lab-client-003: name it once"),
    ):
        assert [line for line in problems if line.startswith(f"  {name}: {words}")], problems


def test_a_host_behind_a_jump_host_is_reached_through_it_and_both_are_pinned(
    lab: Lab, tmp_path: Path
) -> None:
    server, inner, other, bastion = lab.hosts
    gate = lab.section(bastion, "gate").replace("role = client", "role = jump")
    lab.write_conf(lab.section(server), lab.section(inner, jump="gate"), lab.section(other), gate)
    provider = StaticProvider(lab.config_dir)
    provider.preflight(3)
    run = LocalRun(tmp_path)
    hosts = {h.name: h for h in provider.launch(run.request("server", "client-001", "client-002"))}
    reached = hosts["client-001"]
    assert reached.jump is not None
    try:
        access = Access(key_path=run.key_path, known_hosts_path=tmp_path / "pins")
        with RemotePool(access) as pool:
            pool.admit(reached)
            said = pool.get(reached).run_script("echo $SSH_CONNECTION").stdout.split()
            assert (said[0], said[2]) == (bastion.address, inner.address)
        wrong = tmp_path / "wrong"
        pin_hosts(wrong, [reached])
        pin_hosts(wrong, [Host(**{**as_fields(bastion), "host_key": inner.host_key})])
        with (
            RemotePool(Access(key_path=run.key_path, known_hosts_path=wrong)) as pool,
            pytest.raises(UnreachableError, match=r"jump host gate.*not the pinned one"),
        ):
            pool.get(reached)
    finally:
        assert provider.release(run.run_id).leaked == ()


def as_fields(host: Host) -> dict[str, object]:
    return {name: getattr(host, name) for name in ("name", "role", "address", "port")}


def test_a_user_with_sudo_is_enough_and_one_without_is_told_what_to_do(
    lab: Lab, tmp_path: Path
) -> None:
    client = lab.clients[0]
    lab.inside(
        client,
        "useradd -m -s /bin/bash -p x tester && chmod 644 /etc/ssh/authorized_keys"
        " && echo 'tester ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers",
    )
    lab.write_conf(lab.section(lab.hosts[0]), lab.section(client, user="tester"))
    before = lab.listing(client)
    provider = StaticProvider(lab.config_dir)
    provider.preflight(2)
    run = LocalRun(tmp_path)
    host = provider.launch(run.request("client-001"))[0]
    said = run.ssh(
        host, "cd /var/lib/perfkit && mkdir logs && echo '# perfkit: begin' | crontab - && id -un"
    )
    assert said.stdout == "tester\n", said.stderr
    ready = get_starter("cron", CronConf().model_dump()).ready_script()
    assert run.ssh(host, ready).stdout == ""  # root's cron is seen to run
    assert provider.release(run.run_id).leaked == ()
    assert lab.listing(client) == before
    lab.inside(client, "sed -i /tester/d /etc/sudoers")
    with pytest.raises(ProviderError, match=r"tester cannot become root.*NOPASSWD: ALL"):
        StaticProvider(lab.config_dir).preflight(2)


def test_a_host_that_fell_silent_is_named_by_the_release_and_cleans_itself_later(
    lab: Lab, tmp_path: Path
) -> None:
    provider = StaticProvider(lab.config_dir)
    run = LocalRun(tmp_path)
    provider.launch(run.request("server", "client-001", life_s=30))
    client = lab.clients[0]
    lab.inside(client, "kill -STOP $(cat /run/sshd.pid)")
    sessions = lab.inside(client, "pgrep -f 'sshd: root' || true").split()
    lab.inside(client, f"kill {' '.join(sessions)} 2>/dev/null || true")
    try:
        report = provider.release(run.run_id)
        assert len(report.released) == 1
        (left,) = [*report.leaked, *provider.residue(run.run_id)]
        assert "lab-client-001" in left
    finally:
        lab.inside(client, "kill -CONT $(cat /run/sshd.pid)")
    gone = "[ ! -e /var/lib/perfkit/perfkit.tag ] && echo gone || true"
    assert wait_until(lambda: lab.inside(client, gone) == "gone\n", 200)


def test_trust_shows_fingerprints_asks_and_writes_what_was_confirmed(lab: Lab) -> None:
    server, first, second, _ = lab.hosts
    bare = [lab.section(h).replace(f"host_key = {h.host_key}\n", "") for h in (server, first)]
    lab.write_conf(*bare, lab.section(second, host_key=first.host_key))
    path = lab.config_dir / "static.conf"
    before = path.read_text()
    config = ["--config-dir", str(lab.config_dir)]

    refused = CliRunner().invoke(main, ["trust", *config], input="n\nn\n")
    assert refused.exit_code == 1
    assert refused.output.count("SHA256:") == 2
    assert "lab-client-002" not in refused.output
    assert path.read_text() == before
    assert CliRunner().invoke(main, ["trust", *config], input="").exit_code == 1
    assert path.read_text() == before

    done = CliRunner().invoke(main, ["trust", *config], input="y\ny\n")
    assert done.exit_code == 0, done.output
    pinned = path.read_text()
    assert pinned.count(f"host_key = {server.host_key}") == 1
    assert pinned.count(f"host_key = {first.host_key}") == 2  # its own, and the wrong one
    kept = [line for line in pinned.splitlines() if not line.startswith("host_key")]
    assert kept == [line for line in before.splitlines() if not line.startswith("host_key")]

    changed = CliRunner().invoke(main, ["trust", "lab-client-002", *config], input="n\n")
    assert "ANOTHER KEY than the pinned one" in changed.output
    wrong = ["trust", "lab-client-002", "--fingerprint", "SHA256:wrong", *config]
    assert CliRunner().invoke(main, wrong).exit_code == 1
    right = re.findall(r"ssh-ed25519 (SHA256:\S+)", changed.output)[0]
    given = CliRunner().invoke(main, ["trust", "lab-client-002", "--fingerprint", right, *config])
    assert given.exit_code == 0, given.output
    assert f"host_key = {second.host_key}" in path.read_text()
