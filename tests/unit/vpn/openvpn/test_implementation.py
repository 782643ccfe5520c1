"""What OpenVPN's start says of its data channel: carried by the kernel, or by the process and why."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from perfkit.model import Role
from perfkit.vpn.openvpn.scripts import scripts

VERSION = "2026-11-22 13:15:24 OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)] [AEAD] [DCO]\n"
NOTE = "2026-11-22 13:15:24 Note: Kernel support for ovpn-dco missing, disabling data channel offload.\n"


@pytest.mark.parametrize(
    ("log", "conf", "said"),
    [
        (VERSION, "dev tun0\n", "kernel: DCO of OpenVPN 2.6.14"),
        (
            NOTE + VERSION,
            "dev tun0\n",
            "process: OpenVPN 2.6.14 without DCO (Kernel support for ovpn-dco missing, "
            "disabling data channel offload.)",
        ),
        (VERSION, "dev tun0\ndisable-dco\n", "process: OpenVPN 2.6.14 without DCO"),
        (VERSION.replace(" [DCO]", ""), "dev tun0\n", "process: OpenVPN 2.6.14 without DCO"),
        ("", "dev tun0\n", None),
    ],
)
def test_dco_is_recorded_either_way(log: str, conf: str, said: str | None, tmp_path: Path) -> None:
    for name in ("vpn", "logs"):
        (tmp_path / name).mkdir()
    folder = tmp_path / "vpn"
    program = tmp_path / "openvpn"
    (tmp_path / "said").write_text(log)
    program.write_text("#!/bin/sh\ncat ../said >../logs/openvpn.log\necho 1 >openvpn.pid\n")
    start, _, _ = scripts(Role.SERVER, str(program))
    for path, text in ((folder / "start", start), (folder / "server.conf", conf)):
        path.write_text(text)
    for path in (folder / "start", program):
        path.chmod(0o700)
    subprocess.run(["./start"], cwd=folder, env=dict(os.environ), check=True)
    written = folder / "implementation"
    assert (written.read_text().strip() if written.exists() else None) == said
