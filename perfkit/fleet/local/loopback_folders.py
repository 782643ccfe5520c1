"""The folders of loopback hosts: one for each run, closed to all other users.

The system's temporary folder is everybody's, so the name is one that nobody can take beforehand:
`perfkit-loopback-<run>-` and eight random characters. It is found again by the tags of the run's
hosts, wherever they were launched from, and by its name in this process's temporary folder. A folder
of that name that is a link, another user's, or open to others is never read and never removed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from perfkit import ownership
from perfkit.errors import ProviderError
from perfkit.fleet.local import tags
from perfkit.fleet.local.loopback_processes import FOLDER_PREFIX
from perfkit.fleet.provider import RUN_ID_PATTERN

TOKENS = ".tokens"
DISK_PER_HOST_BYTES = 2_000_000

_NAME = re.compile(rf"{FOLDER_PREFIX}({RUN_ID_PATTERN.pattern})-[a-z0-9_]{{8}}")


def check(n_hosts: int) -> None:
    """Refuse a temporary folder that cannot hold the hosts, or where others could replace theirs.

    Raises:
        ProviderError: it cannot be written, is too full or not safe, or this is not Linux.
    """
    if not Path("/proc/self/status").exists():
        raise ProviderError(
            "local hosts are found again by their tags in /proc, which this system does not have; "
            "use Linux, or a provider of remote hosts"
        )
    base = _safe_base()
    if not os.access(base, os.W_OK):
        raise ProviderError(f"{base}: cannot be written; set TMPDIR to a folder that can")
    free_bytes, needed_bytes = shutil.disk_usage(base).free, n_hosts * DISK_PER_HOST_BYTES
    if free_bytes < needed_bytes:
        raise ProviderError(
            f"{base}: {n_hosts} hosts need {needed_bytes // 1_000_000} MB, "
            f"{free_bytes // 1_000_000} MB are free; make room or set TMPDIR"
        )


def _safe_base() -> Path:
    """The system's temporary folder, if nobody else can replace what lies there."""
    if fault := ownership.find_temporary_fault():
        raise ProviderError(fault)
    return Path(tempfile.gettempdir()).resolve()


def find(run_id: str) -> list[Path]:
    """The run's folders: one, or more if it was launched under several temporary folders."""
    if not RUN_ID_PATTERN.fullmatch(run_id):
        return []
    named = [
        Path(tagged.fields["folder"]).parent
        for tagged in tags.scan(run_id)
        if tagged.isolation == tags.LOOPBACK and "folder" in tagged.fields
    ]
    return [
        folder
        for folder in dict.fromkeys([*named, *_here()])
        if _run_of(folder) == run_id and ownership.is_private(folder)
    ]


def runs() -> set[str]:
    """Ids of the runs that have a folder in this process's temporary folder."""
    return {_run_of(folder) for folder in _here() if ownership.is_private(folder)}


def find_or_make(run_id: str) -> Path:
    """The run's folder, made with a name that nobody can have taken.

    Raises:
        OSError: it cannot be made.
        ProviderError: the temporary folder is not safe.
    """
    for folder in find(run_id):
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{run_id}-", dir=_safe_base()))


def host_names(folder: Path) -> list[str]:
    """The hosts that have a folder in a run's folder."""
    with suppress(OSError):  # the last host's end removed it
        return sorted(path.name for path in folder.iterdir() if path.name != TOKENS)
    return []


def _here() -> list[Path]:
    base = Path(tempfile.gettempdir()).resolve()
    return sorted(path for path in base.glob(f"{FOLDER_PREFIX}*") if _run_of(path))


def _run_of(folder: Path) -> str:
    """The run in a folder's name; empty when it is not such a name."""
    named = _NAME.fullmatch(folder.name)
    return named[1] if named else ""
