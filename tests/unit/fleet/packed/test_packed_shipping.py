"""What is sent to a machine is all that it needs, on a Python that has nothing installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from perfkit.fleet.packed import shipping

IMPORTS = (
    "import sys; sys.path.insert(0, '.'); import perfkit.fleet.packed.on_machine, "
    "perfkit.fleet.local.host_factory, perfkit.fleet.local.links; "
    "print(perfkit.fleet.local.host_factory.__file__)"
)


def unpacked(folder: Path, *, makes_hosts: bool) -> Path:
    data = shipping.archive("20260101T000000Z-x-abcdef", makes_hosts=makes_hosts)
    unpack = ["tar", "-xzf", "-", "--no-same-owner"]  # as a machine does
    subprocess.run(unpack, cwd=folder, input=data, check=True)
    return folder


def test_a_machine_makes_hosts_with_what_it_is_sent_and_its_own_python(tmp_path: Path) -> None:
    unpacked(tmp_path, makes_hosts=True)
    argv = [sys.executable, "-I", "-S", "-c", IMPORTS]  # -S: no site-packages
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip()).is_relative_to(tmp_path)


def test_a_server_is_sent_no_python(tmp_path: Path) -> None:
    unpacked(tmp_path, makes_hosts=False)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["machine.sh", "run", "stop"]
    assert (tmp_path / "run").read_text() == "20260101T000000Z-x-abcdef\n"
