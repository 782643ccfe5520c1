"""Reading a running command: both streams at once, without polling, until it is really over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from perfkit.ssh.commands import Capture
from perfkit.ssh.host_log import HostLog, OutputLog

NO_EXIT_STATUS = -1  # paramiko's: the channel closed without one
LINGER_S = 1.0  # for output still on its way after the exit status
READS_AT_ONCE = 64


class _Arrival(threading.Event):
    """Set when a stream has got something, or ended, until the one who reads both has looked.

    For paramiko's buffers in place of the pipe that `Channel.fileno` makes: its writing and reading
    are system calls, each of which gives the interpreter away.
    """

    def clear(self) -> None:
        """A buffer that is empty says nothing about the other one."""

    def take(self, timeout_s: float) -> None:
        """Wait until it is set, and take that back."""
        self.wait(timeout_s)
        super().clear()


class CommandStreams:
    """Reads both streams of a running command until it is over."""

    def __init__(
        self, channel: Any, log: HostLog, silence_s: float, most_bytes: int | None
    ) -> None:
        self.out, self.err = Capture(), Capture()
        self._logs = OutputLog(log, "1>"), OutputLog(log, "2>")
        self._channel, self._silence_s, self._most_bytes = channel, silence_s, most_bytes
        self._ended: float | None = None

    @property
    def is_too_much(self) -> bool:
        """The command has printed more than it may."""
        n_bytes = self.out.n_bytes + self.err.n_bytes
        return self._most_bytes is not None and n_bytes > self._most_bytes

    def run(self, limit_s: float, ask_for_life: Callable[[], None]) -> int | None:
        """The exit status; NO_EXIT_STATUS without one; None when a limit came first."""
        channel = self._channel
        arrival = _Arrival()
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(arrival)
        give_up = monotonic() + limit_s
        heard = monotonic()
        while not self._is_over():
            now = monotonic()
            if now >= give_up or self.is_too_much:
                return None
            if now - heard >= self._silence_s:
                ask_for_life()
                heard = monotonic()
            wait_s = min(give_up - now, LINGER_S, self._silence_s)
            if channel.eof_received:  # nothing more to poll for: only the status is to come
                channel.status_event.wait(wait_s)
            else:
                arrival.take(wait_s)
            if self._drain():
                heard = monotonic()
        self._drain()
        for log in self._logs:
            log.end()
        return channel.recv_exit_status() if channel.exit_status_ready() else NO_EXIT_STATUS

    def _is_over(self) -> bool:
        """Closed, or the status and all output are here, or a child left behind holds the line."""
        channel = self._channel
        if channel.closed:
            return True
        if not channel.exit_status_ready():
            return False
        self._ended = self._ended or monotonic()
        return bool(channel.eof_received) or monotonic() - self._ended >= LINGER_S

    def _drain(self) -> bool:
        """Read what is there, but never for ever: a command may print faster than it is read."""
        channel, heard = self._channel, False
        for ready, receive, capture, log in (
            (channel.recv_ready, channel.recv, self.out, self._logs[0]),
            (channel.recv_stderr_ready, channel.recv_stderr, self.err, self._logs[1]),
        ):
            for _ in range(READS_AT_ONCE):
                if not ready():
                    break
                data = receive(1 << 16)
                capture.add(data)
                log.add(data)
                heard = True
        return heard
