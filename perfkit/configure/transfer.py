"""Files over SFTP: whole or not at all, and never larger than expected.

These functions take an SFTP client (paramiko's, or anything with its methods) whose channel has
a timeout. What a host says about its files is data from a stranger: only regular files are read,
a declared size is not believed, and the local name is the caller's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def receive(sftp: Any, path: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield a regular file's content, as long as it was when we looked.

    Raises:
        OSError: not there, not a regular file, larger than `limit_bytes`, or it became shorter.
    """
    found = sftp.lstat(path)
    if not stat.S_ISREG(found.st_mode or 0):
        raise OSError("not a regular file; links and devices are not followed")
    size = int(found.st_size)
    if size > limit_bytes:
        raise OSError(f"{size} bytes, more than the limit of {limit_bytes}")
    with sftp.open(path, "rb") as file:
        file.prefetch(size, REQUESTS_AHEAD)
        left = size
        while left > 0:
            data = file.read(min(CHUNK_BYTES, left))
            if not data:
                raise OSError(f"it ended after {size - left} of {size} bytes")
            left -= len(data)
            yield data


def get(sftp: Any, path: str, target: Path, limit_bytes: int) -> int:
    """Fetch into a new file beside `target`, then rename it into place; returns its size in bytes.

    Raises:
        OSError: as `receive`, or the local file cannot be written; no partial file is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    size = 0
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            for data in receive(sftp, path, limit_bytes):
                size += file.write(data)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size
