"""Hosts without any privilege: one sshd per host on 127.0.0.1, as the current user.

A host is a shell that starts the sshd and sleeps until the host's expiry; its command line is the
tag. Every process of the host, sessions and what they leave behind included, carries
`PERFKIT_HOST=<run>/<name>` in its environment, and is found and ended by that. Its folder lies
under the system's temporary folder, is the current user's alone, and goes with the host.

These hosts share the user's files and the machine's network: there are no tunnels, and nothing
protects the user from the tests.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import SystemRandom
from textwrap import dedent

import perfkit
from perfkit.errors import ConfigError, LaunchError, ProviderError
from perfkit.fleet.local import tags, tools
from perfkit.fleet.provider import HostRequest, LaunchRequest, ReleaseReport
from perfkit.model import Host

ADDRESS = "127.0.0.1"
START_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 15.0
PORTS = range(20_000, 32_000)  # Linux hands out 32,768 and up
DISK_PER_HOST_BYTES = 2_000_000
ENVIRONMENT_NAME = "PERFKIT_HOST"
TOKENS = ".tokens"

# $0 is the tag. At its expiry the shell becomes the sweeper of its own host.
_HOLDER = """
"$1" -D -e -f "$2/sshd_config" 2>>"$2/sshd.log" &
sleep "$3"
cd "$4" && exec "$5" -m perfkit.fleet.local.loopback "$6" "$7"
"""


def run_folder(run_id: str) -> Path:
    """Where the hosts of a run have their folders."""
    return _user_folder() / run_id


def runs() -> list[str]:
    """Ids of the runs that have a folder."""
    return sorted(path.name for path in _user_folder().glob("*"))


def folders(run_id: str) -> list[str]:
    """The run's folder if it is there, for people to read."""
    return [f"folder {run_folder(run_id)}"] if run_folder(run_id).is_dir() else []


def check_folder(n_hosts: int) -> None:
    """Refuse a temporary folder that cannot hold the hosts.

    Raises:
        ProviderError: it cannot be written, is too full, or this is not Linux.
    """
    if not Path("/proc/self/status").exists():
        raise ProviderError(
            "local hosts are found again by their tags in /proc, which this system does not have; "
            "use Linux, or a provider of remote hosts"
        )
    base = Path(tempfile.gettempdir())
    if not os.access(base, os.W_OK):
        raise ProviderError(f"{base}: cannot be written; set TMPDIR to a folder that can")
    free_bytes, needed_bytes = shutil.disk_usage(base).free, n_hosts * DISK_PER_HOST_BYTES
    if free_bytes < needed_bytes:
        raise ProviderError(
            f"{base}: {n_hosts} hosts need {needed_bytes // 1_000_000} MB, "
            f"{free_bytes // 1_000_000} MB are free; make room or set TMPDIR"
        )


def check_ports(ports: Iterable[int]) -> None:
    """Refuse ports that another program of this machine listens on.

    Raises:
        ConfigError: one is taken.
    """
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                raise ConfigError(
                    "tests.conf",
                    "port",
                    port,
                    f"loopback hosts cannot listen there: {exc.strerror}",
                    f"end what listens there (ss -ltnp 'sport = {port}'), or set another port",
                ) from exc


