"""`latest` is the newest run that has what a phase needs; what was passed over is said, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfkit.campaign import phases
from perfkit.cli.app import main
from perfkit.errors import RunError
from perfkit.notebook.fields import check
from perfkit.runs import folder as runs
from perfkit.runs import latest
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal
from perfkit.runs.latest import NEEDS, find_lack, open_run
from perfkit.testing.runs import make_run

HOSTS = {"token": "t", "names": ["server", "client-001"]}
LAUNCHED = [("launch-intent", HOSTS), ("phase-done", {"phase": "launch", "elapsed_s": 1.0})]
CONFIGURED = [*LAUNCHED, ("phase-done", {"phase": "configure", "elapsed_s": 1.0})]
MEASURED = [
    *CONFIGURED,
    ("armed", {"t0_utc_s": 0.0}),
    ("phase-done", {"phase": "measure", "elapsed_s": 1.0}),
]
COLLECTED = [*MEASURED, ("phase-done", {"phase": "collect", "elapsed_s": 1.0})]
RELEASED = ("released", {"leaked": [], "count": 2})


def a_run(
    folder: Path, name: str, events: list[tuple[str, dict[str, object]]], *, life_min: float = 60
) -> Run:
    """A run that has come so far; each is newer than the one before."""
    run = runs.create(folder, name, {"clients": 1, "provider": "local", "expires_min": life_min})
    run.key_path.parent.mkdir(exist_ok=True)
    run.key_path.touch()
    log = Journal(run.journal_path)
    for kind, fields in events:
        log.append(kind, **fields)
    log.close()
    if events[-1] == COLLECTED[-1] or COLLECTED[-1] in events:
        run.host_raw_dir("server").mkdir(parents=True)
        (run.host_raw_dir("server") / "01-a.server.log").write_text("x")
    return run


def taken(folder: Path, phase: str) -> str:
    return str(open_run(folder, "latest", phase=phase).run.manifest()["name"])


def test_each_phase_takes_the_newest_run_that_has_what_it_needs(tmp_path: Path) -> None:
    done = a_run(tmp_path, "done", [*COLLECTED, RELEASED])
    done.segments_path.write_text("{}")
    a_run(tmp_path, "collected", [*COLLECTED, RELEASED])
    a_run(tmp_path, "measured", MEASURED)
    a_run(tmp_path, "configured", CONFIGURED)
    a_run(tmp_path, "launched", LAUNCHED)
    a_run(tmp_path, "released", [*LAUNCHED, RELEASED])
    assert {phase: taken(tmp_path, phase) for phase in NEEDS} == {
        "launch": "released",
        "configure": "launched",
        "measure": "configured",
        "collect": "measured",
        "release": "launched",
        "segment": "collected",
        "report": "done",
    }
    assert taken(tmp_path, "") == "released"


def test_what_was_passed_over_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    a_run(tmp_path, "good", CONFIGURED)
    new = a_run(tmp_path, "new", LAUNCHED)
    gone = a_run(tmp_path, "gone", [*CONFIGURED, RELEASED])
    found = open_run(tmp_path, "latest", phase="measure")
    assert list(found.passed_over.items()) == [
        (gone.id, "its hosts were released"),
        (new.id, "it is not configured"),
    ]
    assert str(found).endswith(
        f"skipped: {gone.id} (its hosts were released), {new.id} (it is not configured)"
    )
    assert open_run(tmp_path, "gone", phase="measure").run == gone  # who is named is taken


def test_a_run_whose_hosts_have_expired_or_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    a_run(tmp_path, "good", LAUNCHED)
    assert find_lack(a_run(tmp_path, "past", LAUNCHED, life_min=0), "configure").endswith("expired")
    damaged = a_run(tmp_path, "damaged", LAUNCHED)
    damaged.journal_path.write_bytes(b"x" + damaged.journal_path.read_bytes())
    assert "cannot be read (JournalError)" in find_lack(damaged, "configure")
    sample = make_run(tmp_path / "99990101T000000Z-sample", clients=1)
    assert find_lack(sample, "configure") == "it has no keys to its hosts"
    assert find_lack(sample, "segment") == ""
    assert taken(tmp_path, "configure") == "good"


def test_logs_that_are_only_in_part_at_home_are_not_what_latest_shows(tmp_path: Path) -> None:
    part = a_run(tmp_path, "part", [*COLLECTED])
    log = Journal(part.journal_path)
    log.append("phase-started", phase="collect")
    log.close()
    assert find_lack(part, "segment") == ""  # it was collected once
    half = a_run(tmp_path, "half", MEASURED)
    half.host_raw_dir("server").mkdir(parents=True)
    (half.host_raw_dir("server") / "01-a.server.log").write_text("x")
    assert find_lack(half, "segment") == "its logs were not all collected"
    clocks = a_run(tmp_path, "clocks", MEASURED)
    clocks.host_raw_dir("controller").mkdir(parents=True)
    (clocks.host_raw_dir("controller") / "clocks.json").write_text("{}")
    assert find_lack(clocks, "segment") == "no logs were collected"


def test_where_no_run_will_do_the_error_says_what_each_lacks(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there are no runs yet"):
        open_run(tmp_path, "latest", phase="segment")
    made = [a_run(tmp_path, f"run-{n}", LAUNCHED) for n in range(latest.SHOWN + 2)]
    with pytest.raises(RunError) as refused:
        open_run(tmp_path, "latest", phase="segment")
    assert "no run has collected logs: " in str(refused.value)
    assert f"{made[-1].id} (no logs were collected)" in str(refused.value)
    assert str(refused.value).endswith("and 2 more")
    with pytest.raises(RunError, match="no run has configured hosts"):
        phases.attach(runs_dir=str(tmp_path), phase="measure")


def test_a_report_is_made_of_logs_alone_where_no_run_has_windows(tmp_path: Path) -> None:
    a_run(tmp_path, "only", [*COLLECTED, RELEASED])
    assert taken(tmp_path, "report") == "only"


def test_the_shell_and_the_form_say_which_run_was_taken_and_which_was_not(tmp_path: Path) -> None:
    good = make_run(tmp_path / "20200101T000000Z-good", clients=2)
    good.segments_path.unlink(missing_ok=True)
    new = a_run(tmp_path, "new", LAUNCHED)
    said = f"run {good.id} is the latest usable one; skipped: {new.id} (no logs were collected)"
    done = CliRunner().invoke(main, ["segment", "--runs-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert said in done.output
    verdict = check({"run": "latest", "runs_dir": str(tmp_path)}, phase="segment")
    assert good.id in verdict.summary[0]
    assert verdict.summary[1] == f"{said}."


def test_every_notebook_asks_for_a_run_that_will_do_for_its_phase() -> None:
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("0[2-6]_*.ipynb")):
        source = "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        asked = source.count('phase="')
        phase = {"05_segments": "segment", "06_report": "report"}.get(path.stem, path.stem[3:])
        assert asked == source.count(f'phase="{phase}"') >= 1, path.name
        assert phase in NEEDS
