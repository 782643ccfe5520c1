"""One run as a provider's tests need it: its key, its requests, and OpenSSH into its hosts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Host, Role
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts

CLIENT_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "ConnectTimeout": "30",
}


@dataclass
class ProviderRun:
    """A run of a test: its id, its key in `folder`, and ssh into its hosts."""

    folder: Path
    run_id: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        key = make_ssh_key()
        self.public_key = key.public_openssh
        self.key_path = self.folder / f"{self.run_id}.key"
        self.key_path.touch(mode=0o600)
        self.key_path.write_text(key.private_openssh)
        self.known_hosts_path = self.folder / f"{self.run_id}.known_hosts"

    def request(
        self, *names: str, token: str = "first", life_s: float = 120.0, owner: str = "Åsa at test"
    ) -> LaunchRequest:
        """Ask for hosts of these names; `server` is the server."""
        keys = {name: make_ssh_key() for name in names}
        return LaunchRequest(
            token=token,
            run_id=self.run_id,
            owner=owner,
            expires_utc=datetime.now(UTC) + timedelta(seconds=life_s),
            authorized_key=self.public_key,
            hosts=tuple(
                HostRequest(
                    name=name,
                    role=Role.SERVER if name == "server" else Role.CLIENT,
                    host_key=keys[name].public_openssh,
                    host_key_private=keys[name].private_openssh,
                )
                for name in names
            ),
        )

    def pin(self, hosts: Iterable[Host]) -> None:
        """Know the hosts by the keys that the provider gave them."""
        pin_hosts(self.known_hosts_path, hosts)

    def client(self, program: str, host: Host, port_option: str) -> list[str]:
        """The command line of `ssh` or `sftp` to a host, up to the remote command."""
        options = {**CLIENT_OPTIONS, "UserKnownHostsFile": str(self.known_hosts_path)}
        key = host.key_file or str(self.key_path)
        words = [program, "-F", "none", "-i", key, port_option, str(host.port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return [*words, f"{host.user}@{host.address}"]

    def ssh(self, host: Host, script: str, *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host; waits for the host to answer at first."""
        self.pin([host])
        wait_until(lambda: answers(host), 60.0)
        return finished([*self.client("ssh", host, "-p"), script], stdin)


def finished(command: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """What a command did, whatever its status; it has two minutes."""
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def with_reasons(request: LaunchRequest) -> tuple[LaunchRequest, dict[str, str]]:
    """A request, and the reasons by host that its launch will give for those it does not make."""
    reasons: dict[str, str] = {}

    def record(_kind: str, **fields: Any) -> None:
        if "name" in fields and "reason" in fields:
            reasons[fields["name"]] = fields["reason"]
        reasons.update(fields.get("hosts", {}))

    return replace(request, record=record), reasons


def answers(host: Host) -> bool:
    """Whether the host's sshd greets."""
    try:
        with socket.create_connection((host.address, host.port), 2) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true in time; it is tried fifty times a second."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def in_fresh_process(code: str, *arguments: str) -> str:
    """What a Python process of its own prints, with nothing but these arguments."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout
