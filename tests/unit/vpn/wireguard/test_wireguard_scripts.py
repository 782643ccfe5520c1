"""WireGuard's start and stop beside stand-ins of `ip` and `wg`: a kernel that has it, a `wg` that hangs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from perfkit.model import Role
from perfkit.vpn.wireguard.scripts import scripts

DEVICE = "pkt-none0"  # no machine has it
KEY = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
CALLED = 'echo "$(basename "$0") $*" >>"$CALLS"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A client's files, and stand-ins in bin/ that note how they were called."""
    place = tmp_path / "vpn"
    for name in ("vpn", "logs", "bin"):
        (tmp_path / name).mkdir()
    start, stop, _, _ = scripts(Role.CLIENT, DEVICE, "")
    files = {"start": start, "stop": stop, "interface": "address=10.8.0.2/20\nmtu=1380\n"}
    files |= {"wireguard.conf": "[Interface]\n[Peer]\nPublicKey = x\n", "wireguard.key": f"{KEY}\n"}
    for name, text in files.items():
        (place / name).write_text(text)
        (place / name).chmod(0o700)
    stand_in(tmp_path, "ip", "")
    stand_in(tmp_path, "wg", 'cat "$3" >"$CALLS.conf"\n')
    return place


def stand_in(place: Path, name: str, text: str) -> None:
    path = place / "bin" / name
    path.write_text(f"#!/bin/sh\n{CALLED}{text}")
    path.chmod(0o755)


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    found = {
        "PATH": f"{folder.parent}/bin:{os.environ['PATH']}",
        "CALLS": str(folder.parent / "calls"),
    }
    return subprocess.run(
        [f"./{script}"], cwd=folder, env={**os.environ, **found}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def calls(folder: Path) -> list[str]:
    return (folder.parent / "calls").read_text().splitlines()


def test_where_the_kernel_has_wireguard_it_carries_the_packets_and_no_process_does(
    folder: Path,
) -> None:
    done = run(folder, "start")
    assert (done.returncode, done.stderr) == (0, "")
    assert calls(folder) == [
        f"ip link add dev {DEVICE} type wireguard",
        f"wg setconf {DEVICE} /proc/self/fd/0",
        f"ip address add 10.8.0.2/20 dev {DEVICE}",
        f"ip link set dev {DEVICE} mtu 1380 up",
    ]
    release = re.match("[0-9.]*", os.uname().release)
    assert release is not None
    said = (folder / "implementation").read_text()
    assert said == f"kernel: WireGuard of Linux {release[0]}\n"
    assert not (folder / "wireguard.pid").exists()
    configured = (folder.parent / "calls.conf").read_text()
    assert configured.startswith(f"[Interface]\nPrivateKey = {KEY}\n")
    assert KEY not in (folder.parent / "calls").read_text()
    assert KEY not in (folder.parent / "logs/wireguard.log").read_text()


def test_a_wg_that_fails_once_is_asked_again(folder: Path) -> None:
    stand_in(folder.parent, "wg", '[ -e "$CALLS.once" ] || { : >"$CALLS.once"; exit 1; }\n')
    assert run(folder, "start").returncode == 0
    assert len([call for call in calls(folder) if call.startswith("wg")]) == 2


def test_a_wg_that_fails_twice_is_said_with_its_words_and_nothing_is_left(folder: Path) -> None:
    stand_in(folder.parent, "wg", "echo Unable to do it >&2\nexit 1\n")
    done = run(folder, "start")
    assert done.returncode != 0
    assert done.stderr == "failed: wg setconf: Unable to do it\n"
    assert (folder.parent / "logs/wireguard.log").read_text() == done.stderr
    assert not {"implementation", ".made", ".up"} & {path.name for path in folder.iterdir()}


def test_without_kernel_and_program_both_are_named(folder: Path) -> None:
    stand_in(folder.parent, "ip", "echo Error: Unknown device type. >&2\nexit 2\n")
    start = (folder / "start").read_text()
    (folder / "start").write_text(start.replace("wireguard-go}", "no-such-program}"))
    done = run(folder, "start")
    assert done.returncode != 0
    assert "Unknown device type" in done.stderr
    assert "there is no no-such-program" in done.stderr


def test_a_device_that_somebody_else_has_made_is_left_alone(folder: Path) -> None:
    for name in ("start", "stop"):
        path = folder / name
        path.write_text(path.read_text().replace(DEVICE, "lo"))  # every machine has that one
    done = run(folder, "start")
    assert done.returncode == 1
    assert "lo is there already, and was not made by this run" in done.stderr
    assert run(folder, "stop").returncode == 0
    assert not (folder.parent / "calls").exists()
