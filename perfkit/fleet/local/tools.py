"""The programs hosts run, where they are, and how to get the ones that are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from perfkit.errors import ProviderError
from perfkit.fleet.local import linux

# Not the user's PATH: it lacks sbin, where sshd and cron are, and what it has besides (conda's
# programs in a home) does not exist in hosts.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_TOOLS = ("sshd", "cron", "tini", "sleep")  # the programs of HostTools
# Only the run's key opens a host, and many tests may log in at the same time.
_SSHD_LINES = (
    "PermitRootLogin prohibit-password",
    "AuthenticationMethods publickey",
    "UsePAM no",
    # OpenSSL's assembler code: 1.7 ms of a processor less for a connection than sshd's own curve25519.
    "KexAlgorithms ecdh-sha2-nistp256",
    "UseDNS no",
    "PrintMotd no",
    "X11Forwarding no",
    "MaxStartups 200",
    "MaxSessions 100",
    "Subsystem sftp internal-sftp",
)
PACKAGES = {
    "sshd": "openssh-server",
    "cron": "cron",
    "tini": "tini",
    "sleep": "coreutils",
    "nft": "nftables",
    "tc": "iproute2",
    "ip": "iproute2",
    "ping": "iputils-ping",
}


@dataclass(frozen=True, slots=True)
class HostTools:
    """Absolute paths of the programs every namespaced host runs.

    Attributes:
        sshd_options: See `sshd_options`.
    """

    sshd: str
    cron: str
    tini: str
    sleep: str
    sshd_options: tuple[str, ...] = ()


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of the programs that are not installed."""
    return [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]


def install_command(names: list[str]) -> str:
    """The command that installs the programs on Debian and Ubuntu.

    A program that is not one of ours most likely is in a package of its own name.
    """
    return "apt-get install -y " + " ".join(sorted(PACKAGES.get(name, name) for name in names))


def find(name: str) -> str:
    """Absolute path of a program.

    Raises:
        ProviderError: it is not installed; the message says how to install it.
    """
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise ProviderError(
            f"local hosts need {name}, which is not installed; run: {install_command([name])}"
        )
    return os.path.realpath(path)


def find_host_tools() -> HostTools:
    """All programs of a namespaced host.

    Raises:
        ProviderError: one is not installed.
    """
    found = {name: find(name) for name in HOST_TOOLS}
    return HostTools(**found, sshd_options=sshd_options())


def sshd_version() -> tuple[int, int]:
    """Version of the machine's OpenSSH, (0, 0) when it does not say."""
    return _version_in(_ask_sshd("-V"))


def sshd_options() -> tuple[str, ...]:
    """Options by which a host's sshd serves a connection with less work, where it knows them.

    Up to 9.7 it loads itself anew for every connection, so that a stranger does not learn from one
    about the memory of the next. Only the run itself and its hosts reach these, for as long as the
    run lives, and a thousand hosts share this machine's processors. `-r`, which leaves that out,
    is not in the manual, so sshd is asked whether it knows it.
    """
    said = _ask_sshd("-r", "-V")
    knows = not re.search(r"option -- '?r\b", said)
    return ("-r",) if knows and (0, 0) < _version_in(said) < (9, 8) else ()


def _ask_sshd(*options: str) -> str:
    answer = subprocess.run(
        [find("sshd"), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stderr + answer.stdout


def _version_in(said: str) -> tuple[int, int]:
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def sshd_lines() -> list[str]:
    """Settings of every local host's sshd, with what only this machine's version knows.

    Since 9.8 sshd shuts out addresses that connect without logging in, which is what waiting for
    its greeting looks like.
    """
    penalties = ["PerSourcePenalties no"] if sshd_version() >= (9, 8) else []
    return [*_SSHD_LINES, *penalties]


def available_memory_bytes() -> int | None:
    """Memory that programs can still have; None where the system does not say."""
    if not Path("/proc/meminfo").exists():
        return None
    return int(linux.proc_field("meminfo", "MemAvailable")[0]) * 1024