def launch(request: LaunchRequest) -> list[Host]:
    """Start the batch's sshds; a token that was served before starts nothing.

    Raises:
        LaunchError: not one answers.
    """
    sshd = tools.find("sshd")
    run = run_folder(request.run_id)
    try:
        _user_folder().mkdir(mode=0o700, exist_ok=True)
        (run / TOKENS).mkdir(mode=0o700, parents=True, exist_ok=True)
        (run / TOKENS / sha256(request.token.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return _alive(request)
    except OSError as exc:
        raise LaunchError(f"run {request.run_id}: {run}: {exc.strerror}") from exc
    started = _start_all(request, sshd)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    hosts = [host for host in started if _answers(host, deadline_s)]
    if not hosts:
        log = run / request.hosts[0].name / "sshd.log"
        said = log.read_text(errors="replace").strip() if log.exists() else "nothing"
        raise LaunchError(f"run {request.run_id}: no sshd answers on {ADDRESS}; {log}: {said}")
    silent = [host.name for host in started if host not in hosts]
    if silent:
        end(request.run_id, silent)
    return hosts


def end(run_id: str, names: Sequence[str] | None = None) -> ReleaseReport:
    """End hosts of a run by their tag, with all that runs in them, and remove their folders."""
    run = run_folder(run_id)
    present = [path.name for path in run.iterdir()] if run.is_dir() else []
    ending = [name for name in present if name != TOKENS and (names is None or name in names)]
    leaked, released = [], []
    for name in ending:
        left = _end_processes(run_id, name)
        leaked += [f"{name} (pid {pid})" for pid in left]
        if not left:
            shutil.rmtree(run / name, ignore_errors=True)
            released.append(name)
    if run.is_dir() and (names is None or not _host_names(run)) and not leaked:
        shutil.rmtree(run, ignore_errors=True)
        with suppress(OSError):
            _user_folder().rmdir()  # other runs may be in it
    return ReleaseReport(leaked=tuple(leaked), released=tuple(released))


def _user_folder() -> Path:
    return Path(tempfile.gettempdir(), f"perfkit-{os.getuid()}")


def _host_names(run: Path) -> list[str]:
    return [path.name for path in run.iterdir() if path.name != TOKENS]


def _make_privilege_separation_folder() -> None:
    """Root's sshd insists on its empty folder, which the package makes at boot, not everywhere."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now.

    Not those the kernel hands out for outgoing connections: one of them may be taken between
    here and the sshd that is to listen on it.

    Raises:
        LaunchError: there are not so many.
    """
    chosen: list[int] = []
    for port in SystemRandom().sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind((ADDRESS, port))
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise LaunchError(f"{ADDRESS}: {count} free ports in {PORTS} asked for, {len(chosen)} found")


def _start_all(request: LaunchRequest, sshd: str) -> list[Host]:
    run, settings = run_folder(request.run_id), tools.sshd_extra_lines()
    try:
        _make_privilege_separation_folder()
        new = [wanted for wanted in request.hosts if not (run / wanted.name).exists()]
        ports = _free_ports(len(new))
        for wanted, port in zip(new, ports, strict=True):
            _write_folder(run / wanted.name, request, wanted, port, settings)
            _start(request, wanted, port, sshd)
    except OSError as exc:
        raise LaunchError(f"run {request.run_id}: {run}: {exc}") from exc
    return [_host(request.run_id, wanted, port) for wanted, port in zip(new, ports, strict=True)]


def _start(request: LaunchRequest, wanted: HostRequest, port: int, sshd: str) -> None:
    folder = run_folder(request.run_id) / wanted.name
    expires_s = request.expires_utc.timestamp()
    tag = tags.format_tag(
        tags.HOST,
        {
            "run": request.run_id,
            "name": wanted.name,
            "role": wanted.role,
            "address": ADDRESS,
            "port": port,
            "expires": f"{expires_s:.0f}",
            "owner": request.owner,
            "isolation": tags.LOOPBACK,
        },
    )
    life_s = str(max(1, round(expires_s - time.time())))
    owner = (request.run_id, wanted.name)
    source = str(Path(perfkit.__file__).resolve().parents[1])
    null = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _HOLDER, tag, sshd, str(folder), life_s, source, sys.executable, *owner],
        {**os.environ, ENVIRONMENT_NAME: "/".join(owner)},
        file_actions=null,
        setsid=True,
    )


