"""The host agent over perfkit's own SSH: few logins, none left, host keys shown and not trusted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_sshd import LocalSshd

from perfkit.errors import UnreachableError
from perfkit.fleet.static import host_agents
from perfkit.fleet.static.host_agents import HostAgents
from perfkit.fleet.static.hostlist import Machine
from perfkit.model import Role
from perfkit.ssh.keys import make_ssh_key
from perfkit.testing.provider_runs import wait_until

pytestmark = pytest.mark.root

KEY = make_ssh_key()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path, KEY, "gate", MaxStartups="1:100:1").start()
    yield server
    server.stop()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path, KEY).start()
    yield server
    server.stop()


def machine_of(sshd: LocalSshd, name: str = "", jump: Machine | None = None) -> Machine:
    key = sshd.root / "key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(KEY.private_openssh)
    return Machine(
        name=name or sshd.host.name,
        role=Role.CLIENT if sshd.host.name != "gate" else None,
        address=sshd.host.address,
        port=sshd.port,
        user=sshd.host.user,
        key_file=str(key),
        host_key=sshd.host.host_key,
        jump=jump,
    )


def logins(sshd: LocalSshd) -> int:
    return (sshd.root / "sshd.log").read_text().count("Accepted publickey")


def test_questions_share_a_login_which_ends_when_nobody_asks_any_more(
    sshd: LocalSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents, machine = HostAgents(), machine_of(sshd)
    for _ in range(3):
        assert "now" in agents.ask(machine, "look", "/nonexistent/work")
    assert logins(sshd) == 1
    monkeypatch.setattr(host_agents, "STAYS_OPEN_S", 0.0)
    agents.ask(machine, "look", "/nonexistent/work")
    assert wait_until(lambda: sshd.sessions() == [], 60)
    assert "now" in agents.ask(machine, "look", "/nonexistent/work")


def test_hosts_behind_a_jump_host_that_lets_in_one_at_a_time_are_asked_at_once(
    sshd: LocalSshd, gate: LocalSshd
) -> None:
    jump = machine_of(gate)
    machines = [machine_of(sshd, f"lab-{number}", jump) for number in range(8)]
    agents = HostAgents()
    with ThreadPoolExecutor(len(machines)) as pool:
        answers = list(pool.map(lambda it: agents.ask(it, "look", "/nonexistent/work"), machines))
    assert all("now" in answer for answer in answers)
    assert logins(gate) == 1


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_key_is_shown_through_a_jump_host_and_nobody_logs_in(
    tmp_path: Path, gate: LocalSshd, kind: str
) -> None:
    path = tmp_path / "shown"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    only = LocalSshd(tmp_path, KEY, "only", HostKey=str(path)).start()
    try:
        agents = HostAgents()
        for jump in (None, machine_of(gate)):
            shown = agents.fetch_host_key(machine_of(only, jump=jump))
            assert shown == " ".join(path.with_suffix(".pub").read_text().split()[:2])
        assert logins(only) == 0
    finally:
        only.stop()


def test_a_host_that_refuses_connections_is_named_without_waiting_for_it_to_boot(
    sshd: LocalSshd, gate: LocalSshd
) -> None:
    machine = machine_of(sshd, jump=machine_of(gate))
    sshd.stop()
    agents = HostAgents()
    for ask in (lambda: agents.ask(machine, "look", "/w"), lambda: agents.fetch_host_key(machine)):
        with pytest.raises(UnreachableError, match="its jump host could not connect to it") as said:
            ask()
        assert "attempts" not in said.value.message
