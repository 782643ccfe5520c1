"""A host that was taken over: it answers SSH and SFTP, and lies, floods and stalls in every answer.

`ATTACKS` names each way with the words by which the result must tell it. All of them are tried
through `perfkit.measure.collect`, which is what meets a host's files.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
from local_sshd import make_access
from measured_fleet import spec

from perfkit.measure.collect import collect
from perfkit.measure.plan import plan
from perfkit.model import Host, HostResult, Role
from perfkit.runs import folder as runs
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import RemotePool

CONTENT = b"[  1] 0.00-1.00 sec  10 MBytes\n" * 50
LOG, RECORD = "01-attack.log", "01-attack.events.json"
DEADLINE_S = 60.0  # none comes near it on an idle machine but those that never end
SHORT_S = 3.0  # for them


def listed(name: str, content: bytes = CONTENT, size: int | None = None) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{digest}  ./{name}\nsize {len(content) if size is None else size} {name}\n"


HONEST = listed(LOG) + listed(RECORD)


def endless_names() -> Iterator[bytes]:
    """Names without end, each plausible."""
    for number in itertools.count():
        yield b"".join(listed(f"{number:07d}-{n}.log").encode() for n in range(100))


def many_names() -> str:
    """Two thousand plausible names, and as many that are none."""
    good = [listed(f"{number:05d}.log") for number in range(2000)]
    return "".join([HONEST, *good, *(listed(f"{number} .log") for number in range(2000))])


@dataclass(frozen=True)
class Attack:
    """How one host misbehaves.

    Attributes:
        words: The result's reason holds them.
        size: What `lstat` says.
        read: Answer to a read of `length` bytes at `offset`.
        raw: Bytes sent in place of each answer of the file service.
    """

    words: str
    listing: str | Callable[[], Iterator[bytes]] = HONEST
    mode: int = stat.S_IFREG | 0o644
    size: int | None = len(CONTENT)
    read: Callable[[int, int], bytes] = lambda offset, length: CONTENT[offset : offset + length]
    raw: bytes = b""
    deadline_s: float = DEADLINE_S


def drip(_offset: int, _length: int) -> bytes:
    time.sleep(0.2)
    return b"["


ATTACKS = {
    "a name that climbs": Attack("../../escape", listed("../../escape.log") + HONEST),
    "an absolute name": Attack("/etc/cron.d/x", listed("/etc/cron.d/x") + HONEST),
    "a hidden name": Attack(".ssh-authorized", listed(".ssh-authorized") + HONEST),
    "a name for the terminal": Attack("x1b]0;owned", listed("\x1b]0;owned\x07.log") + HONEST),
    "a name for the shell": Attack("$(reboot)", listed("$(reboot).log") + HONEST),
    "a link in place of a log": Attack("not a regular file", mode=stat.S_IFLNK | 0o777),
    "a device in place of a log": Attack("not a regular file", mode=stat.S_IFCHR | 0o666),
    "a pipe in place of a log": Attack("not a regular file", mode=stat.S_IFIFO | 0o666),
    "a file of 10 TB": Attack("too large", listed(LOG, size=10**13) + listed(RECORD)),
    "a file that grew to 10 TB": Attack("more than the limit", size=10**13),
    "a file of no size": Attack("does not say its size", size=None),
    "a file that ends early": Attack("it ended after", read=lambda _o, _l: b""),
    "a file that never ends": Attack("SHA-256", read=lambda _o, length: b"x" * length),
    "another file than listed": Attack("SHA-256", read=lambda o, n: (b"y" * 1600)[o : o + n]),
    "a byte now and then": Attack("not done within", read=drip, deadline_s=SHORT_S),
    "answers larger than asked for": Attack("SHA-256", read=lambda _o, _l: b"z" * (4 << 20)),
    "answers that are no answers": Attack("Garbage packet", raw=b"\xff" * 64),
    "an answer that never comes whole": Attack("lost", raw=b"\x00\xff\xff\xff\x65"),
    "names without end": Attack("not done within", endless_names, deadline_s=SHORT_S),
    "thousands of names": Attack("more names", many_names()),
}


class _Files(paramiko.SFTPServerInterface):
    """The files as the attack wants them seen."""

    def __init__(self, server: _Server, *more: Any, **options: Any) -> None:
        super().__init__(server, *more, **options)
        self.attack = server.attack

    def lstat(self, _path: str) -> paramiko.SFTPAttributes:
        found = paramiko.SFTPAttributes()
        found.st_mode, found.st_size = self.attack.mode, self.attack.size
        return found

    stat = lstat

    def open(self, _path: str, _flags: int, _attr: Any) -> paramiko.SFTPHandle:
        return _Handle(self.attack)


class _Handle(paramiko.SFTPHandle):
    def __init__(self, attack: Attack) -> None:
        super().__init__()
        self.attack = attack

    def read(self, offset: int, length: int) -> bytes:
        return self.attack.read(offset, length) or paramiko.SFTP_EOF  # type: ignore[return-value] # its own type

    def stat(self) -> paramiko.SFTPAttributes:
        return _Files.lstat(self, "")  # type: ignore[arg-type] # it too has an attack


class _RawSftp(paramiko.SFTPServer):
    """A file service that sends the attack's bytes in place of its answers."""

    def start_subsystem(self, _name: str, _transport: Any, channel: paramiko.Channel) -> None:
        raw = self.server.attack.raw
        if not raw:
            super().start_subsystem(_name, _transport, channel)
            return
        with contextlib.suppress(Exception):
            while channel.recv(1 << 15):
                channel.sendall(raw)


