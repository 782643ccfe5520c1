"""What launch calls reachable, configure can use; what it refuses, configure could not have used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import local_sshd
import pytest
from local_sshd import LocalSshd, make_access
from own_ports import free_port

from perfkit.errors import PerfkitError
from perfkit.fleet.static.host_agents import HostAgents
from perfkit.fleet.static.hostlist import Machine
from perfkit.fleet.static.tags import obstacles
from perfkit.model import Host, Jump
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, RemotePool

pytestmark = pytest.mark.root

WORKDIR = "/var/lib/perfkit-nobodys"  # is looked at and not made
RUN_KEY = make_ssh_key()
# Reads what fish reads: sh, but for the status of the last command, which has another name there.
FISH = r"""#!/bin/sh
case $2 in *'$?'*) echo 'fish: $? is not the exit status. In fish, please use $status.' >&2; exit 127 ;; esac
exec /bin/sh "$@"
"""


@dataclass(frozen=True)
class Case:
    """A host as somebody has set it up."""

    host: Host
    access: Access


Make = Callable[..., Case]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Starts an sshd with options, and changes how it is described."""
    started: list[LocalSshd] = []

    def made(*, shell: str = "", bashrc: str = "", jump: str = "", **options: str) -> Case:
        passwd = (
            f"root:x:0:0::/root:{shell or '/bin/bash'}\nsshd:x:100:65534::/run/sshd:/bin/false\n"
        )
        (tmp_path / "passwd").write_text(passwd)
        private = f"mount --bind {tmp_path}/passwd /etc/passwd && {local_sshd.PRIVATE_RUN}"
        with monkeypatch.context() as patch:
            patch.setattr(local_sshd, "PRIVATE_RUN", private)
            sshd = LocalSshd(tmp_path, RUN_KEY, **options)
            (sshd.root / ".bashrc").write_text(bashrc)
            started.append(sshd.start())
            gate = LocalSshd(tmp_path, RUN_KEY, "gate")
            started.append(gate.start())
        # Only these are waited for to the end; for a login a busy machine may need longer.
        limit_s = 3.0 if jump == "down" or options.get("MaxSessions") == "0" else 60.0
        access = make_access(tmp_path, RUN_KEY, connect_timeout_s=limit_s, patience_s=limit_s)
        host = replace(sshd.host, key_file=str(access.key_path))
        if jump:
            at = gate.host
            way = {"address": at.address, "port": at.port, "user": at.user}
            hop = Jump(name="gate", host_key=at.host_key, key_file=host.key_file, **way)  # type: ignore[arg-type] # a dict of both
            host = replace(host, jump=hop)
        if jump == "down":
            gate.stop()
        return Case(host, access)

    yield made
    for sshd in started:
        sshd.stop()


def key_refused(make: Make) -> Case:
    case = make()
    stranger = case.access.key_path.with_name("stranger")
    stranger.touch(mode=0o600)
    stranger.write_text(make_ssh_key().private_openssh)
    return replace(case, host=replace(case.host, key_file=str(stranger)))


def shell_not_posix(make: Make, folder: Path) -> Case:
    fish = folder / "fish"
    fish.write_text(FISH)
    fish.chmod(0o755)
    return make(shell=str(fish))


def host_key_changed(make: Make) -> Case:
    case = make()
    return replace(case, host=replace(case.host, host_key=make_ssh_key().public_openssh))


def ipv6(make: Make) -> Case:
    port = free_port()
    case = make(ListenAddress=f"[::1]:{port}")
    return replace(case, host=replace(case.host, address="::1", port=port))


CASES: dict[str, tuple[Callable[[Make, Path], Case], str]] = {
    "as it should be": (lambda make, _: make(), ""),
    "MaxSessions 1": (lambda make, _: make(MaxSessions="1"), ""),
    "IPv6": (lambda make, _: ipv6(make), ""),
    "through a jump host": (lambda make, _: make(jump="up"), ""),
    "a login shell that is quiet": (lambda make, _: make(bashrc="echo noise >&2"), ""),
    "MaxSessions 0": (lambda make, _: make(MaxSessions="0"), "refuses every session"),
    "key refused": (lambda make, _: key_refused(make), "it refused the key"),
    "shell not POSIX": (shell_not_posix, "fish"),
    "host key changed": (lambda make, _: host_key_changed(make), "its host key is not the pinned"),
    "jump host down": (lambda make, _: make(jump="down"), "its jump host gate was not reached"),
    "no SFTP": (lambda make, _: make(Subsystem="other internal-sftp"), "no SFTP"),
    "a forced command": (lambda make, _: make(ForceCommand="echo go away"), ""),
    "a login shell that talks": (lambda make, _: make(bashrc="echo Welcome"), "Welcome"),
}
WRONG = {"a forced command", *(name for name, (_, words) in CASES.items() if words)}


def refused_by_host_agent(case: Case) -> str:
    """What preflight and launch of existing hosts have against it."""
    host = case.host
    hop = host.jump and Machine(
        name=host.jump.name,
        role=None,
        address=host.jump.address,
        port=host.jump.port,
        user=host.jump.user,
        key_file=host.jump.key_file,
        host_key=host.jump.host_key,
    )
    machine = Machine(
        name=host.name,
        role=host.role,
        address=host.address,
        port=host.port,
        user=host.user,
        key_file=host.key_file,
        host_key=host.host_key,
        jump=hop,
    )
    try:
        answer = HostAgents().ask(machine, "look", WORKDIR, files=True)
    except PerfkitError as exc:
        return str(exc)
    assert "now" in answer
    return "; ".join(obstacles(answer, WORKDIR, tunnel=False))


def refused_by_admission(case: Case) -> str:
    """What the launch of every provider has against it in the end."""
    with RemotePool(case.access) as pool:
        try:
            pool.admit(case.host)
        except PerfkitError as exc:
            return str(exc)
    return ""


def refused_by_configure(case: Case) -> str:
    """Why recipes could not work: they run commands, read numbers and put files."""
    access = replace(case.access, known_hosts_path=None)
    path = case.access.key_path.with_name("put")
    with RemotePool(access) as pool:
        try:
            remote = pool.get(case.host)
            assert remote.run_for_int("echo 42") == 42
            remote.put(b"text", str(path))
        except PerfkitError as exc:
            return str(exc)
    return ""


@pytest.mark.parametrize("name", CASES)
def test_launch_and_configure_agree_on_whether_a_host_can_be_used(
    make: Make, tmp_path: Path, name: str
) -> None:
    prepare, words = CASES[name]
    case = prepare(make, tmp_path)
    verdicts = {
        judge.__name__: judge(case)
        for judge in (refused_by_host_agent, refused_by_admission, refused_by_configure)
    }
    assert {bool(reason) for reason in verdicts.values()} == {name in WRONG}, verdicts
    for judge in (refused_by_host_agent, refused_by_admission):
        assert words in verdicts[judge.__name__]
