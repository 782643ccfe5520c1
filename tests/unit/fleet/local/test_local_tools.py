"""What sshd of this machine is asked for, by what it says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.fleet.local import tools

DEBIAN_12 = "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026"
DEBIAN_13 = "OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1 1 Jul 2025"


def sshd_that_says(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    program = folder / "sshd"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(tools, "find", lambda _name: str(program))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEBIAN_12, ("-r",)),
        (f"unknown option -- r\n{DEBIAN_12}\nusage: sshd [-46DdeiqTtV]", ()),
        (f"sshd: invalid option -- 'r'\n{DEBIAN_12}", ()),
        (f"unknown option -- V\n{DEBIAN_12}", ("-r",)),
        ("OpenSSH_9.8p1, OpenSSL 3.3.1", ()),
        (DEBIAN_13, ()),
        ("dropbear", ()),
    ],
)
def test_sshd_loads_itself_anew_unless_it_is_one_that_can_be_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    sshd_that_says(tmp_path, monkeypatch, text)
    assert tools.sshd_options() == expected


@pytest.mark.parametrize(("text", "version"), [(DEBIAN_12, (9, 2)), (DEBIAN_13, (10, 0))])
def test_the_version_of_sshd_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, version: tuple[int, int]
) -> None:
    sshd_that_says(tmp_path, monkeypatch, text)
    assert tools.sshd_version() == version
