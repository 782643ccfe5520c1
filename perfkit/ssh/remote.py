"""One host over SSH, as the other rooms use it: commands and files; and a fleet's pool of them.

What can go wrong::

    UnreachableError      no authenticated connection was ever made
    LostError             the connection went away or the host fell silent: outcome not known
    CommandError          a command ended with another status than 0
    CommandTimeoutError   it was ended at its limit, on both sides
    PromptError           it asked a question; its input is at end of file, nothing can wait
    TransferError         a file did not arrive whole

Create a `Remote`, open it (or enter it), work, close it; `RemotePool` does that for a fleet.
paramiko is met only in `perfkit.ssh.connection`; recipes meet Fabric in
`perfkit.configure.fabric_tasks`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import join, quote
from typing import Any

from perfkit import untrusted
from perfkit.errors import CommandError, HostError, LostError, PerfkitError, UntrustedError
from perfkit.model import Host, Jump
from perfkit.ssh import sftp
from perfkit.ssh.access import Access
from perfkit.ssh.commands import CommandResult, detached, failed, shorten
from perfkit.ssh.host_log import HostLog
from perfkit.ssh.jump_hosts import Forwarding, JumpHosts
from perfkit.ssh.known_hosts import pin_hosts

LONGEST_ANSWER_BYTES = 4096  # of one line of a conversation
ADMITTED = "perfkit is in"

__all__ = ["Access", "CommandResult", "Remote", "RemotePool", "TimedReply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedReply:
    """One line of a conversation; both moments in epoch seconds by the controller's clock."""

    sent_utc_s: float
    received_utc_s: float
    line: str


