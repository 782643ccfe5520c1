"""What is wrong with a key, in the same words at launch and at configure, before a real sshd."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_sshd import LocalSshd, make_access

from perfkit.errors import HostError
from perfkit.fleet.static.host_agents import HostAgents
from perfkit.fleet.static.hostlist import Machine
from perfkit.model import Host
from perfkit.ssh.keys import fingerprint, make_ssh_key
from perfkit.ssh.remote import Remote

PASSPHRASE = "correct horse"


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSshd]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = make_ssh_key()
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(key.private_openssh)
    server = LocalSshd(tmp_path, key).start()
    server.host = replace(server.host, key_file=str(tmp_path / "key"))
    yield server
    server.stop()


def by_remote(host: Host, folder: Path) -> str:
    access = make_access(folder / "access", make_ssh_key(), host)
    with pytest.raises(HostError) as caught, Remote(host, access):
        pass
    return caught.value.message


def by_host_agent(host: Host, _folder: Path) -> str:
    machine = Machine(
        name=host.name,
        role=host.role,
        address=host.address,
        port=host.port,
        user=host.user,
        key_file=host.key_file,
        host_key=host.host_key,
    )
    with pytest.raises(HostError) as caught:
        HostAgents().ask(machine, "look", "/nonexistent/work")
    return caught.value.message


CLIENTS = [by_remote, by_host_agent]
Client = Callable[[Host, Path], str]


def with_passphrase(key: Path) -> None:
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", str(key)]
    subprocess.run(change, check=True, capture_output=True)


def as_old_pem(key: Path) -> None:
    key.unlink()
    make = ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", PASSPHRASE, "-f", str(key)]
    subprocess.run(make, check=True, capture_output=True)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda key: key.unlink(), "the key file {key} is not there"),
    "open": (lambda key: key.chmod(0o644), "can be read by others (mode 0644): chmod 600 {key}"),
    "no key": (lambda key: key.write_text("hello\n"), "the key file {key} holds no private key"),
    "a public one": (
        lambda key: key.write_text(make_ssh_key().public_openssh),
        "the key file {key} holds a public key: name the private one",
    ),
    "a passphrase": (
        with_passphrase,
        "the key {key} has a passphrase, and ssh-agent does not hold it: ssh-add {key}",
    ),
    "a passphrase in an old file": (
        as_old_pem,
        "the key {key} has a passphrase, and ssh-agent does not hold it: ssh-add {key}",
    ),
    "a stranger's": (
        lambda key: key.write_text(make_ssh_key().private_openssh),
        "it refused the key {key} for user ",
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_a_key_is_said_with_the_remedy(
    sshd: LocalSshd, tmp_path: Path, name: str, client: Client
) -> None:
    (tmp_path / "access").mkdir()
    key = Path(sshd.host.key_file)
    break_it, words = FAULTS[name]
    break_it(key)
    reason = client(sshd.host, tmp_path)
    assert words.format(key=key) in reason
    assert reason.startswith(words.format(key=key)[:12]) or name == "open"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_another_host_key_is_shown_beside_the_pinned_one(
    sshd: LocalSshd, tmp_path: Path, kind: str, client: Client
) -> None:
    (tmp_path / "access").mkdir()
    pinned = make_ssh_key().public_openssh
    if kind != "ssh-ed25519":
        make = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(tmp_path / "other")]
        subprocess.run(make, check=True, capture_output=True)
        pinned = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    assert pinned.startswith(kind)
    reason = client(replace(sshd.host, host_key=pinned), tmp_path)
    shown = fingerprint(sshd.host.host_key)
    assert f"it shows {shown}, pinned is {fingerprint(pinned)}" in reason
    assert "ssh-keygen -R" not in reason


def test_a_host_that_prints_without_end_is_not_listened_to(tmp_path: Path) -> None:
    key = make_ssh_key()
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(key.private_openssh)
    for stream in ("", " >&2"):
        endless = LocalSshd(tmp_path / f"to{len(stream)}", key, ForceCommand=f"yes{stream}").start()
        try:
            host = replace(endless.host, key_file=str(tmp_path / "key"))
            assert "it printed more than 1048576 bytes" in by_host_agent(host, tmp_path)
        finally:
            endless.stop()
