"""Hosts in namespaces, seen from the unprivileged side: start the keeper, ask it, sweep.

Keeps no state: what there is, is found by tag. The keeper is a child of the process that
launches first, and goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import perfkit
from perfkit.errors import LaunchError, LaunchUnknownError, ProviderError, ReleaseError
from perfkit.fleet.local import claims, cleanup, ipv6, keeper, linux, tags, userns
from perfkit.fleet.local.stalls import StallWatch
from perfkit.fleet.provider import LaunchRequest, ReleaseReport
from perfkit.model import Host, Role

# Under sudo it is sudo that is watched, which waits all the while: so this bounds the whole of it.
STALL_S = 90.0
LOOK_EVERY_S = 1.0

_SOURCE = Path(perfkit.__file__).resolve().parents[1]


def privileged(*arguments: str) -> list[str] | None:
    """Command line of the keeper with root's rights; None when we have no way to them."""
    command = [sys.executable, "-m", "perfkit.fleet.local.keeper", *arguments]
    if os.geteuid() == 0:
        return command
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    asked = subprocess.run(
        [sudo, "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return [sudo, "-n", *command] if asked.returncode == 0 else None


def why_not() -> str | None:
    """The reason why hosts in namespaces cannot be had here, without trying; None when they can.

    Where root would not help, `; ` and what would follows the reason.
    """
    if not sys.platform.startswith("linux"):
        return f"namespaces are Linux's, this is {sys.platform}"
    if privileged() is None:
        return "neither root nor passwordless sudo"
    if os.geteuid() == 0:
        has = linux.effective_capabilities()
        lacks = [name for name, bit in linux.MAKER_CAPABILITIES.items() if not has >> bit & 1]
        if lacks:
            return f"root without {', '.join(lacks)}, as in a container"
    return userns.why_not()


def probe() -> None:
    """Try once, for real, what making a host takes.

    Raises:
        ProviderError: it does not work here; the message is the kernel's reason.
    """
    done = _run(["probe"])
    if done.returncode:
        raise ProviderError(
            f"{done.stderr.strip() or 'the probe failed'}; "
            "inside a container give it --privileged, or set isolation=loopback"
        )


def probe_links(needs: Sequence[str]) -> str:
    """Why hosts here cannot have links that need these; empty: they can."""
    done = _run(["probe-links", *needs])
    return done.stderr.strip() or "the probe failed" if done.returncode else ""


def ask_keeper(run_id: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """What the run's keeper answers to a message about its links, see `keeper.Keeper`.

    Raises:
        LaunchError: there is no keeper, or it refuses.
    """
    connection = _connect(run_id)
    if connection is None:
        raise LaunchError(f"run {run_id}: it has no keeper any more, so its hosts are gone")
    with connection:
        return _exchange(connection, run_id, message)


def launch(
    request: LaunchRequest,
    hidden: Sequence[Path],
    *,
    can_tunnel: bool,
    n_hosts: int = 0,
    outside: Mapping[str, str] | None = None,
) -> list[Host]:
    """Have the run's keeper make the hosts; starts the keeper when there is none.

    Args:
        n_hosts: As many as the run may come to have; what is asked for now may be a part of them.
        outside: `subnet` and `peers` (separated by commas) of `network.Outside`; None: hosts reach
            nobody outside this machine.

    Raises:
        LaunchError: not one could be made.
    """
    connection = _connect(request.run_id) or _start_keeper(
        request, hidden, max(n_hosts, len(request.hosts)), outside or {}
    )
    with connection:
        answer = _exchange(connection, request.run_id, _message_of(request))
    running = {fields["name"]: fields for fields in answer["hosts"]}
    ended = "it was made and has ended since"
    reasons = {
        wanted.name: answer["failed"].get(wanted.name, ended)
        for wanted in request.hosts
        if wanted.name not in running
    }
    if not running:
        said = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise LaunchError(
            f"run {request.run_id}: none of {len(request.hosts)} hosts could be made: {said}"
        )
    for name, why in reasons.items():
        request.record("launch-shortfall", name=name, reason=why)
    return [
        Host(
            name=wanted.name,
            role=Role(wanted.role),
            address=running[wanted.name]["address"],
            host_key=wanted.host_key,
            can_tunnel=can_tunnel,
            ipv6_address=ipv6.address_of(running[wanted.name]["address"])
            if request.with_ipv6
            else "",
        )
        for wanted in request.hosts
        if wanted.name in running
    ]


def end(run_id: str, names: Sequence[str] | None = None) -> ReleaseReport:
    """End a run or some of its hosts, by tag.

    Raises:
        ReleaseError: there is no way to root's rights, or the sweep itself failed.
    """
    there = [tagged for tagged in tags.scan(run_id) if tagged.isolation == tags.NAMESPACES]
    if not there and not cleanup.uplinks(run_id):
        return ReleaseReport()
    if os.geteuid() == 0:
        result = cleanup.end_here(run_id, names)
    else:
        done = _run(["end", run_id, *(names or ())])
        try:
            result = json.loads(done.stdout)
        except ValueError as exc:
            raise ReleaseError(
                f"run {run_id}: {done.stderr.strip()}", [str(tagged) for tagged in there]
            ) from exc
    for tagged in there:
        tags.reap(tagged.pid)  # the keeper, or sudo, may be a child of this process
    return ReleaseReport(**{name: tuple(found) for name, found in result.items()})


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = privileged(*arguments)
    if command is None:
        raise ProviderError("local hosts in namespaces need root or passwordless sudo")
    process = subprocess.Popen(
        command,
        cwd=_SOURCE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = StallWatch(process.pid)
    while not watch.has_stalled(STALL_S):
        with contextlib.suppress(subprocess.TimeoutExpired):
            said = process.communicate(timeout=LOOK_EVERY_S)
            return subprocess.CompletedProcess(command, process.returncode, *said)
    with contextlib.suppress(PermissionError):  # sudo is root's
        process.kill()
    raise ProviderError(f"{' '.join(arguments)}: it has done nothing for {STALL_S:.0f} s")


def _connect(run_id: str) -> socket.socket | None:
    """Connect to the run's keeper; None when there is none.

    Raises:
        LaunchError: it is another user's.
    """
    path = claims.socket_path(run_id)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        connection.close()
        return None
    except OSError as exc:
        connection.close()
        raise LaunchError(
            f"run {run_id}: {path}: {exc.strerror}: its keeper is for root and for the user who "
            "launched first; continue as one of them"
        ) from exc
    if keeper.peer(connection)[1] != 0:
        connection.close()
        raise LaunchError(f"run {run_id}: {path} is held by a user who is not root: remove it")
    return connection


def _start_keeper(
    request: LaunchRequest, hidden: Sequence[Path], n_hosts: int, outside: Mapping[str, str]
) -> socket.socket:
    tag = tags.format_tag(
        tags.KEEPER,
        {
            "run": request.run_id,
            "expires": f"{request.expires_utc.timestamp():.0f}",
            "owner": request.owner,
            "uid": os.getuid(),
            "hosts": n_hosts,
            **outside,
        },
    )
    command = privileged("keep", tag, *(str(path) for path in hidden))
    if command is None:
        raise LaunchError("local hosts in namespaces need root or passwordless sudo")
    said = _spawn_detached(command)
    if said.endswith((keeper.READY, keeper.EXISTS)):
        connection = _connect(request.run_id)
        if connection:
            return connection
        said = "it was ready, but ended before the first request"
    raise LaunchError(f"run {request.run_id}: no keeper of the run's network: {said.strip()}")


def _spawn_detached(command: Sequence[str]) -> str:
    """Start the keeper in a session of its own; what it printed until it was ready.

    Not `subprocess`: the process outlives us, and nothing here may hold on to it.
    """
    reader, writer = os.pipe()
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", 'cd "$0" && exec "$@"', str(_SOURCE), *command],
        os.environ,
        file_actions=[
            null,
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
        ],
        setsid=True,
    )
    os.close(writer)
    said, ended = _listen(reader, StallWatch(pid))
    if ended:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return said if said.endswith(keeper.EXISTS) else f"{said.strip() or 'no output'} ({how})"
    return said


def _listen(reader: int, watch: StallWatch) -> tuple[str, bool]:
    """What the keeper prints until it is ready, has ended, or got nowhere; whether it ended."""
    said = ""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    try:
        while not watch.has_stalled(STALL_S):
            if poll.poll(LOOK_EVERY_S * 1000):
                more = os.read(reader, 4096).decode(errors="replace")
                said += more
                if not more or said.endswith(keeper.READY):
                    return said, not more
        return f"{said}it has done nothing for {STALL_S:.0f} s", False
    finally:
        os.close(reader)


def _message_of(request: LaunchRequest) -> dict[str, Any]:
    return {
        "token": request.token,
        "owner": request.owner,
        "expires": request.expires_utc.timestamp(),
        "authorized_key": request.authorized_key,
        "with_ipv6": request.with_ipv6,
        "hosts": [asdict(host) for host in request.hosts],
    }


def _exchange(connection: socket.socket, run_id: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """The keeper's answer to a message.

    Raises:
        LaunchError: it refuses.
        LaunchUnknownError: there is no answer.
    """
    try:
        connection.settimeout(STALL_S)
        connection.sendall(json.dumps(message).encode() + b"\n")
        answer: dict[str, Any] = json.loads(_read_line(connection))
    except (OSError, ValueError) as exc:
        raise LaunchUnknownError(
            f"run {run_id}: the keeper did not answer ({exc}), so what it did is not "
            "known; `perfkit status` lists what is there"
        ) from exc
    if "error" in answer:
        raise LaunchError(f"run {run_id}: {answer['error']}")
    return answer


def _read_line(connection: socket.socket) -> bytes:
    """The keeper's answer, as long as the keeper gets on with it.

    Raises:
        OSError: it ended, or has got nowhere.
    """
    watch = StallWatch(keeper.peer(connection)[0])
    connection.settimeout(LOOK_EVERY_S)
    line = b""
    while not line.endswith(b"\n"):
        try:
            more = connection.recv(1 << 16)
        except TimeoutError:
            if watch.has_stalled(STALL_S):
                raise TimeoutError(f"it has done nothing for {STALL_S:.0f} s") from None
            continue
        if not more:
            raise ConnectionResetError("it ended")
        line += more
    return line
