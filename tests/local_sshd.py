"""A real sshd for tests: on a loopback port, its own host key, one key that may log in.

As root it runs in a private mount namespace with an empty /run, because sshd insists on
/run/sshd there and a test must not make it on the machine.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from own_ports import free_port

from perfkit.model import Host, Role
from perfkit.ssh.keys import SshKey, make_ssh_key
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.ssh.remote import Access

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
PRIVATE_RUN = 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"'


class LocalSshd:
    """One sshd; `host` is how to reach it, `access` how to log in."""

    def __init__(self, root: Path, run_key: SshKey, name: str = "client-001", **options: str):
        self.root = root / name
        self.root.mkdir(parents=True)
        self.host_key = make_ssh_key()
        self.port = free_port()
        self.host = Host(
            name=name,
            role=Role.SERVER if name == "server" else Role.CLIENT,
            address="127.0.0.1",
            port=self.port,
            host_key=self.host_key.public_openssh,
            user=pwd.getpwuid(os.getuid()).pw_name,
            workdir=str(self.root / "work"),
        )
        self._write_config(run_key, options)
        self.process: subprocess.Popen[bytes] | None = None

    def _write_config(self, run_key: SshKey, options: dict[str, str]) -> None:
        key = self.root / "host_key"
        key.write_text(self.host_key.private_openssh)
        key.chmod(0o600)
        (self.root / "authorized_keys").write_text(run_key.public_openssh + "\n")
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": str(key),
            "AuthorizedKeysFile": str(self.root / "authorized_keys"),
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
            "SetEnv": f"HOME={self.root}",  # the developer's own .bashrc is no part of a test
            **options,
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        (self.root / "sshd_config").write_text(text)

    def start(self) -> LocalSshd:
        """Start it and wait until it listens."""
        argv = [str(SSHD), "-D", "-e", "-f", str(self.root / "sshd_config")]
        if os.geteuid() == 0:
            argv = ["unshare", "-m", "sh", "-c", PRIVATE_RUN, "sh", *argv]
        with (self.root / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + 60
        while "Server listening" not in (self.root / "sshd.log").read_text():
            assert self.process.poll() is None, (self.root / "sshd.log").read_text()
            assert time.monotonic() < give_up, "sshd does not listen"
            time.sleep(0.01)
        return self

    def sessions(self) -> list[int]:
        """Pids of the processes that serve connections, and what runs under them."""
        assert self.process is not None
        found: list[int] = []
        queue = [self.process.pid]
        while queue:
            with contextlib.suppress(OSError):  # one that has just ended
                threads = list(Path(f"/proc/{queue.pop()}/task").iterdir())
                pids = [int(pid) for it in threads for pid in (it / "children").read_text().split()]
                found += pids
                queue += pids
        return found

    def signal(self, number: signal.Signals, *, listener: bool = True) -> None:
        """Send a signal to the listener and to every session."""
        assert self.process is not None
        for pid in [*([self.process.pid] if listener else []), *self.sessions()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """End it and all its sessions."""
        if self.process is None:
            return
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None


def make_access(root: Path, key: SshKey, *hosts: Host, **options: float) -> Access:
    """Write the run's key and the hosts' pins; return the access that uses them."""
    key_path = root / "id_ed25519"
    key_path.write_text(key.private_openssh)
    key_path.chmod(0o600)
    known_hosts = root / "known_hosts"
    pin_hosts(known_hosts, hosts)
    return Access(key_path=key_path, known_hosts_path=known_hosts, **options)
