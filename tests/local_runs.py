"""What tests of providers need: requests with fresh keys, and OpenSSH's own client, pinned."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Host, Role


def new_key() -> tuple[str, str]:
    """A fresh ed25519 key as OpenSSH writes it: private, public."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()


@dataclass
class LocalRun:
    """One run of a test: its id, its key, and ssh into its hosts."""

    folder: Path
    run_id: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        private, self.public_key = new_key()
        self.key_path = self.folder / f"{self.run_id}.key"
        self.key_path.write_text(private)
        self.key_path.chmod(0o600)
        self.known_hosts_path = self.folder / f"{self.run_id}.known_hosts"

    def request(
        self, *names: str, token: str = "first", life_s: float = 120.0, owner: str = "Åsa at test"
    ) -> LaunchRequest:
        hosts = []
        for name in names:
            private, public = new_key()
            role = Role.SERVER if name == "server" else Role.CLIENT
            hosts.append(
                HostRequest(name=name, role=role, host_key=public, host_key_private=private)
            )
        return LaunchRequest(
            token=token,
            run_id=self.run_id,
            owner=owner,
            expires_utc=datetime.now(UTC) + timedelta(seconds=life_s),
            authorized_key=self.public_key,
            hosts=tuple(hosts),
        )

    def pin(self, hosts: Iterable[Host]) -> None:
        self.known_hosts_path.write_text(
            "".join(f"[{h.address}]:{h.port} {h.host_key}\n" for h in hosts)
            + "".join(f"{h.address} {h.host_key}\n" for h in hosts if h.port == 22)
        )

    def client(self, program: str, host: Host, port_option: str) -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts_path),
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "ConnectTimeout": "10",
        }
        words = [program, "-F", "none", "-i", str(self.key_path), port_option, str(host.port)]
        for key, value in options.items():
            words += ["-o", f"{key}={value}"]
        return [*words, f"{host.user}@{host.address}"]

    def ssh(
        self, host: Host, script: str, *, stdin: str = "", timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host; waits for the host to answer at first."""
        self.pin([host])
        wait_until(lambda: answers(host), 10.0)
        return subprocess.run(
            [*self.client("ssh", host, "-p"), script],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def answers(host: Host) -> bool:
    """Whether the host's sshd greets."""
    try:
        with socket.create_connection((host.address, host.port), 2) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true in time."""
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
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout
