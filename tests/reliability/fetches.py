"""R12: a file arrives whole or is not there, whatever becomes of the link and of the disk here.

Each fetch breaks at a random byte, up to three times, and is asked for again. In every tenth
the disk here is full meanwhile (a small tmpfs, as root), in every tenth the host's file has changed
between two attempts.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

from local_sshd import LocalSshd, make_access

from perfkit.errors import HostError, RunError
from perfkit.model import Host
from perfkit.runs.folder import sha256_of
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Access, Remote
from perfkit.ssh.sftp import part_of

from .experiment import Experiment, Outcome
from .proxy import CLOSE, RESET, CuttingProxy

SIZE_BYTES = 400_000
DISK_BYTES = 1 << 20
LIMITS = {"connect_timeout_s": 5.0, "patience_s": 10.0, "silence_s": 5.0}
MOST_ATTEMPTS = 8


def run(n: int, seed: int) -> Outcome:
    chance, key = Random(seed), make_ssh_key()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fetches-") as name:
        folder = Path(name)
        disk = folder / "disk"
        disk.mkdir()
        if os.geteuid() == 0:
            options = f"size={DISK_BYTES},mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
        sshd = LocalSshd(folder, key).start()
        proxy = CuttingProxy(sshd.port)
        host = replace(sshd.host, port=proxy.port)
        access = make_access(folder, key, host, **LIMITS)
        try:
            for number in range(n):
                _fetch(_Trial(host, access, proxy, disk, folder / "log", chance), number, found)
        finally:
            proxy.close()
            sshd.stop()
            if disk.is_mount():
                subprocess.run(["umount", disk], check=True)
    sent = found.pop("bytes") / max(1, n * SIZE_BYTES)
    told = ", ".join(f"{count} {what}" for what, count in found.most_common())
    return Outcome(
        result=f"{told}; {sent:.2f} bytes sent for each byte of a log",
        ok=found["whole"] == n and not found["wrong"] and not found["partial without its mark"],
    )


class _Trial:
    """One file on the host, one place for it here."""

    def __init__(
        self,
        host: Host,
        access: Access,
        proxy: CuttingProxy,
        disk: Path,
        source: Path,
        chance: Random,
    ) -> None:
        self.host, self.access, self.proxy = host, access, proxy
        self.source, self.disk, self.chance = source, disk, chance
        self.target = disk / "01-test.log"
        self.write()

    def write(self) -> None:
        self.data = self.chance.randbytes(SIZE_BYTES)
        self.source.write_bytes(self.data)
        self.sha256 = hashlib.sha256(self.data).hexdigest()

    def fetch(self) -> str:
        """One attempt, in one connection."""
        try:
            with Remote(self.host, self.access) as remote:
                remote.get(
                    str(self.source), self.target, limit_bytes=SIZE_BYTES, sha256=self.sha256
                )
        except HostError:
            return "broken off"
        except RunError:
            return "told that the disk is full"
        return "whole"


def _fetch(trial: _Trial, number: int, found: Counter[str]) -> None:
    breaks = trial.chance.randrange(1, 4)
    ballast = trial.disk / "ballast"
    before = trial.proxy.n_bytes
    if number % 10 == 3 and trial.disk.is_mount():
        ballast.write_bytes(bytes(DISK_BYTES - SIZE_BYTES // 2))
    for attempt in range(MOST_ATTEMPTS):
        at = trial.chance.randrange(SIZE_BYTES) if attempt < breaks else None
        trial.proxy.arm(at, trial.chance.choice((RESET, CLOSE)))
        said = trial.fetch()
        found["attempts"] += 1
        if said == "whole":
            break
        found[said] += 1
        if trial.target.exists():
            found["partial without its mark"] += 1
        if number % 10 == 7 and attempt == 0:
            trial.write()  # another file now; what has arrived is of the old one
        if attempt >= 1:
            ballast.unlink(missing_ok=True)
    trial.proxy.arm(None)
    found["bytes"] += trial.proxy.n_bytes - before
    right = trial.target.is_file() and sha256_of(trial.target) == trial.sha256
    found["whole" if right else "wrong"] += 1
    for path in (trial.target, part_of(trial.target)):
        path.unlink(missing_ok=True)


EXPERIMENT = Experiment(
    key="R12",
    promise="a fetched log is whole or not there",
    bound="0 wrong files accepted, 0 partial files under a log's name, all whole in the end",
    run=run,
    quick=10,
    full=200,
)
