"""A host that its provider took back counts no more, from the test it was noticed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.analysis.outcomes import outcomes
from perfkit.logs.reader import read_run
from perfkit.runs.folder import Run, write_json
from perfkit.testing.runs import make_run


def noticed(run: Run, host: str, seconds_from_t0: float) -> None:
    t0_utc_s = run.load_json(run.timetable_path)["t0_utc_s"]
    row = {"host": host, "noticed_utc_s": t0_utc_s + seconds_from_t0, "reason": "spot: marked"}
    run.raw_dir.chmod(0o700)
    run.interruptions_path.parent.chmod(0o700)
    write_json(run.interruptions_path, [row])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", clients=3, seed=5)


def test_without_a_notice_everybody_counts(run: Run) -> None:
    assert read_run(run).interrupted == {}
    assert outcomes(read_run(run))["ok"].all()


def test_a_notice_in_the_second_test_leaves_the_first_as_it_is(run: Run) -> None:
    first, second = read_run(run).slots
    noticed(run, "client-002", second.start_s + 4)
    found = outcomes(read_run(run)).set_index(["slot", "host"])
    assert found.loc[(first.name, "client-002"), "ok"]
    row = found.loc[(second.name, "client-002")]
    assert not row["ok"]
    assert row["reason"] == "taken back, noticed 4.0 s after its start: spot: marked"
    assert found["ok"].sum() == 5


def test_a_notice_before_a_test_voids_all_of_it_and_one_after_it_nothing(run: Run) -> None:
    first, second = read_run(run).slots
    noticed(run, "client-001", first.start_s - 1)
    found = outcomes(read_run(run)).set_index(["slot", "host"])
    for slot in (first, second):
        assert "before it began" in found.loc[(slot.name, "client-001"), "reason"]
    noticed(run, "client-001", second.start_s + second.duration_s)
    assert outcomes(read_run(run))["ok"].all()
