"""TCP connections that the kernel ends when the other side is gone.

paramiko's own keepalive sends and does not wait for an answer, so it detects nothing; without
these options a command on a host whose link is down would be waited for until its limit.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

# Unanswered data or probes for this long end the connection; shorter than the silence after which
# `perfkit.ssh.connection` asks for a sign of life, whose bytes would begin the wait anew.
DEAD_AFTER_MS = 8_000
_PROBE_S = 3


AHEAD_BYTES = 1 << 15  # the window of a file channel is not larger


class FewCalls(socket.socket):
    """A TCP socket whose reader and writer make few system calls.

    Each gives the interpreter to another thread and waits until it is given back, which with many
    connections takes longer than the call. paramiko reads the head and the rest of each packet; what
    has come is taken at once here. Python asks whether a socket with a time limit is ready before
    it reads or writes; here the kernel keeps the limit. One thread at a time may read.
    """

    _ahead = b""
    _limit_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Have reading and writing raise TimeoutError after so many seconds, 1 us at least; None: never."""
        super().settimeout(None)
        limit_us = 0 if value is None else max(1, round(value * 1e6))  # 0 is no limit
        limit = struct.pack("@ll", *divmod(limit_us, 10**6))
        for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.setsockopt(socket.SOL_SOCKET, name, limit)
        self._limit_s = value

    def gettimeout(self) -> float | None:
        """The limit, seconds."""
        return self._limit_s

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most so many bytes, as soon as there are any; none at the end."""
        if not self._ahead:
            try:
                self._ahead = super().recv(max(bufsize, AHEAD_BYTES), flags)
            except BlockingIOError as exc:
                raise TimeoutError("timed out") from exc
        data, self._ahead = self._ahead[:bufsize], self._ahead[bufsize:]
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        """Some of the bytes; how many."""
        try:
            return super().send(data, flags)
        except BlockingIOError as exc:
            raise TimeoutError("timed out") from exc


def open_socket(address: tuple[str, int], timeout_s: float) -> FewCalls:
    """Connect to host and port; `timeout_s` stays on the socket.

    Raises:
        OSError: refused, unreachable, unknown name, or no answer in time.
    """
    sock = FewCalls(fileno=socket.create_connection(address, timeout=timeout_s).detach())
    sock.settimeout(timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _PROBE_S),
        ("TCP_KEEPINTVL", _PROBE_S),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_AFTER_MS),
    ):
        if hasattr(socket, name):  # Linux has them all, other controllers some
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


class Forwarded:
    """A channel through a jump host, as the socket of another connection.

    paramiko closes it in a thread of its own, where an error would be a traceback on the screen:
    closing a channel says so to the jump host, which may be gone.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        """End both directions, whether or not the jump host can still be told."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()


def shut(sock: Any) -> None:
    """End both directions at once, which wakes whoever waits on it in another thread.

    Args:
        sock: A socket, or a channel through a jump host, whose `close` does the same.
    """
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            sock.shutdown(socket.SHUT_RDWR)
        else:
            sock.close()