class Remote:
    """One host. Commands have a limit on both sides, and what they print goes to the host's log."""

    def __init__(
        self,
        host: Host,
        access: Access,
        log: Path | None = None,
        *,
        jump_hosts: JumpHosts | None = None,
    ) -> None:
        self.host, self.access, self.log = host, access, log
        from perfkit.ssh.connection import Connection  # noqa: PLC0415 -- loads paramiko

        self.connection = Connection(host, access, HostLog(log), jump_hosts=jump_hosts)

    def __enter__(self) -> Remote:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if self.connection.is_open else "closed"
        return f"<Remote {self.host.name} {self.host.address}:{self.host.port} {state}>"

    def open(self) -> None:
        """Connect and log in; see `Connection.open`.

        Raises:
            UnreachableError: with its cause.
        """
        self.connection.open()

    def close(self) -> None:
        """End the connection; safe to call twice."""
        self.connection.close()

    def run(
        self, argv: Sequence[str], *, timeout_s: float | None = None, check: bool = True
    ) -> CommandResult:
        """Run one program with its arguments, quoted for the remote shell.

        Args:
            argv: Program and arguments; nothing in them is interpreted. No word of the shell's own:
                `run_script` runs those.
            timeout_s: Limit; None = `Access.command_timeout_s`.
            check: Raise when the exit status is not 0.

        Raises:
            CommandError, CommandTimeoutError, PromptError, LostError: as in the module's text.
        """
        return self._execute(join(argv), timeout_s, check=check, is_program=True)

    def run_script(
        self,
        script: str,
        *,
        timeout_s: float | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run POSIX sh text as `run` does; `env` is added to its environment, quoted."""
        return self._execute(script, timeout_s, check=check, env=env)

    def _execute(
        self, script: str, timeout_s: float | None, *, check: bool, **how: Any
    ) -> CommandResult:
        limit_s = self.access.command_timeout_s if timeout_s is None else timeout_s
        result = self.connection.execute(script, limit_s=limit_s, **how)
        if check and result.exit_status != 0:
            raise failed(result)
        return result

    def feed_script(self, script: str, stdin: bytes) -> CommandResult:
        """Run POSIX sh text with an input, whatever the login shell is and the exit status will be.

        Raises:
            HostError: it printed more than `CAPTURE_BYTES`.
            CommandTimeoutError, PromptError, LostError: as in the module's text.
        """
        limit_s = self.access.command_timeout_s
        return self.connection.execute(script, limit_s=limit_s, stdin=stdin)

    def require_files(self) -> None:
        """See whether files can be sent; the channel for them stays open.

        Raises:
            TransferError: the host has no SFTP.
            LostError: the connection went away.
        """
        with self.connection.translated("opening SFTP"), self.connection.files():
            pass

    def run_for_int(self, script: str) -> int:
        """Run a script that prints a whole number.

        Raises:
            CommandError: it printed something else.
        """
        result = self.run_script(script)
        try:
            return untrusted.parse_int(result.stdout)
        except UntrustedError as exc:
            raise CommandError(result.host, str(exc), shorten(script), 0) from exc

    def start_detached(self, argv: Sequence[str], *, log: str | None = None) -> int:
        """Start a program that outlives the connection; returns its pid on the host.

        It leads its own session, its input is /dev/null, and its output goes to `log` (appended)
        or nowhere.

        Raises:
            CommandError: there is no such program, or `log` cannot be written.
        """
        return self.run_for_int(detached(argv, log))

    def converse(
        self, script: str, questions: Sequence[str], *, timeout_s: float = 10.0
    ) -> list[TimedReply]:
        """Start a script, send it a line at a time, and note when each answer came.

        For measuring clocks: one channel, no process started between question and answer.

        Raises:
            LostError: no answer within `timeout_s`, or the script ended.
        """
        answers = []
        with self.connection.translated(f"talking to {shorten(script, 80)!r}"):
            command = f"timeout -k 1 {timeout_s * (len(questions) + 1):.0f} sh -c {quote(script)}"
            begun = self.connection.session(lambda it: it.exec_command(command))
            with begun as channel, channel.makefile("rb") as lines:
                channel.settimeout(timeout_s)
                for question in questions:
                    sent = time.time()
                    line = _ask(channel, lines, question)
                    received = time.time()
                    text = line.decode(errors="replace").rstrip("\n")
                    answers.append(TimedReply(sent_utc_s=sent, received_utc_s=received, line=text))
        return answers

    def put(self, source: bytes | Path, path: str, *, mode: int = 0o644) -> None:
        """Write a file on the host; a reader there sees the old one or the whole new one.

        Raises:
            TransferError: it did not arrive whole; what arrived has been removed.
            LostError: the connection went away.
        """
        data = source if isinstance(source, bytes) else source.read_bytes()
        with self.connection.translated(f"putting {path}"):
            try:
                with self.connection.files() as files:
                    sftp.put(files, data, path, mode)
            except OSError as exc:
                if not self.connection.has_lost_files(exc):
                    raise
                # Writing it again is harmless: it gets its name when it is whole.
                with self.connection.files() as files:
                    sftp.put(files, data, path, mode)
        self.connection.log.write(f"put {path} ({len(data)} bytes, mode {mode:o})")

    def get(self, path: str, target: Path, *, limit_bytes: int, sha256: str | None = None) -> int:
        """Fetch a regular file; `target` appears only when it is whole. Returns its size in bytes.

        Args:
            sha256: What it must be; then a part that has arrived is kept and gone on with.

        Raises:
            TransferError: no regular file (a symbolic link is none), larger than `limit_bytes`,
                or it did not arrive whole.
            LostError: the connection went away.
            RunError: this machine's disk is full or read-only.
        """
        with self.connection.translated(f"getting {path}"), self.connection.files() as files:
            size_bytes = sftp.get(files, path, target, limit_bytes, sha256)
        self.connection.log.write(f"got {path} ({size_bytes} bytes)")
        return size_bytes

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """Fetch a regular file's content; errors as for `get`."""
        with self.connection.translated(f"reading {path}"), self.connection.files() as files:
            return b"".join(sftp.receive(files, path, limit_bytes))


def _ask(channel: Any, lines: Any, question: str) -> bytes:
    """One line there and one back.

    Raises:
        EOFError: whoever is asked has ended, which sending notices only if it is told in time.
        OSError: nothing is sent or said within the channel's time limit.
    """
    try:
        channel.sendall(question.encode() + b"\n")
    except OSError:
        if not channel.closed:
            raise
    line: bytes = lines.readline(LONGEST_ANSWER_BYTES)
    if not line.endswith(b"\n"):
        raise EOFError("it ended before it answered, or answered too much")
    return line


class RemotePool:
    """Open connections of a fleet: one a host, kept between phases, made anew when dead.

    Thread-safe. Two hosts never wait for each other; two threads that want the same host do. A host
    that could not be reached before is given the time of one attempt, so that a dead one costs its
    full patience once in a run and not in every phase.
    """

    def __init__(self, access: Access, log_dir: Path | None = None) -> None:
        self.access, self._log_dir = access, log_dir
        self._lock = threading.Lock()
        self._remotes: dict[str, Remote] = {}
        self._jump_hosts = JumpHosts(access, _connect_jump_host)
        self._opening: dict[str, threading.Lock] = {}
        self._unreached: set[str] = set()
        self._closed = False

    def __enter__(self) -> RemotePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log_path(self, host: Host) -> Path | None:
        """Where the log of a host is, or will be."""
        return self._log_dir / host.name / "configure.log" if self._log_dir else None

    def get(self, host: Host, *, patience_s: float | None = None) -> Remote:
        """The host's open connection.

        Args:
            patience_s: For all attempts to open it; None = `Access.patience_s`.

        Raises:
            UnreachableError: it cannot be opened.
            LostError: the pool was closed, or the host dropped, meanwhile.
        """
        with self._lock:
            opening = self._opening.setdefault(host.name, threading.Lock())
        with opening:
            remote = self._current(host, patience_s)
            if not remote.connection.is_open:
                try:
                    remote.open()
                except PerfkitError:
                    self._unreached.add(host.name)
                    self._forget(remote)
                    raise
                self._unreached.discard(host.name)
            return remote

    def admit(self, host: Host, timeout_s: float | None = None) -> None:
        """Pin a new host, log in to it, and see that it does what recipes need: commands and files.

        Args:
            timeout_s: For the login; None = `Access.patience_s`.

        Raises:
            UnreachableError: it cannot be logged in to in that time.
            HostError: no command can be run there, its login shell prints something of its own, or
                it has no SFTP.
        """
        if self.access.known_hosts_path is not None:
            pin_hosts(self.access.known_hosts_path, [host])
        remote = self.get(host, patience_s=timeout_s)
        said = remote.run(["echo", ADMITTED]).stdout
        if said != f"{ADMITTED}\n":
            problem = f"its login shell adds output of its own to that of commands: {said[:200]!r}"
            raise HostError(host.name, problem)
        remote.require_files()

    def fetch_host_key(self, place: Host | Jump) -> str:
        """Ask an SSH server for its public key; nobody logs in to it, and nothing is trusted.

        Raises:
            UnreachableError: it, or the jump host before it, does not answer.
        """
        from perfkit.ssh.paramiko_keys import fetch_host_key  # noqa: PLC0415 -- loads paramiko

        return fetch_host_key(place, self.access, self._jump_hosts)

    def _current(self, host: Host, patience_s: float | None) -> Remote:
        with self._lock:
            if self._closed:
                raise LostError(host.name, "the connections of this run are closed")
            remote = self._remotes.get(host.name)
            if remote is None or remote.host != host or not remote.connection.is_open:
                if remote is not None:
                    remote.connection.abort("replaced by a new connection")
                access = self.access
                if host.name in self._unreached:
                    access = replace(access, patience_s=access.connect_timeout_s)
                elif patience_s is not None:
                    access = replace(access, patience_s=patience_s)
                remote = Remote(host, access, self.log_path(host), jump_hosts=self._jump_hosts)
                self._remotes[host.name] = remote
            return remote

    def _forget(self, remote: Remote) -> None:
        with self._lock:
            if self._remotes.get(remote.host.name) is remote:
                del self._remotes[remote.host.name]

    def drop(self, host: Host, reason: str) -> None:
        """End a host's connection from outside; whoever works on it gets a LostError."""
        with self._lock:
            remote = self._remotes.pop(host.name, None)
        if remote is not None:
            remote.connection.abort(reason)

    def give_up_opening(self) -> None:
        """End all attempts to open a connection that are under way."""
        with self._lock:
            opening = [it for it in self._remotes.values() if not it.connection.is_open]
        for remote in opening:
            remote.connection.abort("the launch was given up")

    def close(self) -> None:
        """End all connections; safe to call twice. Nothing is opened afterwards."""
        with self._lock:
            self._closed = True
            remotes = list(self._remotes.values())
            self._remotes.clear()
        for remote in remotes:
            remote.close()
        self._jump_hosts.close()


def _connect_jump_host(jump: Jump, access: Access) -> Forwarding:
    from perfkit.ssh.connection import connect_jump_host  # noqa: PLC0415 -- loads paramiko

    return connect_jump_host(jump, access)
