"""The log of one host: every command, every line it printed, every status, each with UTC."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from perfkit.errors import RunError

LOG_BYTES_PER_COMMAND = 4 << 20
_MAX_LINE_BYTES = 8192
_PREFIX_BYTES = 33  # of every line in the file: time and label

# Escape sequences of a hostile or merely colourful host must not reach a person's terminal.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 9}


class HostLog:
    """Appends to one file, which is made when the first line comes; thread-safe.

    Without a path nothing is written. The file is opened for each piece: a thousand hosts
    must not hold a thousand files open.
    """

    def __init__(
        self, path: Path | None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.path = path
        self._now = now
        self._lock = threading.Lock()

    def write(self, *lines: str) -> None:
        """Append lines, each with the time now in front.

        Raises:
            RunError: this machine's disk is full or read-only.
        """
        if self.path is None or not lines:
            return
        stamp = self._now().isoformat(timespec="milliseconds")
        text = "".join(f"{stamp} {line.translate(_VISIBLE)}\n" for line in lines)
        try:
            with self._lock:
                fd = self._open(self.path)
                try:
                    os.write(fd, text.encode(errors="replace"))
                finally:
                    os.close(fd)
        except OSError as exc:
            raise RunError(
                f"{self.path}: cannot be written here ({exc.strerror}); make room or fix the "
                "permissions, then run the same command again"
            ) from exc

    @staticmethod
    def _open(path: Path) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(path, flags, 0o600)


class OutputLog:
    """One stream of one command on its way into a host's log, cut into lines, bounded."""

    def __init__(self, log: HostLog, label: str) -> None:
        self._host_log, self._label = log, label
        self._rest = b""
        self._room = LOG_BYTES_PER_COMMAND

    def add(self, data: bytes) -> None:
        """Take the next bytes and log the lines they complete."""
        if self._room <= 0:
            return
        self._room -= len(data) + _PREFIX_BYTES * data.count(b"\n")
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        self._log(lines)
        if self._room <= 0:
            self._rest = b""
            self._log([b"[this command printed more; the rest is not logged]"])

    def end(self) -> None:
        """Log what is left: an unterminated last line."""
        if self._rest:
            self._log([self._rest])
            self._rest = b""

    def _log(self, lines: list[bytes]) -> None:
        texts = (line.decode(errors="replace").rstrip("\r") for line in lines)
        self._host_log.write(*(f"{self._label} {text}" for text in texts))
