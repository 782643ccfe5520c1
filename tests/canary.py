"""Campaigns in an environment full of secrets that sing when they are found on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from own_ports import use_own_port
from project_copy import copy_project

CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0001",
    "AWS_SECRET_ACCESS_KEY": "caNaRy0/SinGs+1caNaRy0/SinGs+1caNaRy0/Sx",
    "DATABASE_PASSWORD": "canary-password-0002",
    "DEPLOY_KEY": "-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5LTAwMDM=\n",
}
IN_CONFIG = "canary-in-config-0004"
IN_PARAMETER = "AKIACANARYPARAMETER5"
SONGS = [
    *(song for value in CANARIES.values() for song in value.splitlines()[-1:]),
    IN_CONFIG,
    IN_PARAMETER,
]
FAILING_RECIPE = """
import os
from fabric import task

@task
def setup_server(c):
    everything = dict(os.environ)
    c.run("echo its words; exit 7")

@task
def setup_client(c):
    everything = dict(os.environ)
    raise RuntimeError("a recipe with a mistake in it")
"""


@dataclass(frozen=True)
class Campaigns:
    """A copy of the project, and what campaigns in it said."""

    folder: Path

    @classmethod
    def copied_to(cls, folder: Path) -> Campaigns:
        use_own_port(copy_project(folder))
        return cls(folder)

    def run(self, name: str, *words: str) -> int:
        """Run a Python module with these arguments; keeps what it says."""
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder / "notebooks",
            env={**os.environ, **CANARIES, "PERFKIT_HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=200,
            check=False,
            umask=0o022,
        )
        (self.folder / f"{name}.said").write_bytes(done.stdout + done.stderr)
        return done.returncode

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.said").read_text()

    def all(self) -> dict[str, int]:
        """One that goes well, one whose recipes fail, and two that are refused; exit statuses."""
        options = ["--clients", "1", "--duration-s", "1", "--isolation", "loopback"]
        papermill = ["papermill", "campaign.ipynb", "out.ipynb", "--no-progress-bar"]
        pairs = [("clients", "1"), ("duration_s", "1"), ("isolation", "loopback")]
        given = [word for pair in pairs for word in ("-p", *pair)]
        status = {"good": self.run("good", *papermill, *given)}
        fabfile = self.folder / "resources" / "fabfile.py"
        usual = fabfile.read_text()
        fabfile.write_text(FAILING_RECIPE)
        status["failing"] = self.run("failing", "perfkit.cli.app", "run", *options)
        fabfile.write_text(usual)
        status["parameter"] = self.run(
            "parameter", "perfkit.cli.app", "run", *options, "--tests", IN_PARAMETER
        )
        secret = self.folder / "config" / "ssh.conf"
        secret.write_text(f"[ssh]\npassword = {IN_CONFIG}\n")
        status["config"] = self.run("config", "perfkit.cli.app", "run", *options)
        secret.unlink()
        return status

    def songs(self) -> Iterator[str]:
        """Each file that holds a canary: runs, notebooks, logs, pages, what was said."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                found = [song for song in SONGS if song.encode() in content]
                if found:
                    yield f"{path.relative_to(self.folder)}: {found}"

    def open_modes(self) -> list[str]:
        """Everything below runs/ that somebody else than its owner may read or write."""
        runs = self.folder / "runs"
        return [
            f"{path.relative_to(runs)}: {path.stat().st_mode & 0o777:o}"
            for path in sorted(runs.rglob("*"))
            if path.stat().st_mode & 0o077
        ]
