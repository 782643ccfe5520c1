"""What could not be asked is leaked: it is never taken for released, and it is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from memory_provider import AskingMemoryProvider, MemoryProvider

from perfkit.campaign import missing_hosts, phases, status_reap
from perfkit.campaign import session as sessions
from perfkit.campaign.session import Session
from perfkit.cli.app import main
from perfkit.errors import NotSetUpError, ProviderError, RunError
from perfkit.fleet.launch import Fleet
from perfkit.fleet.provider import ReleaseReport
from perfkit.model import HostState
from perfkit.runs import folder as runs
from perfkit.runs import journal
from perfkit.runs.folder import Run
from perfkit.settings import parameters

REASON = "no answer in time"
SILENT = dict.fromkeys(("server", "client-001"), REASON)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> AskingMemoryProvider:
    """The only provider there is, called `static`."""
    made = AskingMemoryProvider()
    made.name = "static"
    for module in (sessions, status_reap):
        monkeypatch.setattr(module, "get_provider", lambda _name, **_options: made)
    monkeypatch.setattr(status_reap, "provider_names", lambda: ["static"])
    return made


@pytest.fixture
def run(lab: AskingMemoryProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of two hosts that another process launched."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "tests.conf").write_text("[direct-tcp]\nduration = 10\n")
    tests = tmp_path / "resources" / "tests"
    tests.mkdir(parents=True)
    (tests.parent / "fabfile.py").touch()
    (tests / "direct-tcp").write_text("#!/bin/sh\n")
    (tests / "direct-tcp").chmod(0o755)
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    # private: probes, which need SSH, are not waited for
    monkeypatch.setattr(Fleet, "wait", lambda fleet: fleet._launch_over.wait())
    with sessions.open_new(parameters.load({"clients": 1, "provider": "static"})) as session:
        # private: hosts in memory have no SSH that could answer
        session.fleet._probe = lambda _host, _timeout_s: None
        missing_hosts.launch_missing(session)
        session.fleet.wait()
    assert len(lab.there) == 2
    return session.run


def attached(run: Run) -> Session:
    return sessions.attach(run.root.parent, run.id)


def released_events(run: Run) -> list[dict[str, object]]:
    events = journal.read(run.journal_path).events
    return [dict(event.fields) for event in events if event.kind == "released"]


def test_hosts_none_of_which_answers_are_leaked_and_asked_again_by_each_further_release(
    lab: AskingMemoryProvider, run: Run
) -> None:
    lab.silent = dict(SILENT)
    for times in (1, 2):
        done = CliRunner().invoke(main, ["release", run.id])
        assert done.exit_code == 1
        assert "STILL THERE: not reached, so not cleaned: lab-server, lab-client-001" in done.output
        assert f"{REASON}; when that is fixed" in done.output
        events = released_events(run)
        assert len(events) == times
        assert all(event["leaked"] and event["count"] == 0 for event in events)
    lab.silent = {}
    done = CliRunner().invoke(main, ["release", run.id])
    assert (done.exit_code, done.output) == (0, "released 2 hosts\n")
    assert lab.there == []


def test_of_a_fleet_that_answers_in_part_only_the_silent_hosts_are_left_for_the_next_release(
    lab: AskingMemoryProvider, run: Run
) -> None:
    lab.silent = {"client-001": REASON}
    with attached(run) as session:
        report = phases.release(session)
        assert len(report.leaked) == 1
        assert report.released == ("server",)
        assert session.inventory.names(HostState.RELEASED) == {"server"}
        assert session.is_up
    lab.silent = {}
    with attached(run) as session:
        assert phases.release(session) == ReleaseReport(released=("client-001",))
        assert not session.is_up


def test_a_host_that_does_not_answer_when_its_run_is_opened_is_not_called_gone(
    lab: AskingMemoryProvider, run: Run
) -> None:
    lab.silent = {"client-001": REASON}
    with attached(run) as session:
        assert session.gone == set()
        assert not session.inventory.names(HostState.FAILED)
    lab.there = [host for host in lab.there if host.name == "server"]
    lab.silent = {}
    with attached(run) as session:
        assert session.gone == {"client-001"}


def test_status_and_reap_name_a_run_whose_hosts_do_not_answer_and_end_it_once_they_do(
    lab: AskingMemoryProvider, run: Run
) -> None:
    lab.silent = dict(SILENT)
    assert f"lab-client-001 could not be asked: {REASON}" in str(status_reap.status())
    assert f"would end {run.id}" in str(status_reap.reap())
    for words in (["reap", "--yes"], ["clean", "--yes"], ["clean", run.id, "--yes"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 1, words
        assert "STILL THERE: " in done.output
    lab.silent = {}
    outcome = status_reap.reap([run.id], yes=True)
    assert outcome.leaked == ()
    assert f"ended 2 hosts of {run.id}" in str(outcome)
    assert released_events(run)[-1]["leaked"] == []
    assert str(status_reap.status()).startswith("no hosts are running")


def test_machines_removed_from_the_file_after_the_launch_are_found_by_the_runs_own_copy(
    lab: AskingMemoryProvider, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = AskingMemoryProvider()
    shorter.name = "static"
    shorter.silent = dict.fromkeys(SILENT, "static.conf no longer names it")
    by_folder = {run.config_dir: lab}
    monkeypatch.setattr(
        status_reap, "get_provider", lambda _name, *, config_dir: by_folder.get(config_dir, shorter)
    )
    outcome = status_reap.reap([run.id], yes=True)
    assert outcome.leaked == ()
    assert lab.there == []


def test_a_file_that_is_gone_altogether_does_not_hide_the_runs_that_were_made_with_it(
    lab: AskingMemoryProvider, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_name: str, *, config_dir: Path) -> AskingMemoryProvider:
        if config_dir != run.config_dir:
            raise NotSetUpError("static.conf: not there")
        return lab

    monkeypatch.setattr(status_reap, "get_provider", find)
    assert f"{run.id}: 2 hosts at static" in str(status_reap.status())
    assert status_reap.reap(yes=True).leaked == ()
    assert lab.there == []


def test_a_silent_machine_that_no_run_is_known_to_have_is_named_and_counts_as_leaked(
    lab: AskingMemoryProvider, tmp_path: Path
) -> None:
    lab.silent = {"old": REASON}
    folder = str(tmp_path / "none")
    assert f"NOT ASKED: lab-old: {REASON}" in str(status_reap.status(runs_dir=folder))
    outcome = status_reap.reap(yes=True, runs_dir=folder)
    assert [line for line in outcome.leaked if "lab-old" in line]
    with pytest.raises(RunError, match="NOT ASKED: lab-old"):
        status_reap.reap(["elsewhere"], yes=True, runs_dir=folder)


class DeniedProvider(MemoryProvider):
    """A cloud that lets nobody look."""

    def hosts(self, run_id: str | None = None):  # type: ignore[no-untyped-def] # raises always
        raise ProviderError(f"DescribeInstances of {run_id}: UnauthorizedOperation")


def test_a_listing_that_is_denied_leaves_unknown_what_is_there_and_that_is_leaked(
    lab: AskingMemoryProvider, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attached(run) as session:
        session.fleet.provider = DeniedProvider()
        report = phases.release(session)
        assert "not known: memory could not list" in report.leaked[0]
        assert "UnauthorizedOperation" in report.leaked[0]
        assert session.inventory.names(HostState.RELEASED) == set()
    assert released_events(run)[-1]["leaked"]
    monkeypatch.setattr(status_reap, "get_provider", lambda _name, **_options: DeniedProvider())
    outcome = status_reap.reap(yes=True, runs_dir=str(run.root.parent))
    assert [line for line in outcome.leaked if "UnauthorizedOperation" in line]
    assert len(lab.there) == 2


def test_what_another_provider_could_not_be_asked_is_no_leak_of_a_run_that_is_not_its_own(
    lab: AskingMemoryProvider, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = {"static": lab, "ec2": DeniedProvider()}
    monkeypatch.setattr(status_reap, "provider_names", lambda: sorted(makers))
    monkeypatch.setattr(status_reap, "get_provider", lambda name, **_options: makers[name])
    outcome = status_reap.reap([run.id], yes=True)
    assert outcome.leaked == ()
    assert "NOT ASKED: provider ec2" in str(outcome)
    assert runs.list_runs(run.root.parent) == [run]
