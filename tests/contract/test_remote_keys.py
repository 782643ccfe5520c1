"""A host's own key, a key that the agent holds, the way through a jump host; a host without SFTP."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_sshd import LocalSshd, make_access

from perfkit.errors import TransferError, UnreachableError
from perfkit.model import Jump
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, Remote, RemotePool
from perfkit.testing.provider_runs import wait_until

PASSPHRASE = "correct horse"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[LocalSshd]:
    """Lets in one key, which is not the run's."""
    key = make_ssh_key()
    own = tmp_path / "own_key"
    own.touch(mode=0o600)
    own.write_text(key.private_openssh)
    (tmp_path / "own_key.pub").write_text(key.public_openssh + " me@desk\n")
    server = LocalSshd(tmp_path, key).start()
    server.host = replace(server.host, key_file=str(own))
    yield server
    server.stop()


@pytest.fixture
def access(sshd: LocalSshd, tmp_path: Path) -> Access:
    return make_access(tmp_path, make_ssh_key(), sshd.host, connect_timeout_s=20, patience_s=20)


def test_a_host_gets_its_own_key_and_not_the_runs(sshd: LocalSshd, access: Access) -> None:
    with Remote(sshd.host, access) as remote:
        assert remote.run(["echo", "in"]).stdout == "in\n"
    with pytest.raises(UnreachableError, match="refused"):
        Remote(replace(sshd.host, key_file=""), access).open()


def test_a_host_without_sftp_is_told_what_to_give_it(tmp_path: Path) -> None:
    key = make_ssh_key()
    bare = LocalSshd(tmp_path, key, Subsystem="other internal-sftp").start()
    try:
        with Remote(bare.host, make_access(tmp_path, key, bare.host)) as remote:
            with pytest.raises(TransferError, match="no SFTP: give its sshd_config a Subsystem"):
                remote.put(b"text", f"{tmp_path}/file")
            assert remote.run(["echo", "in"]).stdout == "in\n"
    finally:
        bare.stop()


def test_a_key_with_a_passphrase_is_used_through_the_agent_or_refused_with_the_remedy(
    sshd: LocalSshd, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sshd.host.key_file
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    ask.chmod(0o700)
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", key]
        subprocess.run(change, check=True, capture_output=True)
        with pytest.raises(UnreachableError, match=r"passphrase.*ssh-add "):
            Remote(sshd.host, access).open()
        # The socket is there before anybody listens at it; 2: nobody does, 1: no key yet.
        asks = ["ssh-add", "-l"]
        assert wait_until(
            lambda: subprocess.run(asks, capture_output=True, check=False).returncode == 1, 60
        )
        env = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", key], env=env, check=True, capture_output=True)
        with Remote(sshd.host, access) as remote:
            assert remote.run(["echo", "in"]).stdout == "in\n"
    finally:
        agent.terminate()
        agent.wait()


def test_hosts_behind_a_jump_host_share_one_connection_to_it(
    sshd: LocalSshd, access: Access, tmp_path: Path
) -> None:
    gate_key = make_ssh_key()
    gate = LocalSshd(tmp_path, gate_key, "gate").start()
    (tmp_path / "gate_key").touch(mode=0o600)
    (tmp_path / "gate_key").write_text(gate_key.private_openssh)
    jump = Jump(
        name="gate",
        address=gate.host.address,
        port=gate.port,
        user=gate.host.user,
        host_key=gate.host.host_key,
        key_file=str(tmp_path / "gate_key"),
    )
    hosts = [replace(sshd.host, name=f"client-{n:03d}", jump=jump) for n in range(4)]
    try:
        with RemotePool(access) as pool:
            for host in hosts:
                pool.admit(host)
                assert pool.get(host).run(["echo", "in"]).stdout == "in\n"
            log = (gate.root / "sshd.log").read_text()
            assert log.count("Accepted publickey") == 1
    finally:
        gate.stop()
