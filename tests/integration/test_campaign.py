"""The left half of a campaign on real hosts: sick ones are named, crashes leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfkit import phases, upkeep
from perfkit.fleet.local.provider import LocalProvider
from perfkit.journal import read
from perfkit.model import HostState

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]

PROMPTING_FABFILE = """
import importlib.util
from pathlib import Path
from fabric import task

spec = importlib.util.spec_from_file_location("usual", Path(__file__).parent / "usual.py")
usual = importlib.util.module_from_spec(spec)
spec.loader.exec_module(usual)
setup_server = usual.setup_server


@task
def setup_client(c):
    if c.config.perfkit["host"] == "client-004":
        c.run("printf 'Overwrite the database? [y/N] '; read answer")
    usual.setup_client(c)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the test's own: short tests, its own runs/."""
    for name in ("config", "resources"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


def pid_of(run_id: str, name: str) -> int:
    (host,) = [h for h in LocalProvider().hosts(run_id) if h.name == name]
    return int(host.identity.removeprefix("pid "))


def inside(pid: int, *argv: str) -> None:
    command = ["nsenter", "-t", str(pid), "-n", "-p", "-m", *argv]
    subprocess.run(command, check=True, timeout=20)


def left_of(run_id: str) -> list[str]:
    provider = LocalProvider()
    return [*(h.name for h in provider.hosts(run_id)), *provider.residue(run_id)]


def test_four_sick_clients_are_named_with_the_right_reason_and_the_others_finish(
    project: Path,
) -> None:
    fabfile = project / "resources" / "fabfile.py"
    fabfile.rename(project / "resources" / "usual.py")
    fabfile.write_text(PROMPTING_FABFILE)
    ssh = "[ssh]\nconnect_timeout_s = 4\ncommand_timeout_s = 20\nhost_deadline_s = 40\n"
    (project / "config/ssh.conf").write_text(ssh)
    with phases.start(clients=6, duration_s=2, name="sick", on_shortfall="go") as session:
        with session.fleet:
            phases.launch(session)
            run_id = session.run.id
            sshd = "kill -{} $(cat /run/sshd.pid)"
            inside(pid_of(run_id, "client-001"), "sh", "-c", sshd.format("KILL"))
            inside(pid_of(run_id, "client-002"), "sh", "-c", sshd.format("STOP"))
            inside(pid_of(run_id, "client-003"), "ip", "link", "set", "eth0", "down")
            phases.configure(session)
            result = phases.measure(session)
            phases.collect(session)
        reasons = {
            r.name: r.reason for r in session.inventory.records() if r.reason and r.name != "server"
        }
        done = {h.name for h in session.inventory.have_been(HostState.DONE)}
    assert {r.host for r in result.ok} == {"server", "client-005", "client-006"} == done
    assert set(reasons) == {f"client-00{n}" for n in (1, 2, 3, 4)}
    assert reasons["client-001"].startswith("UnreachableError")
    assert "refused" in reasons["client-001"]
    assert reasons["client-002"].startswith("UnreachableError")
    assert "banner" in reasons["client-002"]
    assert reasons["client-003"].startswith("UnreachableError")
    assert reasons["client-004"].startswith("PromptError")
    assert "Overwrite the database? [y/N]" in reasons["client-004"]
    assert left_of(session.run.id) == []


@pytest.mark.parametrize("phase", ["launch", "configure", "measure"])
def test_a_controller_killed_in_a_phase_leaves_a_fleet_that_status_shows_and_reap_ends(
    project: Path, phase: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "perfkit.cli", "run", "--clients", "4", "--name", "killed"],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdout=subprocess.DEVNULL,
    )
    run_id = wait_for_phase(project / "runs", phase)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert run_id in [fleet.run_id for fleet in upkeep.status().fleets]
    assert "would end" in str(upkeep.reap([run_id]))
    assert left_of(run_id)
    assert upkeep.reap([run_id], yes=True).leaked == ()
    assert left_of(run_id) == []
    assert run_id not in [fleet.run_id for fleet in upkeep.status().fleets]
    assert upkeep.reap([run_id], yes=True).lines == ("nothing to end",)


def wait_for_phase(runs_dir: Path, phase: str) -> str:
    """Wait until the one run has begun a phase and has hosts; return its id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in runs_dir.glob("*/journal.jsonl"):
            events = read(path).events
            begun = [e for e in events if e.kind == "phase-started" and e.fields["phase"] == phase]
            if begun and LocalProvider().hosts(path.parent.name):
                return path.parent.name
        time.sleep(0.02)
    raise AssertionError(f"no run came to {phase}")


def test_a_run_goes_on_in_another_process_and_is_not_measured_twice(project: Path) -> None:
    with phases.start(clients=2, duration_s=1, name="resumed") as session:
        run_id = session.run.id
        phases.launch(session)
    with phases.attach("resumed") as session, session.fleet:
        assert session.run.id == run_id
        assert len(phases.launch(session).ok) == 3
        phases.configure(session)
        assert len(phases.measure(session).ok) == 3
        timetable = session.run.timetable_path.read_bytes()
        assert len(phases.measure(session).ok) == 3
        assert session.run.timetable_path.read_bytes() == timetable
        assert len(phases.collect(session).ok) == 3
        assert len(phases.collect(session).ok) == 3
    assert left_of(run_id) == []
