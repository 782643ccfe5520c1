"""What a host says of itself, asked of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from perfkit.configure.completion import stamp_script
from perfkit.configure.facts import collect_facts
from perfkit.errors import HostError
from perfkit.model import Host, Role
from perfkit.ssh.remote import Remote


class Here:
    """This machine as a host whose workdir is a folder."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(
            name="client-001", role=Role.CLIENT, address="", host_key="", workdir=str(folder)
        )

    def run_script(self, text: str) -> SimpleNamespace:
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
        return SimpleNamespace(stdout=done.stdout)


@pytest.mark.parametrize(
    ("carrier", "version", "is_asked"),
    [
        ("process: OpenVPN 9.8.1 without DCO (2 reasons, of Linux 6.1)", "9.8.1", False),
        ("kernel: DCO of OpenVPN 9.8.1", "1.2.3", True),
        ("process: one without a word on it", "1.2.3", True),
        (None, "1.2.3", True),
    ],
)
def test_a_vpn_is_not_started_again_to_say_the_version_that_its_process_has_said(
    tmp_path: Path, carrier: str | None, version: str, is_asked: bool
) -> None:
    program, marker = tmp_path / "program", tmp_path / "asked"
    program.write_text(f"#!/bin/sh\ntouch {marker}\necho Some VPN 1.2.3 of today\n")
    program.chmod(0o755)
    (tmp_path / "vpn").mkdir()
    if carrier:
        (tmp_path / "vpn/implementation").write_text(f"{carrier}\n")
    remote = cast(Remote, Here(tmp_path))
    facts = collect_facts(remote, vpn_version=[str(program)], is_started=True)
    assert facts["vpn_version"] == version
    assert facts["vpn_implementation"] == (carrier or "")
    assert marker.exists() == is_asked
    assert collect_facts(remote, vpn_version=[str(program)])["vpn_version"] == "1.2.3"


def test_a_host_bears_the_stamp_of_a_step_only_when_nothing_lacks(tmp_path: Path) -> None:
    remote = Here(tmp_path)
    then = stamp_script(remote.host, "abc")
    with pytest.raises(HostError, match=r"not ready: no iron; a back\\slash"):
        collect_facts(
            cast(Remote, remote), checks="echo no iron; printf '%s\\n' 'a back\\slash'", then=then
        )
    assert not (tmp_path / "steps").exists()
    collect_facts(cast(Remote, remote), checks="false", then=then)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    assert (tmp_path / "steps/abc").read_text() == boot
