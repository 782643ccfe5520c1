"""Stamps on a host: which steps are done, so that none is repeated after a crash.

A stamp is the file `<workdir>/steps/<sha>`. The digest covers the run, the host, the recipe and
every file it brings, so whoever edits one of them has the recipe done anew. The file holds the
host's boot id: what a recipe has started does not survive a reboot, and its stamp does not either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from perfkit.model import Host
from perfkit.ssh.remote import Remote

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def digest(words: Iterable[str], folders: Iterable[Path] = ()) -> str:
    """One hexadecimal SHA-256 of some words and of all files below some folders."""
    sha = hashlib.sha256("\0".join(words).encode())
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = path.read_bytes()
            sha.update(f"\0{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    return sha.hexdigest()


def has_stamp(remote: Remote, sha: str) -> bool:
    """Whether the step was done since the host was booted; one command.

    Raises:
        HostError: as `Remote.run`.
    """
    script = f'[ "$(cat {_path(remote.host, sha)} 2>/dev/null)" = "$(cat {_BOOT_ID})" ]'
    return remote.run_script(script, check=False).exit_status == 0


def stamp_script(host: Host, sha: str) -> str:
    """Shell text that says the step is done."""
    steps = quote(f"{host.workdir}/steps")
    made = f"{{ [ -d {steps} ] || mkdir -p {steps}; }}"
    return f'{made} && read -r boot <{_BOOT_ID} && echo "$boot" >{_path(host, sha)}'


def _path(host: Host, sha: str) -> str:
    return quote(f"{host.workdir}/steps/{sha}")
