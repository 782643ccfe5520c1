"""The phase notebooks as a machine runs them, each in a kernel of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from headless import papermill
from project_copy import copy_project

from perfkit.campaign import archive, phases
from perfkit.errors import RunError
from perfkit.fleet.local.provider import LocalProvider
from perfkit.notebook import comparison
from perfkit.notebook import parameters as notebook
from perfkit.runs import folder, journal
from perfkit.runs.folder import Run
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run, read_truth

ONE_MEGABYTE = 1_000_000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


def run_notebook(project: Path, notebook_name: str, /, **parameters: object) -> str:
    """What it printed and showed; it must have run to its end."""
    done = papermill(project, notebook_name, **parameters)
    assert done.returncode == 0, done.stderr[-2000:]
    executed = project / "notebooks" / f"out-{notebook_name}.ipynb"
    assert executed.stat().st_size < ONE_MEGABYTE
    outputs = [o for c in nbformat.read(executed, 4).cells for o in c.get("outputs", [])]
    return done.stdout + "".join(str(output.get("data", "")) for output in outputs)


def test_the_sample_is_explored_from_the_first_notebook_to_the_report(
    project: Path, tmp_path: Path
) -> None:
    """And it is so after it was handed on: packed, gone, and opened from the archive."""
    said = run_notebook(project, "00_start", clients=4)
    assert "4 clients and 1 server at local" in said
    run = folder.open_run(project / "runs", "sample")
    packed = archive.export_run(run, tmp_path / "sample.tar.xz")
    shutil.rmtree(run.root)
    assert archive.import_run(packed.path, project / "runs") == run
    run_notebook(project, "05_segments", run="sample")
    (run.report_dir / "index.html").unlink(missing_ok=True)
    said = run_notebook(project, "06_report", run="sample")
    assert "1 of 20 clients failed: client-007" in said
    assert (run.report_dir / "index.html").is_file()
    windows = json.loads(run.segments_path.read_text())["segments"]
    for window in windows:
        truth = read_truth(run)["slots"][window["slot"]]["steady_s"]
        assert window["steady_s"] == pytest.approx(truth, abs=0.05)


def test_a_campaigns_windows_are_shown_and_it_is_held_against_a_baseline(project: Path) -> None:
    runs = project / "runs"
    for name, seed in (("before", 1), ("after", 2)):
        make_campaign(
            runs / f"2026112{seed}T122000Z-{name}-abc123",
            name=name, seed=seed, clients=(2,), repetitions=3, void=(), duration_s=9,
        )  # fmt: skip
    comparison.kept("before", "v1", runs_dir=str(runs))
    said = run_notebook(project, "05_segments", run="after")
    assert "block 1: 2 clients, base" in said
    assert "image/png" in said
    said = run_notebook(project, "07_compare", run="after", against="before", baseline="v1")
    assert "-after-abc123 against v1: " in said
    assert "Not asked: set `save_as`" in said
    assert "Nothing to draw" in said


@pytest.mark.root
@pytest.mark.slow
def test_hosts_live_from_one_notebook_to_the_next_until_their_logs_are_home(project: Path) -> None:
    said = run_notebook(project, "01_launch", clients=2, duration_s=2, name="by-phases")
    (run,) = folder.list_runs(project / "runs")
    try:
        assert "end by themselves at" in said
        assert names_of_hosts(run) == ["client-001", "client-002", "server"]
        run_notebook(project, "02_configure")
        assert "02-tunnel-tcp" in run_notebook(project, "03_measure")
        run_notebook(project, "04_collect", keep_fleet="yes")
        assert len(names_of_hosts(run)) == 3
        assert "3 released" in run_notebook(project, "04_collect", keep_fleet="no")
        assert names_of_hosts(run) == []
    finally:
        LocalProvider().release(run.id)
    tests = phases.report(run).tables["tests"].to_frame()
    assert list(tests["clients_seen"]) == [2, 2]
    done = [e.fields["phase"] for e in events_of(run) if e.kind == "phase-done"]
    assert done == ["launch", "configure", "measure", "collect", "collect", "release"]


def names_of_hosts(run: Run) -> list[str]:
    return sorted(host.name for host in LocalProvider().hosts(run.id))


def events_of(run: Run) -> tuple[journal.Event, ...]:
    return tuple(journal.read(run.journal_path).events)


def test_a_run_that_another_notebook_is_at_work_on_is_refused_with_its_name_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", clients=1)
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/03_measure.ipynb")
    with (
        run.locked(),
        pytest.raises(RunError, match=r"03_measure\.ipynb.*Kernel > Shut Down Kernel"),
        run.locked(),
    ):
        raise AssertionError("two have it")


def test_the_sample_is_made_once_and_is_never_the_latest_of_several(tmp_path: Path) -> None:
    here = {"runs_dir": str(tmp_path)}
    sample = notebook.sample(make_run, clients=2, **here)
    marked = sample.root / "mark"
    marked.touch()
    assert notebook.sample(make_run, clients=3, **here) == sample
    assert marked.exists()
    assert phases.find_run(**here) == sample
    later = make_run(tmp_path / "20200101T000000Z-x", clients=1)
    assert phases.find_run(**here) == later
    assert phases.find_run("sample", **here) == sample
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_sample_has_no_hosts_to_attach_to_and_says_so(tmp_path: Path) -> None:
    notebook.sample(make_run, clients=2, runs_dir=str(tmp_path))
    with pytest.raises(RunError, match="holds files only, no key to any host: it is a sample"):
        phases.attach("sample", runs_dir=str(tmp_path))
