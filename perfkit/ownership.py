"""Whether another user of this machine could change what lies at a path.

A name in a folder that everybody may write to (/tmp, /var/tmp) may have been taken by somebody else
first: as a folder of theirs, as a link, or with a mode that lets them in later. What perfkit puts
there gets a name that nobody can guess, and is looked at again before it is used.
"""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from pathlib import Path


def find_fault(folder: Path) -> str | None:
    """Why somebody else could replace what is put into `folder`, in words; None: nobody could.

    Every folder on the way must belong to root or to this user, and who else may write to it must
    not be able to rename what is not theirs: that is what the sticky bit is for.
    """
    try:
        place = folder.resolve(strict=True)
        for part in (place, *place.parents):
            about = part.stat()
            if about.st_uid not in (0, os.geteuid()):
                return f"{part} belongs to {user_name(about.st_uid)}"
            if _writable_by_others(about) and not about.st_mode & stat.S_ISVTX:
                mode = stat.S_IMODE(about.st_mode)
                return f"{part} can be written by other users (mode {mode:04o}, no sticky bit)"
    except OSError as exc:
        return f"{folder}: {exc.strerror}"
    return None


def find_temporary_fault() -> str | None:
    """Why nothing of ours may lie in the system's temporary folder, with the remedy; None: it may."""
    base = Path(tempfile.gettempdir())
    fault = find_fault(base)
    return fault and (
        f"{base}: other users could replace what lies there, keys and configurations included: "
        f"{fault}; set TMPDIR to a folder that only root or you can change, or fix its owner and mode"
    )


def is_private(folder: Path) -> bool:
    """Whether it is a folder, no link, this user's, closed to all others, at a safe place."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(about.st_mode)
        and about.st_uid == os.geteuid()
        and not about.st_mode & 0o077
        and find_fault(folder.parent) is None
    )


def is_closed(folder: Path) -> bool:
    """Whether nobody else may write to any folder on the way: what sshd's StrictModes asks for."""
    try:
        abouts = [part.lstat() for part in (folder, *folder.parents)]
    except OSError:
        return False
    return all(it.st_uid in (0, os.geteuid()) and not it.st_mode & 0o022 for it in abouts)


def user_name(uid: int) -> str:
    """A user for people: the name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _writable_by_others(about: os.stat_result) -> bool:
    own_group = about.st_gid in (0, os.getegid())
    return bool(about.st_mode & stat.S_IWOTH or (about.st_mode & stat.S_IWGRP and not own_group))
