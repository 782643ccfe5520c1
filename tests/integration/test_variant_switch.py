"""Tunnels of real hosts switched between variants: what is in force is asked of the hosts."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import quote

import pytest
from local_runs import wait_until
from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.campaign.session import Session
from perfkit.campaign.switch import switch_to
from perfkit.configure.recipes import TRY_VARIANTS
from perfkit.model import Host, HostState
from perfkit.ssh.remote import Remote

pytestmark = pytest.mark.root

NAMES = ["server", "client-001", "client-002"]
CONF = """
[sndbuf64k]
openvpn.server.sndbuf = 65536

[chacha]
openvpn.both.data-ciphers = CHACHA20-POLY1305

[other]
openvpn.binary = BINARY

[wg]
vpn = wireguard

[again]
control = yes
"""
# Killed at the n-th time that it turns to a host.
KILLED = """
import itertools, os, signal, sys
from perfkit.campaign import phases
from perfkit.campaign.switch import switch_to
from perfkit.model import HostState

run, runs_dir, variant, n = sys.argv[1:]
session = phases.attach(run, runs_dir=runs_dir)
asked, get = itertools.count(1), session.pool.get
def get_or_die(host, **more):
    if next(asked) == int(n):
        os.kill(os.getpid(), signal.SIGKILL)
    return get(host, **more)
session.pool.get = get_or_die
switch_to(session, variant, session.inventory.hosts(HostState.CONFIGURED))
"""


@pytest.fixture(scope="module")
def binary() -> Iterator[Path]:
    """OpenVPN of another path, name and version, where hosts can see it."""
    usual = shutil.which("openvpn", path="/usr/sbin:/sbin:/usr/local/sbin")
    assert usual is not None
    folder = Path("/opt") / f"perfkit-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    try:
        shutil.copy(usual, folder / "ovpn27-real")
        wrapper = folder / "ovpn27"
        wrapper.write_text(
            f"#!/bin/sh\n[ $1 = --version ] && echo OpenVPN 2.7.99 && exit\n"
            f'exec {folder}/ovpn27-real "$@"\n'
        )
        wrapper.chmod(0o755)
        yield wrapper
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def opened(
    binary: Path, needs_tools: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Session]]:
    """Two clients and a server, configured for five variants; the session can be opened anew."""
    needs_tools("sshd", "iperf", "ip", "openvpn", "ss", "wg", "wireguard-go")
    place = tmp_path_factory.mktemp("variants")
    copy_project(place, "config")
    (place / "config/variants.conf").write_text(CONF.replace("BINARY", str(binary)))
    session = phases.start(
        clients=2,
        tests="tunnel-tcp",
        variants="base,sndbuf64k,chacha,other,wg,again",
        name="variants",
        runs_dir=str(place / "runs"),
        config_dir=str(place / "config"),
    )
    held = {"it": session}
    try:
        phases.launch(session)
        phases.configure(session)
        yield held
    finally:
        phases.release(held["it"])
        held["it"].close()


@pytest.fixture
def session(opened: dict[str, Session]) -> Session:
    """The session, with `base` in force on all hosts."""
    session = opened["it"]
    assert switched(session, "base") == {}
    return session


def hosts_of(session: Session, *names: str) -> list[Host]:
    hosts = session.inventory.hosts(HostState.CONFIGURED)
    assert sorted(host.name for host in hosts) == sorted(NAMES)
    return [host for host in hosts if not names or host.name in names]


def switched(
    session: Session, variant: str, *names: str, idle: tuple[str, ...] = ()
) -> dict[str, str]:
    """Why hosts have no tunnel; nothing if all have one."""
    hosts = hosts_of(session, *names)
    result = switch_to(session, variant, hosts, idle=hosts_of(session, *idle) if idle else ())
    return {it.host: it.reason for it in result.failed}


def sh(session: Session, name: str, script: str) -> str:
    (host,) = hosts_of(session, name)
    text = f"cd {quote(host.workdir)} && {{\n{script}\n}}"
    return session.pool.get(host).run_script(text).stdout.strip()


def in_force(session: Session, name: str) -> str:
    """What the host itself says."""
    return sh(session, name, "cat vpn/.variant 2>/dev/null || true").rpartition("-")[0]


def pids(session: Session, name: str) -> list[str]:
    """Every OpenVPN process of the host, by whatever name it runs."""
    look = """
    for it in /proc/[0-9]*; do
        case $(tr '\\0' ' ' 2>/dev/null <"$it/cmdline") in
            *' --config '*.conf' --daemon'*) echo "${it#/proc/}" ;;
        esac
    done 2>/dev/null"""
    return sh(session, name, look).split()


def send_buffer(session: Session) -> str:
    """Of the server's OpenVPN socket, as the kernel has it: twice what was asked for."""
    (line,) = sh(session, "server", "ss -unmHa 'sport = :1194' | grep -o 'tb[0-9]*'").split()
    return line


