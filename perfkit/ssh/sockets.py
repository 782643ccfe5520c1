"""TCP connections that the kernel ends when the other side is gone.

paramiko's own keepalive sends and does not wait for an answer, so it detects nothing; without
these options a command on a host whose link is down would be waited for until its limit.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

# Unanswered data or probes for this long end the connection; shorter than the silence after which
# `perfkit.ssh.connection` asks for a sign of life, whose bytes would begin the wait anew.
DEAD_AFTER_MS = 8_000
_PROBE_S = 3


def open_socket(address: tuple[str, int], timeout_s: float) -> socket.socket:
    """Connect to host and port; `timeout_s` stays on the socket.

    Raises:
        OSError: refused, unreachable, unknown name, or no answer in time.
    """
    sock = socket.create_connection(address, timeout=timeout_s)
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
