"""What the configuration for OpenSSH leaves on this machine."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perfkit.fleet.static.openssh import HostAgents

KILLED = """
import os, signal
from perfkit.fleet.static.openssh import HostAgents
kept = HostAgents([])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def grown_old(folder: Path) -> Path:
    os.utime(folder, (0, 0))
    return folder


def test_a_configuration_goes_with_its_object(temporary: Path) -> None:
    kept = HostAgents([])
    (folder,) = temporary.iterdir()
    assert (folder / "config").exists()
    assert folder.stat().st_mode & 0o77 == 0
    del kept
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_when_the_next_comes(temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    (left,) = temporary.iterdir()
    young = HostAgents([])
    assert left.exists()  # it might just have been made
    grown_old(left)
    kept = HostAgents([])
    assert not left.exists()
    assert len(list(temporary.iterdir())) == len([young, kept])


def test_what_somebody_uses_stays_however_old(temporary: Path) -> None:
    used = HostAgents([])
    folder = grown_old(next(temporary.iterdir()))
    (temporary / "perfkit-ssh-file").write_text("no folder")
    kept = HostAgents([])
    assert (folder / "config").exists()
    assert len(list(temporary.iterdir())) == len([used, kept]) + 1
