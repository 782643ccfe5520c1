"""What a host must not have any more before its next tests are armed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perfkit.errors import HostError
from perfkit.measure.provision import provision
from perfkit.model import Host, Role


class HereRemote:
    """A host that is this machine: scripts are run by its sh."""

    def __init__(self, workdir: Path) -> None:
        self.host = Host(
            name="client-001",
            role=Role.CLIENT,
            address="127.0.0.1",
            host_key="ssh-ed25519 AAAA",
            workdir=str(workdir),
        )

    def run_script(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)


@pytest.fixture
def remote(tmp_path: Path) -> HereRemote:
    logs = tmp_path / "work" / "logs"
    logs.mkdir(parents=True)
    for name in ("01-direct-tcp.log", "02-tunnel-tcp.events.json", "a user's own.csv", ".part"):
        (logs / name).write_text("of the block before\n")
    for name in ("facts.json", "openvpn.log"):
        (logs / name).write_text("of the host\n")
    return HereRemote(tmp_path / "work")


def left(remote: HereRemote) -> set[str]:
    return {path.name for path in (Path(remote.host.workdir) / "logs").iterdir()}


def test_no_log_of_an_earlier_block_is_there_to_be_taken_for_one_of_this(
    remote: HereRemote,
) -> None:
    keep = ("facts.json", "openvpn.log")
    provision(remote, {}, more_checks="", watched=False, keep_logs=keep)  # type: ignore[arg-type] # as much of a Remote as is used
    assert left(remote) == set(keep)


def test_a_single_run_removes_no_logs(remote: HereRemote) -> None:
    before = left(remote)
    provision(remote, {}, more_checks="", watched=False)  # type: ignore[arg-type] # as above
    assert left(remote) == before


def test_a_host_that_is_new_has_nothing_to_remove_and_is_made_ready(tmp_path: Path) -> None:
    remote = HereRemote(tmp_path / "new")
    provision(remote, {}, more_checks="", watched=False, keep_logs=())  # type: ignore[arg-type] # as above
    assert left(remote) == set()


def test_what_was_left_running_is_told_to_stop_before_its_logs_are_removed(
    remote: HereRemote,
) -> None:
    workdir = Path(remote.host.workdir)
    program = workdir / "bin" / "run-slot"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nls {workdir}/logs >{workdir}/told-$1\n")
    program.chmod(0o755)
    provision(remote, {}, more_checks="", watched=False, keep_logs=())  # type: ignore[arg-type] # as above
    assert "01-direct-tcp.log" in (workdir / "told-stop").read_text()
    assert left(remote) == set()


def test_what_a_host_lacks_is_said_also_where_logs_are_removed(remote: HereRemote) -> None:
    with pytest.raises(HostError, match="not ready: no cron"):
        provision(remote, {}, more_checks="echo no cron", watched=False, keep_logs=())  # type: ignore[arg-type] # as above
