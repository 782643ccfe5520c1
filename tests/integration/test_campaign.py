"""The left half of a campaign on real hosts: a crash leaves nothing that is not found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import busy_machine
import pytest
from project_copy import copy_project

from perfkit.campaign import phases, status_reap
from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs.journal import read

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the test's own: short tests, its own runs/."""
    copy_project(tmp_path, "config", "resources")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    busy_machine.bear_with_it(monkeypatch)
    return tmp_path


def left_of(run_id: str) -> list[str]:
    provider = LocalProvider()
    return [*(h.name for h in provider.hosts(run_id)), *provider.residue(run_id)]


@pytest.mark.parametrize("phase", ["launch", "configure", "measure"])
def test_a_controller_killed_in_a_phase_leaves_a_fleet_that_status_shows_and_reap_ends(
    project: Path, phase: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "perfkit.cli.app", "run", "--clients", "4", "--name", "killed"],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdout=subprocess.DEVNULL,
    )
    run_id = wait_for_phase(project / "runs", phase)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert run_id in [fleet.run_id for fleet in status_reap.status().fleets]
    assert "would end" in str(status_reap.reap([run_id]))
    assert left_of(run_id)
    assert status_reap.reap([run_id], yes=True).leaked == ()
    assert left_of(run_id) == []
    assert run_id not in [fleet.run_id for fleet in status_reap.status().fleets]
    assert status_reap.reap([run_id], yes=True).lines == ("nothing to end",)


def wait_for_phase(runs_dir: Path, phase: str) -> str:
    """Wait until the one run has begun a phase and has hosts; return its id."""
    deadline = time.monotonic() + 150
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
