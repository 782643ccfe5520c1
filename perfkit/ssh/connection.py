"""An SSH connection that cannot hang, trust a stranger, or mistake a lost line for a result.

paramiko is used here, and `translated` turns its errors into ours. Only one key is offered, the
run's own or the one named for the host, and only the pinned host key is accepted: no agent, no
ssh_config, no trust on first use. Every wait has a limit, and a silent host is asked for a sign of
life. `perfkit.ssh.remote` is what the other rooms use.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic

import paramiko
import paramiko.buffered_pipe
import paramiko.hostkeys
import paramiko.pkey
import paramiko.sftp

from perfkit.errors import (
    HostError,
    LostError,
    TransferError,
)
from perfkit.model import Host, Jump
from perfkit.retry import RetryPolicy
from perfkit.ssh.access import Access
from perfkit.ssh.commands import (
    CAPTURE_BYTES,
    CommandResult,
    for_any_shell,
    out_of_time,
    shorten,
    wrap,
)
from perfkit.ssh.deadlines import DEADLINES
from perfkit.ssh.foreign_errors import FOREIGN, is_final, open_session, translate, unreachable
from perfkit.ssh.host_log import HostLog
from perfkit.ssh.jump_hosts import JumpHosts
from perfkit.ssh.paramiko_keys import login_key, pinned_key
from perfkit.ssh.sessions import Sessions
from perfkit.ssh.sockets import Forwarded, shut
from perfkit.ssh.streams import NO_EXIT_STATUS, CommandStreams

GRACE_S = 5.0  # after the remote limit: for the kill, the exit status and the line back
WAKE_S = 5.0  # paramiko's reader wakes this often; its 0.1 s costs a core with 1,000 hosts

# Where a run has no logging set up, Python prints a library's errors to stderr: ours are raised.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
NO_SSH_CONFIG = paramiko.SSHConfig()  # given to Fabric, so that it reads no file


class Connection:
    """One SSH connection to one host; commands on it may run at the same time.

    `abort` may be called from any thread: who waits gets a LostError, and it never opens again.
    """

    def __init__(
        self,
        host: Host | Jump,
        access: Access,
        log: HostLog,
        *,
        jump_hosts: JumpHosts | None = None,
    ) -> None:
        self.host, self.access, self.log = host, access, log
        self._jump_hosts = jump_hosts or JumpHosts(access, connect_jump_host)
        # All that is started on the host inherits it, so what is left of a run can be found there.
        self._tag = (
            {"PERFKIT_WORKDIR": host.workdir} if isinstance(host, Host) and host.workdir else {}
        )
        self.client: paramiko.SSHClient | None = None
        self._socket: socket.socket | paramiko.Channel | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._files = threading.RLock()  # held by whoever uses the file channel
        self.sessions = Sessions(host.name, log.write)
        self._aborted = threading.Event()
        self._reason = "the connection is closed"

    @property
    def is_open(self) -> bool:
        """The connection is up, as far as this side knows."""
        transport = self.client.get_transport() if self.client else None
        return transport is not None and transport.is_active() and not self._aborted.is_set()

    # -- opening and closing -------------------------------------------------------------------

    def open(self) -> None:
        """Connect and log in; does nothing when that is done.

        What fails before the login is tried again, with growing random pauses, until
        `Access.patience_s` is over. A wrong pin, no pin and a refused key are final.

        Raises:
            UnreachableError: with the cause.
            LostError: the connection was aborted.
        """
        if self.is_open:
            return
        pin = pinned_key(self.host, self.access.known_hosts_path)
        key_path = Path(self.host.key_file) if self.host.key_file else self.access.key_path
        with login_key(self.host.name, key_path) as key:
            self._connect_patiently(pin, key)

    def _connect_patiently(self, pin: paramiko.hostkeys.HostKeyEntry, key: paramiko.PKey) -> None:
        patience_s = self.access.patience_s
        give_up = monotonic() + patience_s
        until_aborted = RetryPolicy(sleep=self._aborted.wait)
        for number in until_aborted.attempts(patience_s, first_s=0.2, longest_s=5.0):
            try:
                self._connect(pin, key, max(0.1, give_up - monotonic()))
            except FOREIGN as exc:
                if self._aborted.is_set():
                    raise LostError(self.host.name, self._reason) from exc
                error = unreachable(self.host, exc, number + 1, self.access.host_key_remedy)
                error.__cause__ = exc
                if is_final(exc, may_boot=self.access.may_boot):
                    break
            else:
                self.log.write(f"connected to {self.host.address}:{self.host.port}")
                return
        self.log.write(f"! {error}")
        raise error

    def _connect(
        self, pin: paramiko.hostkeys.HostKeyEntry, key: paramiko.PKey, left_s: float
    ) -> None:
        timeout_s = min(self.access.connect_timeout_s, left_s)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.get_host_keys().add(pin.hostnames[0], pin.key.get_name(), pin.key)
        with contextlib.ExitStack() as on_failure:
            sock = self._jump_hosts.dial(self.host, timeout_s)
            on_failure.callback(sock.close)
            on_failure.callback(client.close)
            on_failure.callback(shut, sock)
            self._socket = sock
            if self._aborted.is_set():  # before there was a socket that `abort` could shut
                raise EOFError(self._reason)
            client.connect(
                hostname=self.host.address,
                port=self.host.port,
                username=self.host.user,
                pkey=key,
                sock=sock,
                # At this limit paramiko goes on to a login that cannot work, "No existing session":
                # later than the banner's own limit, so that a silent host is called silent.
                timeout=timeout_s + 2,
                banner_timeout=timeout_s,
                auth_timeout=timeout_s,
                channel_timeout=timeout_s,
                allow_agent=False,
                look_for_keys=False,
            )
            if self._aborted.is_set():
                raise EOFError(self._reason)
            on_failure.pop_all()
        sock.settimeout(WAKE_S)
        self.client = client

    def close(self) -> None:
        """End the connection; safe to call twice, and with a host that no longer answers."""
        if self._socket is not None:
            shut(self._socket)  # wakes paramiko's reader, so `close` need not wait for it
        if self.client is not None:
            self.client.close()
        self._close_files()

    def abort(self, reason: str) -> None:
        """End the connection from outside, for good; whoever waits on it learns the reason."""
        is_first = not self._aborted.is_set()
        if is_first:
            self._reason = reason
            self._aborted.set()
        if self._socket is not None:
            shut(self._socket)
        if is_first:
            self.log.write(f"! {reason}")

    def forward(self, address: tuple[str, int], timeout_s: float) -> Forwarded:
        """Have this host connect to another address; what is returned behaves like a socket."""
        channel = self._transport().open_channel(
            "direct-tcpip", dest_addr=address, src_addr=("127.0.0.1", 0), timeout=timeout_s
        )
        return Forwarded(channel)

    # -- work ----------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """The host gives a sign of life; the connection to one that does not is at its end."""
        with contextlib.suppress(HostError), self.translated("asking for a sign of life"):
            self._ask_for_life()
            return True
        return False

    def _transport(self) -> paramiko.Transport:
        transport = self.client.get_transport() if self.client else None
        if transport is None or not transport.is_active():
            raise EOFError(self._reason)
        return transport

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn what paramiko and sockets raise in the block into our errors."""
        try:
            yield
        except FOREIGN as exc:
            if self._aborted.is_set():
                error: HostError = LostError(self.host.name, f"{self._reason} (while {doing})")
            else:
                error = translate(self.host.name, exc, doing)
                if isinstance(error, LostError) and (
                    fault := self._jump_hosts.find_fault(self.host)
                ):
                    error = LostError(self.host.name, f"{fault}: {error.message}")
            if isinstance(error, LostError):
                self.abort(error.message)
            self.log.write(f"! {error.message}")
            raise error from exc

    @contextlib.contextmanager
    def session(self, begin: Callable[[paramiko.Channel], None]) -> Iterator[paramiko.Channel]:
        """A channel of its own in which something is begun, closed at the end.

        Where the server gives no more at a time, it is waited for until another one is closed.
        """
        channel = self._open_session(begin)
        try:
            yield channel
        finally:
            channel.close()
            self.sessions.closed()

    def _open_session(self, begin: Callable[[paramiko.Channel], None]) -> paramiko.Channel:
        return self.sessions.open(
            lambda: self._start(begin),
            paramiko.ChannelException,
            make_room=self._make_room,
            patience_s=self.access.connect_timeout_s,
        )

    def _make_room(self) -> bool:
        """Close the file channel if nobody uses it."""
        self._transport()  # waiting on a connection that has ended would be for ever
        if self._sftp is None or not self._files.acquire(blocking=False):
            return False
        try:
            return self._close_files()
        finally:
            self._files.release()

    def _close_files(self) -> bool:
        client, self._sftp = self._sftp, None
        if client is None:
            return False
        client.close()
        self.sessions.closed()
        return True

    def _start(self, begin: Callable[[paramiko.Channel], None]) -> paramiko.Channel:
        """Open a channel and begin something in it; both are answered in time or the connection ends."""
        transport, limit_s = self._transport(), self.access.connect_timeout_s
        # paramiko waits without a limit for the answer to exec and subsystem requests
        reason = f"no answer to a request within {2 * limit_s:g} s"
        with DEADLINES.otherwise(2 * limit_s, lambda: self.abort(reason)):
            channel = open_session(transport, limit_s)
            channel.settimeout(limit_s)
            begin(channel)
        return channel

    def execute(
        self,
        script: str,
        *,
        limit_s: float,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        is_program: bool = False,
    ) -> CommandResult:
        """Run a POSIX sh script to its end and return what it did, whatever its exit status.

        Args:
            stdin: Its input. With one, the script runs under any login shell, and is given up when
                it prints more than `CAPTURE_BYTES`.
            is_program: See `perfkit.ssh.commands.wrap`.

        Raises:
            LostError: the connection went away, or the host did not answer.
            PromptError: it was still running at its limit, with a question as its last line.
            CommandTimeoutError: it was still running at its limit; it has been killed.
            HostError: with `stdin`, it printed too much.
        """
        env, has_stdin = {**self._tag, **(env or {})}, stdin is not None
        command = wrap(script, limit_s=limit_s, env=env, has_stdin=has_stdin, is_program=is_program)
        most_bytes = CAPTURE_BYTES if has_stdin else None
        if has_stdin:
            command = for_any_shell(command)
        self.log.write(*(f"$ {line}" for line in script.strip().splitlines()))
        with self.translated(f"running {shorten(script, 80)!r}"):
            started = 0.0

            def begin(channel: paramiko.Channel) -> None:
                nonlocal started
                started = monotonic()  # the host's limit may begin before its answer is here
                channel.exec_command(command)

            with self.session(begin) as channel:
                _send_all(channel, stdin or b"")
                streams = CommandStreams(channel, self.log, self.access.silence_s, most_bytes)
                exit_status = streams.run(limit_s + GRACE_S, self._ask_for_life)
            elapsed_s = monotonic() - started
            if streams.is_too_much:
                raise HostError(self.host.name, f"it printed more than {most_bytes} bytes")
            if exit_status is None:
                raise TimeoutError(f"no answer {GRACE_S:g} s after its limit of {limit_s:g} s")
            if exit_status == NO_EXIT_STATUS:
                raise EOFError("the connection ended before the command did")
        result = CommandResult(
            host=self.host.name,
            command=script,
            exit_status=exit_status,
            stdout=streams.out.text(),
            stderr=streams.err.text(),
            elapsed_s=elapsed_s,
        )
        self.log.write(f"= exit status {exit_status} after {elapsed_s:.2f} s")
        if exit_status in {124, 137} and elapsed_s >= limit_s:
            raise out_of_time(result, limit_s)
        return result

    def _ask_for_life(self) -> None:
        """Ask for another channel: a host that refuses is alive, one that is stopped is silent."""
        if self._jump_hosts.find_fault(self.host):
            raise EOFError("no sign of life")
        with contextlib.suppress(paramiko.ChannelException):
            open_session(self._transport(), self.access.connect_timeout_s).close()

    @contextlib.contextmanager
    def files(self) -> Iterator[paramiko.SFTPClient]:
        """The file channel, for one thread at a time."""
        with self._files:
            yield self.sftp()

    def has_lost_files(self, exc: OSError) -> bool:
        """Whether the file channel alone was closed; the next use opens another one."""
        if str(exc) != "Socket is closed" or not self.is_open:
            return False
        with self._files:
            self._close_files()
        return True

    def sftp(self) -> paramiko.SFTPClient:
        """The file channel of this connection, opened on first use; every answer on it has a limit.

        Call it, and use what it returns, inside `translated` and `files`.
        """
        if self._sftp is None:
            try:
                channel = self._open_session(lambda it: it.invoke_subsystem("sftp"))
            except paramiko.SSHException as exc:
                if not self.is_open or isinstance(exc, paramiko.ChannelException):
                    raise
                problem = "its SSH server has no SFTP: give its sshd_config a Subsystem sftp"
                raise TransferError(self.host.name, problem) from exc
            self._sftp = paramiko.SFTPClient(channel)
        return self._sftp


def connect_jump_host(jump: Jump, access: Access) -> Connection:
    """The connection to a jump host, not open yet; what is done on it is not logged."""
    return Connection(jump, access, HostLog(None))


def _send_all(channel: paramiko.Channel, data: bytes) -> None:
    """Give a command its input, and the end of it; one that has ended already needs none."""
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except OSError:
        if not channel.closed:
            raise