def _write_folder(
    folder: Path, request: LaunchRequest, wanted: HostRequest, port: int, settings: Sequence[str]
) -> None:
    (folder / "work").mkdir(mode=0o700, parents=True, exist_ok=True)
    # A home of its own: the user's shell profile may do slow things at every SSH command.
    config = dedent(f"""\
        ListenAddress {ADDRESS}
        Port {port}
        HostKey {folder}/host_key
        AuthorizedKeysFile {folder}/authorized_keys
        StrictModes no
        PidFile none
        AuthenticationMethods publickey
        PermitRootLogin prohibit-password
        UsePAM no
        UseDNS no
        PrintMotd no
        X11Forwarding no
        MaxStartups 200
        MaxSessions 100
        Subsystem sftp internal-sftp
        SetEnv {ENVIRONMENT_NAME}={request.run_id}/{wanted.name} "HOME={folder}/work"
        """)
    files = {
        "host_key": wanted.host_key_private.rstrip("\n") + "\n",
        "authorized_keys": f"{request.authorized_key}\n",
        "sshd_config": config + "".join(f"{line}\n" for line in settings),
    }
    for name, text in files.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:  # noqa: PTH123  not a path
            file.write(text)


def _alive(request: LaunchRequest) -> list[Host]:
    """Those of the request's hosts that run, by their tags."""
    ports = {
        tagged.fields["name"]: int(tagged.fields["port"])
        for tagged in tags.scan(request.run_id)
        if tagged.kind == tags.HOST and tagged.isolation == tags.LOOPBACK
    }
    return [
        _host(request.run_id, wanted, ports[wanted.name])
        for wanted in request.hosts
        if wanted.name in ports
    ]


def _host(run_id: str, wanted: HostRequest, port: int) -> Host:
    return Host(
        name=wanted.name,
        role=wanted.role,
        address=ADDRESS,
        host_key=wanted.host_key,
        port=port,
        user=pwd.getpwuid(os.getuid()).pw_name,
        workdir=str(run_folder(run_id) / wanted.name / "work"),
        can_tunnel=False,
    )


def _answers(host: Host, deadline_s: float) -> bool:
    """Wait until the host's sshd greets, or `time.monotonic()` is past the deadline."""
    while time.monotonic() < deadline_s:
        with suppress(OSError), socket.create_connection((host.address, host.port), 1) as link:
            link.settimeout(1)
            if link.recv(4) == b"SSH-":
                return True
        time.sleep(0.02)
    return False


def _end_processes(run_id: str, name: str) -> list[int]:
    """Kill all processes of a host but this one until there are none; those that would not go."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while (left := _processes_of(run_id, name) - {os.getpid()}) and time.monotonic() < deadline_s:
        ending = []
        for pid in left:
            with suppress(ProcessLookupError):
                ending.append((pid, os.pidfd_open(pid)))
                os.kill(pid, signal.SIGKILL)
        for pid, fd in ending:  # its ports are free when it has ended
            tags.await_end(pid, fd, deadline_s)
        time.sleep(0.01)
    return sorted(left)


def _processes_of(run_id: str, name: str) -> set[int]:
    """The host's processes: those with its mark, its sshd, and the children of both.

    sshd writes its title over its environment, so it is known by the folder in its command line.
    """
    mark = f"\0{ENVIRONMENT_NAME}={run_id}/{name}\0".encode()
    config = f"{run_folder(run_id) / name}/sshd_config".encode()
    found: set[int] = set()
    children: dict[int, list[int]] = {}
    for pid in tags.pids():
        folder = Path(f"/proc/{pid}")
        with suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            command_line = (folder / "cmdline").read_bytes()
            if not command_line:
                continue  # a zombie
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
            is_sshd = b"sshd" in command_line.split(b"\0")[0] and config in command_line
            if is_sshd or mark in b"\0" + (folder / "environ").read_bytes():
                found.add(pid)
    return found | set(_descendants(found, children))


def _descendants(roots: set[int], children: dict[int, list[int]]) -> Iterator[int]:
    pending = list(roots)
    while pending:
        for child in children.get(pending.pop(), ()):
            yield child
            pending.append(child)


if __name__ == "__main__":
    # The end of a host's life: its shell has become this process.
    end(sys.argv[1], [sys.argv[2]])
