"""The campaign notebook as a machine runs it: papermill, real hosts, tables at the end."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from headless import papermill
from own_ports import use_own_port
from project_copy import copy_project

from perfkit.campaign.resume import next_phase
from perfkit.cli import app
from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs import progress
from perfkit.runs.folder import Run, list_runs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    use_own_port(copy_project(tmp_path))
    return tmp_path


def rows_of(run: Run, table: str) -> list[dict[str, str]]:
    with (run.report_dir / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def left_of(run: Run) -> list[str]:
    provider = LocalProvider()
    return [*(h.name for h in provider.hosts(run.id)), *provider.residue(run.id)]


@pytest.mark.root
@pytest.mark.slow
def test_a_campaign_measures_every_client_beside_and_through_the_tunnel(project: Path) -> None:
    done = papermill(project, clients=3, duration_s=5, name="small")
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = list_runs(project / "runs")
    tests = rows_of(run, "tests")
    assert [row["slot"] for row in tests] == ["01-direct-tcp", "02-tunnel-tcp"]
    for row in tests:
        counts = [row[f"clients_{what}"] for what in ("expected", "seen", "failed")]
        assert counts == ["3", "3", "0"]
        assert 0 < float(row["window_s"]) < 6
    direct, tunnel = tests
    # Rows of three or four seconds say nothing certain of NIC and processor where others work as
    # well: what is made of counters is tested with logs whose truth is known.
    assert all(float(row["goodput_bps"]) > 0 for row in tests)
    assert tunnel["vs_direct"]
    assert {"nic_ratio", "vpn_cpu_s_per_gbit"} <= direct.keys()
    assert "3 clients and 1 server" in done.stdout
    assert f"report: {run.report_dir / 'index.html'}" in done.stdout
    assert left_of(run) == []
    phase_notebooks_make_the_same_of_the_same_logs(project, run)


def phase_notebooks_make_the_same_of_the_same_logs(project: Path, run: Run) -> None:
    """A copy of the run that has only what collect left, taken on by 05_segments and 06_report."""
    copy = Run(shutil.copytree(run.root, project / "elsewhere" / run.id))
    copy.segments_path.unlink()
    for folder in (copy.report_dir, copy.tables_dir):
        shutil.rmtree(folder)
    for notebook in ("05_segments", "06_report"):
        done = papermill(project, notebook, run=copy.root)
        assert done.returncode == 0, done.stderr[-2000:]
    tables = sorted(run.report_dir.glob("*.csv"))
    assert {path.stem for path in tables} > {"tests", "clients", "server", "windows"}
    for table in tables:
        assert (copy.report_dir / table.name).read_text() == table.read_text(), table.name


@pytest.mark.slow
def test_hosts_without_privilege_run_what_needs_no_tunnel_and_say_so(project: Path) -> None:
    done = papermill(project, clients=2, duration_s=5, name="plain", isolation="loopback")
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = list_runs(project / "runs")
    (row,) = rows_of(run, "tests")
    assert (row["slot"], row["clients_seen"], row["clients_failed"]) == ("01-direct-tcp", "2", "0")
    assert "left out, hosts cannot have a tunnel: tunnel-tcp" in done.stdout
    assert "cannot run tunnel tests" in done.stdout
    assert left_of(run) == []


@pytest.mark.slow
def test_tests_that_no_client_did_fail_the_notebook_after_its_report_and_are_not_run_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "resources" / "tests" / "direct-tcp").write_text(
        "#!/bin/sh\n: $PERFKIT_SEND_AT\nexit 3\n"
    )
    chosen = {"tests": "direct-tcp", "isolation": "loopback", "name": "failing"}
    done = papermill(project, clients=2, duration_s=1, on_shortfall="go", **chosen)
    assert done.returncode != 0
    says = "tests: 01-direct-tcp was done by 0 of 2 clients, 1 needed (on_shortfall = go)"
    assert says in done.stderr
    (run,) = list_runs(project / "runs")
    assert rows_of(run, "tests")[0]["clients_failed"] == "2"
    assert f"report: {run.report_dir / 'index.html'}" in done.stdout
    assert left_of(run) == []

    monkeypatch.setenv("PERFKIT_HOME", str(project))
    timetable = run.timetable_path.stat().st_mtime_ns
    again = CliRunner().invoke(app.main, ["run", "--run", "failing"])
    assert again.exit_code == 1
    assert again.stderr.startswith(f"perfkit: StageError: {says}")
    assert run.timetable_path.stat().st_mtime_ns == timetable
    assert next_phase(run, progress.read(run)) == ""


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"client": 5}, "did you mean 'clients'?"),
        ({"clients": "ten"}, "expected: number of clients, 1 to 4000"),
    ],
)
def test_a_wrong_parameter_stops_the_notebook_before_there_is_a_run(
    project: Path, parameters: dict[str, object], says: str
) -> None:
    done = papermill(project, **parameters)
    assert done.returncode != 0
    assert says in done.stderr
    assert list_runs(project / "runs") == []
