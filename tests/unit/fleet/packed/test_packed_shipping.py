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


RUN = "20260101T000000Z-x-abcdef"


def sent_to(folder: Path, data: bytes, sent: bytes = b"") -> subprocess.CompletedProcess[str]:
    """What a machine does with `data`, of which `sent` came through."""
    words = ["sh", "-c", f"cd {folder} && {{\n{shipping.unpacking(data)}}}"]
    done = subprocess.run(words, input=sent or data, capture_output=True, timeout=120, check=False)
    return subprocess.CompletedProcess(words, done.returncode, "", done.stderr.decode())


def unpacked(folder: Path, *, makes_hosts: bool) -> Path:
    done = sent_to(folder, shipping.archive(RUN, makes_hosts=makes_hosts))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_machine_makes_hosts_with_what_it_is_sent_and_its_own_python(tmp_path: Path) -> None:
    unpacked(tmp_path, makes_hosts=True)
    argv = [sys.executable, "-I", "-S", "-c", IMPORTS]  # -S: no site-packages
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.strip()).resolve().is_relative_to(tmp_path)


def test_a_server_is_sent_no_python(tmp_path: Path) -> None:
    unpacked(tmp_path, makes_hosts=False)
    links = sorted(it.name for it in tmp_path.iterdir() if it.is_symlink())
    assert links == ["machine.sh", "run", "stop"]
    assert (tmp_path / "run").read_text() == f"{RUN}\n"


def files(folder: Path) -> dict[str, int]:
    return {str(it.relative_to(folder)): it.lstat().st_ino for it in sorted(folder.rglob("*"))}


def test_what_is_sent_again_is_not_unpacked_over_what_is_in_use(tmp_path: Path) -> None:
    data = shipping.archive(RUN, makes_hosts=True)
    unpacked(tmp_path, makes_hosts=True)
    (place,) = tmp_path.glob("sent-*")
    before = files(place)
    assert sent_to(tmp_path, data).returncode == 0
    assert files(place) == before
    shipping.archive.cache_clear()
    assert shipping.archive(RUN, makes_hosts=True) == data


def test_another_version_is_used_once_it_is_whole_and_the_one_in_use_stays(tmp_path: Path) -> None:
    unpacked(tmp_path, makes_hosts=True)
    (place,) = tmp_path.glob("sent-*")
    before = files(place)
    other = shipping.archive(RUN, makes_hosts=False)
    half = sent_to(tmp_path, other, other[: len(other) // 2])
    assert half.returncode != 0
    assert "could not be unpacked: " in half.stderr
    assert (tmp_path / "run").resolve().parent == place
    assert [it.name for it in tmp_path.iterdir() if it.name.startswith(("part-", "sent-"))] == [
        place.name
    ]
    assert sent_to(tmp_path, other).returncode == 0
    assert (tmp_path / "run").resolve().parent != place
    assert (tmp_path / "perfkit").resolve().parent == place
    assert files(place) == before
