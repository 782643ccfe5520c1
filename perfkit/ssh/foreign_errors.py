"""paramiko's and the sockets' errors as ours: which mean unreachable, which lost, which a transfer.

Part of the boundary to paramiko, with `perfkit.ssh.connection`.
"""

from __future__ import annotations

import socket
from pathlib import Path

import paramiko
import paramiko.buffered_pipe
import paramiko.sftp

from perfkit.errors import HostError, LostError, TransferError, UnreachableError
from perfkit.model import Host, Jump
from perfkit.ssh.jump_hosts import is_packed
from perfkit.ssh.keys import fingerprint, refused_key, wrong_host_key
from perfkit.ssh.known_hosts import pin_name

# Most specific first; the first match decides.
_UNREACHABLE: tuple[tuple[type[BaseException], str], ...] = (
    (paramiko.AuthenticationException, "no answer to the login"),
    (ConnectionRefusedError, "connection refused"),
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "its name cannot be resolved"),
    (paramiko.ChannelException, "its jump host could not connect to it"),
    (EOFError, "it closed the connection before the login"),
    (paramiko.SSHException, "no SSH session"),
    (OSError, "no connection"),
)
_LOST = (
    paramiko.SSHException,
    paramiko.buffered_pipe.PipeTimeout,
    EOFError,
    ConnectionError,
    TimeoutError,
)
_TRANSFER = (paramiko.sftp.SFTPError, OSError)
FOREIGN = (*_LOST, *_TRANSFER)


def unreachable(
    host: Host | Jump, exc: BaseException, attempts: int, host_key_remedy: str = ""
) -> UnreachableError:
    """Our error for an attempt to connect that failed."""
    where = pin_name(host.address, host.port)
    if isinstance(exc, paramiko.BadHostKeyException):
        pinned = f"{exc.expected_key.get_name()} {exc.expected_key.get_base64()}"
        shown = fingerprint(f"{exc.key.get_name()} {exc.key.get_base64()}")
        remedy = f": {host_key_remedy.format(name=host.name)}" if host_key_remedy else ""
        return UnreachableError(host.name, f"{wrong_host_key(pinned, shown)}{remedy} ({where})")
    if isinstance(exc, paramiko.AuthenticationException) and is_final(exc):
        cause = f"it refused the run's key for user {host.user}"
        if host.key_file:
            cause = refused_key(Path(host.key_file), host.user)
        return UnreachableError(host.name, f"{cause} ({where})")
    cause = next((text for kind, text in _UNREACHABLE if isinstance(exc, kind)), "no connection")
    if isinstance(exc, paramiko.ChannelException) and isinstance(host, Host) and is_packed(host):
        cause = f"its machine {host.machine} could not connect to it"
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    detail = f": {exc}" if str(exc) and not isinstance(exc, ConnectionRefusedError) else ""
    if str(exc) == "No existing session":  # paramiko's word for a greeting that never ended
        detail = ": it did not finish its SSH greeting"
    return UnreachableError(host.name, f"{cause} ({where}){tries}{detail}")


def is_final(exc: BaseException, *, may_boot: bool = True) -> bool:
    """Trying again is of no use: the host is another one, or it does not let us in.

    A host that is not booting also when nothing listens there, or there is no way to it; a
    connection that is closed before the login is tried again, since that is what a busy sshd does.
    paramiko reports a login that was cut off with the class of one that was refused; only the
    text tells them apart.
    """
    if isinstance(exc, paramiko.AuthenticationException):
        return not any(words in str(exc) for words in ("timeout", "EOF"))
    if isinstance(exc, paramiko.BadHostKeyException):
        return True
    is_busy = isinstance(exc, ConnectionError | TimeoutError)
    is_absent = isinstance(exc, ConnectionRefusedError | paramiko.ChannelException)
    return not may_boot and (is_absent or (isinstance(exc, OSError) and not is_busy))


def translate(host: str, exc: BaseException, doing: str) -> HostError:
    """Our error for one that came out of an open connection."""
    detail = str(exc) or type(exc).__name__
    doing = " at ".join([doing, *getattr(exc, "__notes__", ())])
    is_closed = detail == "Socket is closed"  # paramiko's word for a closed channel
    if isinstance(exc, _LOST) or is_closed:
        return LostError(
            host, f"connection lost ({detail}) while {doing}; its outcome is not known"
        )
    return TransferError(host, f"{doing}: {detail}")


def open_session(transport: paramiko.Transport, limit_s: float) -> paramiko.Channel:
    """Open a session channel.

    Raises:
        paramiko.ChannelException: the server refuses. Of two that are refused at the same time
            paramiko keeps the reason of one, and has no more than a general error for the other.
        paramiko.SSHException: the connection has ended, or does not answer in time.
    """
    try:
        return transport.open_session(timeout=limit_s)
    except paramiko.SSHException as exc:
        if str(exc) == "Unable to open channel." and transport.is_active():
            raise paramiko.ChannelException(2, "Connect failed") from exc  # RFC 4254, section 5.1
        raise
