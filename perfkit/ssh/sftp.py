"""Files over SFTP: whole or not at all, and never larger than expected.

These functions take an SFTP client (paramiko's, or anything with its methods) whose channel has
a timeout. What a host says about its files is data from a stranger: only regular files are read,
a declared size is not believed, and the local name is the caller's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from perfkit.errors import RunError
from perfkit.runs.folder import sha256_of

CHUNK_BYTES = 1 << 15  # the largest read that every SFTP server answers
REQUESTS_AHEAD = 64


def put(sftp: Any, data: bytes, path: str, mode: int) -> None:
    """Write `data` beside `path`, check its size, and rename it into place.

    Raises:
        OSError: refused by the host, or the size is wrong; the partial file is removed.
    """
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with sftp.open(part, "wx") as file:
            file.chmod(mode)  # while it is empty: a key is never readable by others
            file.set_pipelined(True)
            file.write(data)
        _check_size(sftp.stat(part).st_size, len(data))
        sftp.posix_rename(part, path)
    except OSError:
        with contextlib.suppress(OSError, EOFError):
            sftp.remove(part)
        raise


def _check_size(size: int, expected: int) -> None:
    if size != expected:
        raise OSError(f"{size} of {expected} bytes arrived; is the host's disk full?")


def receive(sftp: Any, path: str, limit_bytes: int, offset: int = 0) -> Iterator[bytes]:
    """Yield a regular file's content from an offset on, as long as it was when we looked.

    Raises:
        OSError: not there, not a regular file, larger than `limit_bytes`, or it became shorter.
    """
    found = sftp.lstat(path)
    if not stat.S_ISREG(found.st_mode or 0):
        raise OSError("not a regular file; links and devices are not followed")
    if found.st_size is None:
        raise OSError("the host does not say its size")
    size = int(found.st_size)
    if size > limit_bytes:
        raise OSError(f"{size} bytes, more than the limit of {limit_bytes}")
    file = sftp.open(path, "rb")
    file.seek(offset)
    left = size - offset
    if left > CHUNK_BYTES:  # else there is nothing to read ahead, which takes a thread
        _read_ahead_quietly(file)
        file.prefetch(size, REQUESTS_AHEAD)
    while left > 0:
        data = file.read(min(CHUNK_BYTES, left))
        if not data:
            raise OSError(f"it ended after {size - left} of {size} bytes")
        left -= len(data)
        yield data
    file.close()  # after an error paramiko does it, without waiting for an answer


def _read_ahead_quietly(file: Any) -> None:
    """Keep paramiko's thread from printing a traceback of what the reader is told anyway."""
    fetch: Callable[..., None] = file._prefetch_thread

    def quietly(*arguments: Any) -> None:
        with contextlib.suppress(OSError, EOFError):
            fetch(*arguments)

    file._prefetch_thread = quietly


def part_of(target: Path) -> Path:
    """Where the beginning of a file waits for its rest; hidden, so that nobody takes it for whole."""
    return target.with_name(f".{target.name}.part")


def get(sftp: Any, path: str, target: Path, limit_bytes: int, sha256: str | None = None) -> int:
    """Fetch a file beside `target`, then rename it into place; returns its size in bytes.

    Args:
        sha256: What it must be, hexadecimal. With it, what arrived stays as `part_of(target)` when
            the rest does not come, and the next call goes on from there; a part that turns out to
            be of another file is dropped and fetched anew, once.

    Raises:
        OSError: as `receive`, or it is not what it must be.
        RunError: the local disk is full or read-only.
    """
    if sha256 is None:
        return _fetch_whole(sftp, path, target, limit_bytes)
    part = part_of(target)
    had_bytes = _append(sftp, path, part, limit_bytes)
    if had_bytes and sha256_of(part) != sha256:
        part.unlink()
        _append(sftp, path, part, limit_bytes)
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise OSError(f"its SHA-256 is {found[:12]}… here, the host said {sha256[:12]}…")
    return _put_in_place(part, target)


def _fetch_whole(sftp: Any, path: str, target: Path, limit_bytes: int) -> int:
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        _append(sftp, path, part, limit_bytes)
        return _put_in_place(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _append(sftp: Any, path: str, part: Path, limit_bytes: int) -> int:
    """Add to a local part what it lacks of the host's file; returns how much was there before."""
    with _here(part):
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(part, flags, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        had_bytes = os.fstat(fd).st_size
        for data in receive(sftp, path, limit_bytes, had_bytes):
            with _here(part):
                _write_all(file, data)
    return had_bytes


def _write_all(file: IO[bytes], data: bytes) -> None:
    if file.write(data) != len(data):  # a full disk takes a part and says nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _put_in_place(part: Path, target: Path) -> int:
    with _here(target):
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        return target.stat().st_size


@contextlib.contextmanager
def _here(path: Path) -> Iterator[None]:
    """What goes wrong on this machine is not the host's fault."""
    try:
        yield
    except OSError as exc:
        raise RunError(
            f"{path}: cannot be written here ({exc.strerror}); what arrived is kept: make room or "
            "fix the permissions, then collect again"
        ) from exc