def test_the_option_of_a_variant_is_in_force_after_a_switch_and_gone_after_the_next(
    session: Session,
) -> None:
    usual = send_buffer(session)
    keys = {name: sh(session, name, "sha256sum vpn/host.key vpn/host.crt") for name in NAMES}
    assert switched(session, "sndbuf64k") == {}
    assert send_buffer(session) == "tb131072" != usual
    assert [in_force(session, name) for name in NAMES] == ["sndbuf64k"] * 3
    assert switched(session, "base") == {}
    assert send_buffer(session) == usual
    assert [in_force(session, name) for name in NAMES] == ["base"] * 3
    assert {it: sh(session, it, "sha256sum vpn/host.key vpn/host.crt") for it in NAMES} == keys


def test_a_cipher_is_that_of_the_variant_and_of_no_other(session: Session) -> None:
    look = "grep -o 'Data Channel: cipher .[A-Z0-9-]*' logs/openvpn.log | tail -n 1"
    assert switched(session, "chacha") == {}
    assert sh(session, "client-001", look).endswith("'CHACHA20-POLY1305")
    assert switched(session, "again") == {}
    assert sh(session, "client-001", look).endswith("'AES-256-GCM")


def test_another_binary_runs_says_its_version_and_is_stopped_again(
    session: Session, binary: Path
) -> None:
    look = "readlink /proc/$(cat vpn/openvpn.pid)/exe"
    versions = "grep -o '.vpn_version.: .[0-9.]*' logs/facts.json"
    usual = sh(session, "client-001", versions)
    assert switched(session, "other") == {}
    assert {sh(session, name, look) for name in NAMES} == {f"{binary}-real"}
    assert all(sh(session, name, versions).endswith("2.7.99") for name in NAMES)
    assert switched(session, "base") == {}
    assert all(sh(session, name, look).endswith("bin/openvpn") for name in NAMES)
    assert {sh(session, name, versions) for name in NAMES} == {usual}
    assert [len(pids(session, name)) for name in NAMES] == [1, 1, 1]


def test_another_vpn_takes_the_place_of_the_first_and_gives_it_back(session: Session) -> None:
    devices = "ls /sys/class/net"
    facts = "grep -o '.vpn_implementation.: .[^\"]*' logs/facts.json"
    assert switched(session, "chacha") == {}
    usual = {name: sh(session, name, facts) for name in NAMES}
    assert all("OpenVPN 2" in it and "without DCO" in it for it in usual.values())
    assert switched(session, "wg") == {}
    for name in NAMES:
        assert in_force(session, name) == "wg"
        there = sh(session, name, devices).split()
        assert "wg0" in there
        assert "tun0" not in there
        assert pids(session, name) == []
        assert "wireguard-go" in sh(session, name, facts)
    addresses = {r.name: r.tunnel_address for r in session.inventory.records()}
    assert addresses == {"server": "10.8.0.1", "client-001": "10.8.0.2", "client-002": "10.8.0.3"}
    assert switched(session, "chacha") == {}
    for name in NAMES:
        there = sh(session, name, devices).split()
        assert "tun0" in there
        assert "wg0" not in there
        assert sh(session, name, facts) == usual[name]
    assert [len(pids(session, name)) for name in NAMES] == [1, 1, 1]


def test_a_host_that_is_there_already_is_left_alone(session: Session) -> None:
    before = {name: pids(session, name) for name in NAMES}
    assert switched(session, "base") == {}
    assert {name: pids(session, name) for name in NAMES} == before
    assert switched(session, "again") == {}
    after = {name: pids(session, name) for name in NAMES}
    assert all(after[name] != before[name] for name in NAMES)


def test_a_process_that_has_ended_since_is_started_again(session: Session) -> None:
    end = "pid=$(cat vpn/openvpn.pid) && kill -KILL $pid; while [ -e /proc/$pid ]; do sleep 0.05; done"
    sh(session, "client-001", end)
    assert switched(session, "base") == {}
    assert len(pids(session, "client-001")) == 1


def test_idle_hosts_have_no_tunnel_and_get_it_back(session: Session) -> None:
    up = ("server", "client-001")
    server = pids(session, "server")
    assert switched(session, "base", *up, idle=("client-002",)) == {}
    assert [len(pids(session, name)) for name in NAMES] == [1, 1, 0]
    assert pids(session, "server") == server
    assert "tun0" not in sh(session, "client-002", "cat /proc/net/dev")
    assert in_force(session, "client-002") == ""
    assert switched(session, "chacha", *up, idle=("client-002",)) == {}
    assert switched(session, "chacha") == {}
    assert [in_force(session, name) for name in NAMES] == ["chacha"] * 3


def test_a_host_that_does_not_come_up_is_named_by_its_vpns_last_words(session: Session) -> None:
    path = "vpn/variants/chacha/client.conf"
    sh(session, "client-002", f"cp -p {path} kept && echo nonsense 1 >>{path}")
    try:
        assert sh(session, "client-002", TRY_VARIANTS).startswith("chacha: Options error:")
        failed = switched(session, "chacha")
        assert list(failed) == ["client-002"]
        assert "nonsense" in failed["client-002"]
        assert in_force(session, "client-001") == "chacha"
        assert in_force(session, "client-002") == ""
    finally:
        sh(session, "client-002", f"mv kept {path}")
    assert sh(session, "client-002", TRY_VARIANTS) == ""
    assert switched(session, "chacha") == {}


