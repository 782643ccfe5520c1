"""What the end of a run says: enough clients did their tests, or an error that tells which lacked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from perfkit.campaign import phases
from perfkit.campaign.session import Session
from perfkit.errors import ReleaseError, StageError
from perfkit.runs.folder import Run
from perfkit.settings.parameters import Parameters
from perfkit.testing.runs import Failure, make_run

TWO: Mapping[str, Failure] = {"client-001": "refused", "client-002": "quiet"}


def session_of(run: Run, parameters: Parameters, leaked: tuple[str, ...] = ()) -> SimpleNamespace:
    """As much of a session as the end of a run looks at."""
    return SimpleNamespace(
        run=run,
        settings=SimpleNamespace(parameters=parameters),
        fleet=SimpleNamespace(leaked=leaked),
    )


def conclude(
    run_folder: Path,
    failed: Mapping[str, Failure],
    *,
    leaked: tuple[str, ...] = (),
    **policy: object,
) -> None:
    """The end of a run of four clients with one test."""
    run = make_run(run_folder, clients=4, tests=["direct-tcp"], failed=failed)
    parameters = Parameters.model_validate({"clients": 4, **policy})
    session = session_of(run, parameters, leaked)
    phases.conclude(cast("Session", session), phases.report(run))


def test_by_default_half_of_the_clients_are_enough(tmp_path: Path) -> None:
    conclude(tmp_path / "run", TWO)


@pytest.mark.parametrize(
    ("policy", "needed"),
    [({"on_shortfall": "fail"}, 4), ({"quorum": 0.75}, 3)],
)
def test_too_few_clients_that_did_a_test_are_an_error_of_one_line_after_the_report(
    tmp_path: Path, policy: dict[str, object], needed: int
) -> None:
    with pytest.raises(StageError) as caught:
        conclude(tmp_path / "run", TWO, **policy)
    page = tmp_path / "run" / "report" / "index.html"
    assert page.exists()
    rule = policy.get("on_shortfall", "quorum")
    assert str(caught.value) == (
        f"tests: 01-direct-tcp was done by 2 of 4 clients, {needed} needed (on_shortfall = {rule}); "
        f"why stands in {page}"
    )
    assert {r.host for r in caught.value.results if not r.ok} == set(TWO)


def test_go_asks_for_one_client_in_each_test(tmp_path: Path) -> None:
    most: dict[str, Failure] = dict.fromkeys(("client-001", "client-002", "client-003"), "quiet")
    conclude(tmp_path / "run", most, on_shortfall="go")
    with pytest.raises(StageError, match="1 of 4 clients, 2 needed"):
        conclude(tmp_path / "again", most, on_shortfall="quorum")


def test_a_test_whose_logs_no_reader_knows_is_judged_by_its_exit_status(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", clients=4, tests=["ping"], failed=dict.fromkeys(TWO, "quiet"))
    for log in run.raw_dir.glob("*/01-ping*.log"):
        log.unlink() if log.parent.name == "server" else log.write_text("64 bytes from 198.18.0.1")
    parameters = Parameters.model_validate({"clients": 4, "on_shortfall": "fail"})
    session = session_of(run, parameters)
    report = phases.report(run)
    assert list(report.summary.tests["clients_failed"]) == [0]
    assert list(report.summary.tests["clients_unread"]) == [4]
    phases.conclude(cast("Session", session), report)


def test_the_report_says_of_such_a_test_that_its_logs_are_not_understood_not_that_it_failed(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=4, tests=["ping"])
    for log in run.raw_dir.glob("*/01-ping*.log"):
        log.unlink() if log.parent.name == "server" else log.write_text("64 bytes from 198.18.0.1")
    event = run.host_raw_dir("client-003") / "01-ping.events.json"
    event.write_text(json.dumps({**json.loads(event.read_text()), "exit_status": 2}))
    report = phases.report(run)
    said = " ".join(report.warnings)
    assert "1 of 4 clients failed: client-003 (exit status 2" in said
    assert "no reader understands any log of this test: the 3 of 4 clients" in said
    row = report.summary.tests.iloc[0]
    assert (row["clients_failed"], row["clients_unread"]) == (1, 3)
    assert "Not understood" in report.tables["tests"].to_text()
    assert str(report.tables["failures"].rows).count("no log of the test is understood") == 3
    assert report.tables["failures"].caption.startswith(
        "1 failure. In 3 cases the test was done, but no reader understands its logs."
    )
    assert report.tables["hosts"].caption.startswith("5 hosts; 1 failed in at least one test.")
    # The end of the run says the same: three did it.
    parameters = Parameters.model_validate({"clients": 4, "on_shortfall": "fail"})
    session = session_of(run, parameters)
    with pytest.raises(StageError, match="01-ping was done by 3 of 4 clients"):
        phases.conclude(cast("Session", session), report)


def test_a_test_without_figures_beside_one_that_has_them_says_nothing_of_nan(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", clients=2, tests=["ping", "direct-tcp"])
    for log in run.raw_dir.glob("*/01-ping*.log"):
        log.unlink() if log.parent.name == "server" else log.write_text("64 bytes from 198.18.0.1")
    report = phases.report(run)
    assert report.summary.tests["clients_failed"].tolist() == [0, 0]
    assert [line for line in report.warnings if "nan" in line] == []
    tables = (run.report_dir / f"{name}.md" for name in ("tests", "windows", "clients", "server"))
    assert [path.name for path in tables if "nan" in path.read_text()] == []


def test_a_silent_receiver_is_a_failure_where_a_log_of_the_test_is_understood(
    tmp_path: Path,
) -> None:
    run = make_run(
        tmp_path / "run", clients=2, tests=["direct-tcp"], failed={"client-001": "quiet"}
    )
    report = phases.report(run)
    assert list(report.summary.tests["clients_failed"]) == [1]
    assert list(report.summary.tests["clients_unread"]) == [0]
    assert "Not understood" not in report.tables["tests"].to_text()


def test_hosts_that_could_not_be_released_are_an_error_after_the_report(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"perfkit release .* asks again: still there: lab-1"):
        conclude(tmp_path / "run", {}, leaked=("lab-1: no answer",))
    assert (tmp_path / "run" / "report" / "index.html").exists()
