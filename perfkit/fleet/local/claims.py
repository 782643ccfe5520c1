"""Locks and sockets of the keepers of all runs, in a folder that only root can change.

The folder is below /run. It holds the files that keepers have locked and the sockets that they answer
on. The kernel drops a lock when its process ends, so a file without a lock means nothing. Sockets in
the abstract namespace are not used: any user could take their names.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import LaunchError
from perfkit.ownership import user_name

FOLDER = Path("/run/perfkit")
CONNECT_TIMEOUT_S = 5.0


def socket_path(run_id: str) -> Path:
    """Where the run's keeper answers; `sockaddr_un` holds 107 bytes, an id at most 81."""
    return FOLDER / f"{run_id}.sock"


def hold(name: str) -> int | None:
    """Lock a name until this process ends: the open descriptor, or None when another one has it.

    Raises:
        LaunchError: the folder is not root's alone.
    """
    lock = _open_lock(name)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def listen(run_id: str, uid: int) -> socket.socket | None:
    """Take the run's socket, for root and one user; None when a keeper of the run answers there.

    Raises:
        LaunchError: the folder is not root's alone.
    """
    path = socket_path(run_id)
    draft = _folder() / f".{run_id}.{os.getpid()}"
    with _alone():
        for left in FOLDER.glob("*.sock"):
            if not _answers(left):
                left.unlink(missing_ok=True)  # its keeper was killed
        if path.exists():
            return None
        listener = socket.socket(socket.AF_UNIX)
        try:
            draft.unlink(missing_ok=True)
            listener.bind(str(draft))
            draft.chmod(0o600)
            os.chown(draft, uid, -1)
            listener.listen(16)
            draft.rename(path)  # whoever finds it finds it ready
        except OSError:
            listener.close()
            raise
    return listener


def forget(run_id: str) -> None:
    """Remove the run's socket, unless a keeper answers there."""
    with contextlib.suppress(OSError, LaunchError), _alone():
        if not _answers(socket_path(run_id)):
            socket_path(run_id).unlink(missing_ok=True)


def _open_lock(name: str) -> int:
    return os.open(_folder() / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _folder() -> Path:
    """The folder, made if need be; others may pass through it to a socket and no more."""
    with contextlib.suppress(FileExistsError):
        FOLDER.mkdir(mode=0o711)
    about = FOLDER.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != 0 or about.st_mode & 0o022:
        raise LaunchError(
            f"{FOLDER}: must be a folder that only root can change; it is "
            f"{stat.filemode(about.st_mode)} of {user_name(about.st_uid)}: remove it"
        )
    FOLDER.chmod(0o711)  # whatever the umask was
    return FOLDER


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    lock = _open_lock("sockets")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is busy
            return True
    return True