def test_a_server_that_does_not_come_up_is_told_for_every_client(session: Session) -> None:
    path = "vpn/variants/chacha/server.conf"
    sh(session, "server", f"cp -p {path} kept && echo nonsense 1 >>{path}")
    try:
        failed = switched(session, "chacha")
        assert "nonsense" in failed["server"]
        assert failed["client-001"].startswith("not tried: server: ")
        assert sorted(failed) == sorted(NAMES)
        assert [len(pids(session, name)) for name in NAMES] == [0, 0, 0]
    finally:
        sh(session, "server", f"mv kept {path}")


def test_files_that_a_killed_process_puts_in_place_late_are_not_started(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, get = itertools.count(1), session.pool.get

    def get_and_interfere(host: Host) -> Remote:
        remote = get(host)
        if next(asked) == 4:  # all are stopped, the server is to be started
            script = "cp -p variants/sndbuf64k/server.conf . && echo sndbuf64k >.in-place"
            remote.run_script(f"cd {quote(host.workdir)}/vpn && {script}")
        return remote

    monkeypatch.setattr(session.pool, "get", get_and_interfere)
    failed = switched(session, "chacha")
    assert "another process has switched it meanwhile" in failed["server"]
    assert sorted(failed) == sorted(NAMES)
    assert switched(session, "chacha") == {}
    assert send_buffer(session) != "tb131072"


def test_what_a_killed_process_still_does_on_a_host_is_waited_for(session: Session) -> None:
    hold = "cd vpn && exec 9>.switching && flock 9 && echo held && until [ -e ../go ]; do sleep 0.1; done"
    (host,) = hosts_of(session, "client-001")
    script = f"cd {quote(host.workdir)} && rm -f go && {{ {hold}; }}"
    session.pool.get(host).start_detached(["sh", "-c", script], log="/tmp/held")
    assert wait_until(lambda: sh(session, "client-001", "cat /tmp/held") == "held", 60)
    with ThreadPoolExecutor() as pool:
        going = pool.submit(switched, session, "chacha")
        assert wait_until(lambda: in_force(session, "client-002") == "", 60)
        assert in_force(session, "client-001") == "base"
        assert not going.done()
        sh(session, "client-001", "touch go")
        assert going.result(timeout=120) == {}
    assert in_force(session, "client-001") == "chacha"


@pytest.mark.parametrize("at", [2, 4, 6, 8])
def test_a_switch_that_was_killed_is_made_good_by_the_next_one(
    opened: dict[str, Session], session: Session, at: int
) -> None:
    run, runs_dir = session.run.id, session.settings.runs_dir
    session.close()
    command = [sys.executable, "-c", KILLED, run, str(runs_dir), "sndbuf64k", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    opened["it"] = session = phases.attach(run, runs_dir=str(runs_dir))
    assert done.returncode == -signal.SIGKILL, done.stderr
    for variant in ("base", "sndbuf64k"):
        assert switched(session, variant) == {}
        assert [in_force(session, name) for name in NAMES] == [variant] * 3
        assert (send_buffer(session) == "tb131072") is (variant == "sndbuf64k")
        assert [len(pids(session, name)) for name in NAMES] == [1, 1, 1]


def test_clients_connect_at_once_and_again_after_the_server_with_the_addresses_they_had(
    session: Session,
) -> None:
    """The shipped test on real hosts; in tests.conf its duration is longer."""
    address = "ip -4 -o addr show dev tun0 | sed 's/.* inet \\([0-9.]*\\).*/\\1/p;d'"
    clients = [host.name for host in hosts_of(session) if host.name != "server"]
    before = {name: sh(session, name, address) for name in clients}
    remote = hosts_of(session, "server")[0].traffic_address
    t0_s = float(sh(session, "server", "date +%s.%N")) + 1

    def run(name: str) -> str:
        script = f"tests/connect-storm{'.server' if name == 'server' else ''}"
        told = f"PERFKIT_T0={t0_s:.3f} PERFKIT_DURATION_S=24 PERFKIT_VPN_DIR=$PWD/vpn"
        limit = "-s INT --preserve-status 27" if name == "server" else "60"
        return sh(session, name, f"env {told} timeout {limit} {script} {remote} 10.8.0.1 2>&1")

    with ThreadPoolExecutor(len(NAMES)) as threads:
        printed = dict(zip(NAMES, threads.map(run, NAMES), strict=True))
    for name in clients:
        found = [line.split(",") for line in printed[name].splitlines() if "connect_s" in line]
        assert [note for *_, note in found] == ["first", "restart"], printed
        assert all(float(value) > 0 for _, _, value, _ in found), printed
    assert printed["server"].count("restart") == 2, printed
    assert {name: sh(session, name, address) for name in clients} == before
    for name in NAMES:  # the lines from before a restart are still there
        starts = sh(session, name, "grep -c 'Initialization Sequence Completed' logs/openvpn.log")
        assert int(starts) >= 2, name