class _Server(paramiko.ServerInterface):
    def __init__(self, attack: Attack, heard: Counter[str]) -> None:
        self.attack, self.heard = attack, heard

    def check_auth_publickey(self, _username: str, _key: paramiko.PKey) -> int:
        self.heard["logins"] += 1
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, _username: str) -> str:
        return "publickey"

    def check_channel_request(self, _kind: str, _chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, _command: bytes) -> bool:
        self.heard["commands"] += 1
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        return True

    def _answer(self, channel: paramiko.Channel) -> None:
        listing = self.attack.listing
        with contextlib.suppress(Exception):
            channel.recv(1)  # its input ends once paramiko has said yes to the command
            for piece in [listing.encode()] if isinstance(listing, str) else listing():
                channel.sendall(piece)
            channel.send_exit_status(0)
            channel.close()


@contextlib.contextmanager
def hostile_host(folder: Path, attack: Attack, heard: Counter[str] | None = None) -> Iterator[Host]:
    """Have such a host on a loopback port; `heard` counts the logins and commands it gets."""
    counts: Counter[str] = Counter() if heard is None else heard
    key = make_ssh_key()
    path = folder / "hostile_key"
    path.write_text(key.private_openssh)
    host_key = paramiko.Ed25519Key(filename=str(path))
    transports: list[paramiko.Transport] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    transport = paramiko.Transport(listener.accept()[0])
                    transports.append(transport)
                    transport.add_server_key(host_key)
                    transport.set_subsystem_handler("sftp", _RawSftp, _Files)
                    with contextlib.suppress(paramiko.SSHException, EOFError):
                        transport.start_server(server=_Server(attack, counts))

        threading.Thread(target=serve, daemon=True).start()
        yield Host(
            name="client-001",
            role=Role.CLIENT,
            address="127.0.0.1",
            port=listener.getsockname()[1],
            host_key=key.public_openssh,
            workdir="/work",
        )
        listener.shutdown(socket.SHUT_RDWR)
        for transport in transports:
            transport.close()


@dataclass(frozen=True)
class Damage:
    """What an attack came to: the host's result, and what is on the disk because of it."""

    result: HostResult
    elapsed_s: float
    escaped: list[str]  # files and folders beyond the host's own folder
    kept: dict[str, bytes]  # what stands under a log's name
    written_bytes: int


def collect_from(attack: Attack, folder: Path) -> Damage:
    """Collect one client's logs from such a host."""
    slots = plan([replace(spec("attack", folder, "true"), server="192.0.2.1")])
    run = runs.create(folder / "runs", "hostile", {})
    with hostile_host(folder, attack) as host:
        limits = {"connect_timeout_s": 4.0, "command_timeout_s": 60.0, "patience_s": 30.0}
        access = make_access(folder, make_ssh_key(), host, **limits)
        before = set(folder.rglob("*"))
        began = time.monotonic()
        with RemotePool(access, log_dir=run.root / "hosts") as pool:
            stage = collect(run, [host], slots, pool=pool, deadline_s=attack.deadline_s)
        elapsed_s = time.monotonic() - began
    own = run.host_raw_dir(host.name)
    came = [path for path in folder.rglob("*") if path not in before and path.is_file()]
    allowed = (own, run.root / "hosts" / host.name, run.sums_path)
    return Damage(
        result=stage.results[0],
        elapsed_s=elapsed_s,
        escaped=[str(p) for p in came if not any(p.is_relative_to(a) for a in allowed)],
        kept={p.name: p.read_bytes() for p in own.glob("[!.]*")} if own.exists() else {},
        written_bytes=sum(path.stat().st_size for path in came),
    )
