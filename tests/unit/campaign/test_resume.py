"""Which run the same command takes up, which it leaves, and that it says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memory_provider import MemoryProvider
from small_project import DIRECT, make_small_project

from perfkit.campaign import missing_hosts, phases, resume, shortfall
from perfkit.campaign import session as sessions
from perfkit.campaign.session import Session
from perfkit.errors import RunError, StageError
from perfkit.fleet.launch import batch_token
from perfkit.model import HostResult, HostState, Role, StageResult
from perfkit.runs import journal, progress
from perfkit.runs.folder import Run, list_runs
from perfkit.settings import parameters as settings
from perfkit.testing.runs import make_run


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    memory = MemoryProvider()
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: memory)
    return memory


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_small_project(tmp_path, monkeypatch, conf=DIRECT)


def begin(**parameters: object) -> Session:
    """As the command does, in a process that has no other session open."""
    return resume.open_session(settings.load({"clients": 2, "name": "mine", **parameters}))


def interrupted(*events: tuple[str, dict[str, object]], **parameters: object) -> Run:
    """A run whose process died after these events; its launch had begun."""
    with begin(**parameters) as session:
        session.journal.append("launch-intent", token="t", names=["server"])
        for kind, fields in events:
            session.journal.append(kind, **fields)
        return session.run


def done(phase: str) -> tuple[str, dict[str, object]]:
    return "phase-done", {"phase": phase, "elapsed_s": 1.0}


COLLECTED = [done(phase) for phase in ("launch", "configure", "measure", "collect")]
RELEASED = ("released", {"leaked": [], "count": 3})


def test_the_same_command_takes_up_the_run_it_had_begun_and_says_what_was_left() -> None:
    run = interrupted(done("launch"))
    with begin() as session:
        assert session.run == run
        first, *_ = str(session).splitlines()[1:]
        assert first.startswith(f"taken up: {run.id}, interrupted before configure was done")
    kinds = [event.kind for event in journal.read(run.journal_path).events]
    assert kinds[-1] == "taken-up"


def test_a_run_of_the_default_name_is_not_taken_up_but_named() -> None:
    run = interrupted(done("launch"), name="campaign")
    with begin(name="campaign") as session:
        assert session.run != run
        assert f"not taken up: {run.id}" in str(session)
        assert f"run={run.id}" in str(session)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"clients": 3}, "clients = 2 then"),
        ({"clients": "2,3"}, "clients = 2 then"),
        ({"repetitions": 2}, "repetitions = 0 then"),
        ({"precision": "5%"}, "precision was empty then"),
        ({"budget": "60min"}, "budget was empty then"),
        ({"seed": 7}, "seed = 0 then"),
        ({"starter": "cron"}, "starter = epoch then"),
        ({"duration_s": 4}, "duration_s = 0.0 then"),
    ],
)
def test_a_run_with_other_settings_is_left_alone_and_the_difference_named(
    changed: dict[str, object], says: str
) -> None:
    run = interrupted(done("launch"))
    with begin(**changed) as session:
        assert session.run != run
        assert says in str(session)


def test_a_changed_file_in_config_makes_it_another_run(project: Path) -> None:
    run = interrupted(done("launch"))
    (project / "config" / "tests.conf").write_text("[direct-tcp]\nduration = 20\n")
    with begin() as session:
        assert session.run != run
        assert "tests.conf has changed" in str(session)


def test_threads_and_places_may_differ(project: Path) -> None:
    run = interrupted(done("launch"))
    with begin(threads=3, runs_dir=str(project / "runs")) as session:
        assert session.run == run


@pytest.mark.parametrize(
    ("events", "with_page", "left"),
    [
        ([], False, "launch"),
        ([done("launch")], False, "configure"),
        ([done("launch"), done("configure"), ("armed", {"t0_utc_s": 1.0})], False, "measure"),
        ([done("launch"), done("configure"), done("measure")], False, "collect"),
        (COLLECTED, False, "report"),
        ([*COLLECTED, RELEASED], False, "report"),
        (COLLECTED, True, "release"),
        ([*COLLECTED, RELEASED], True, ""),
        ([done("launch"), RELEASED], False, ""),
        ([done("launch"), ("phase-failed", {"phase": "configure", "reason": "StageError: x"})], False, ""),
        (
            [done("launch"), ("phase-failed", {"phase": "configure", "reason": "JournalError: full"})],
            False,
            "configure",
        ),
    ],
)  # fmt: skip
def test_what_is_left_of_a_run(
    events: list[tuple[str, dict[str, object]]], with_page: bool, left: str
) -> None:
    run = interrupted(*events)
    if with_page:
        run.report_dir.mkdir()
        (run.report_dir / "index.html").touch()
    assert resume.next_phase(run, progress.read(run)) == left


def test_a_finished_run_is_followed_by_a_new_one_without_a_word() -> None:
    run = interrupted(*COLLECTED, RELEASED)
    run.report_dir.mkdir()
    (run.report_dir / "index.html").touch()
    with begin() as session:
        assert session.run != run
        assert session.remarks == ()


def test_a_run_whose_hosts_have_expired_is_not_gone_on_with_unless_its_logs_are_here() -> None:
    later = datetime.now(UTC) + timedelta(minutes=121)
    halfway, collected = interrupted(done("launch")), interrupted(*COLLECTED, name="other")
    assert resume.next_phase(halfway, progress.read(halfway), now=later) == ""
    assert resume.next_phase(collected, progress.read(collected), now=later) == "report"


def test_a_damaged_journal_is_said_and_the_run_left_as_it_is() -> None:
    run = interrupted(done("launch"))
    damaged = run.journal_path.read_bytes().replace(b"launch-intent", b"launch-intend")
    run.journal_path.write_bytes(damaged)
    with begin() as session:
        assert session.run != run
        assert "damaged record" in str(session)
    assert run.journal_path.read_bytes() == damaged


def test_a_run_that_stopped_by_its_own_error_is_named_with_its_hosts() -> None:
    run = interrupted(("phase-failed", {"phase": "measure", "reason": "StageError: too few"}))
    with begin() as session:
        assert f"not taken up: {run.id} stopped in measure: StageError: too few" in str(session)


def test_while_another_process_has_the_run_open_the_second_is_told_who() -> None:
    run = interrupted(done("launch"))
    with run.locked(), pytest.raises(RunError, match="open in another process"):
        begin()
    assert len(list_runs(run.root.parent)) == 1


# -- hosts -----------------------------------------------------------------------------------------


def names_there(provider: MemoryProvider) -> list[str]:
    return sorted(host.name for host in provider.there)


def launched(session: Session) -> dict[str, HostState]:
    # private: hosts in memory have no SSH that could answer
    session.fleet._probe = lambda _host, _timeout_s: None
    missing_hosts.launch_missing(session)
    session.fleet.wait()
    return {record.name: record.state for record in session.inventory.records()}


ALL = {"server": HostState.REACHABLE} | {f"client-00{n}": HostState.REACHABLE for n in (1, 2)}


def test_hosts_asked_for_by_a_process_that_died_are_asked_for_with_the_same_token(
    provider: MemoryProvider,
) -> None:
    names = ["server", "client-001", "client-002"]
    with begin() as session:
        for name in names:
            session.inventory.add(name, Role.SERVER if name == "server" else Role.CLIENT)
        token = batch_token(session.run.id, names)
        session.journal.append("launch-intent", token=token, names=names)
        key = session.host_key("client-001").public_openssh
    with begin() as session:
        assert launched(session) == ALL
        assert session.inventory.get_record("client-001").host.host_key == key  # type: ignore[union-attr]
        tokens = [
            event.fields["token"]
            for event in journal.read(session.run.journal_path).events
            if event.kind == "launch-intent"
        ]
    assert tokens == [token, token]
    assert names_there(provider) == sorted(names)


def test_hosts_that_are_gone_before_the_tests_are_made_anew_and_after_them_are_not(
    provider: MemoryProvider,
) -> None:
    with begin() as session:
        assert launched(session) == ALL
        run = session.run
    provider.terminate(run.id, ["client-001"])
    with begin() as session:
        assert session.inventory.get_record("client-001").state is HostState.FAILED
        assert launched(session) == ALL
    provider.terminate(run.id, ["client-002"])
    with sessions.attach(run.root.parent, run.id) as session:
        session.journal.append(progress.ARMED, t0_utc_s=1.0)
        assert launched(session)["client-002"] is HostState.FAILED


def test_hosts_made_but_not_reached_are_waited_for(provider: MemoryProvider) -> None:
    with begin() as session:
        launched(session)
        run = session.run
    text = run.journal_path.read_text().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(text) if '"reachable"' in line)
    run.journal_path.write_text("".join(text[:cut]))
    with begin() as session:
        assert HostState.RUNNING in session.inventory.counts()
        assert not missing_hosts.is_complete(session)
        assert launched(session) == ALL
    assert len(provider.there) == 3


def test_when_the_logs_are_here_missing_hosts_are_no_shortfall(provider: MemoryProvider) -> None:
    with begin() as session:
        launched(session)
        run = session.run
    provider.release(run.id)
    with begin() as session, pytest.raises(StageError, match="the server failed"):
        shortfall.judge(session, StageResult(stage="launch"))
    with sessions.attach(run.root.parent, run.id) as session:
        for kind, fields in COLLECTED:
            session.journal.append(kind, **fields)
        shortfall.judge(session, StageResult(stage="launch"))


def test_a_server_that_was_never_reached_ends_the_run_with_its_own_reason(
    provider: MemoryProvider,
) -> None:
    with begin() as session:
        launched(session)
        session.inventory.move("server", HostState.FAILED, reason="UnreachableError: no answer")
        lost = [HostResult(host=f"client-00{n}", ok=False, reason="no ping") for n in (1, 2)]
        with pytest.raises(
            StageError, match="configure: the server failed: UnreachableError: no a"
        ):
            shortfall.judge(session, StageResult(stage="configure", results=lost))


@pytest.mark.parametrize("lost", ["server", "client-001"])
def test_hosts_lost_in_their_tests_are_no_shortfall_of_a_run_that_is_taken_up(
    provider: MemoryProvider, lost: str
) -> None:
    with begin() as session:
        launched(session)
        run = session.run
        for kind, fields in [done("launch"), done("configure"), ("armed", {"t0_utc_s": 1.0})]:
            session.journal.append(kind, **fields)
        for record in session.inventory.records():
            session.inventory.move(record.name, HostState.CONFIGURED)
        session.inventory.move(lost, HostState.FAILED, reason="01-a ended before its slot was over")
        session.inventory.move("client-002", HostState.FAILED, reason="01-a was not started")
    with sessions.attach(run.root.parent, run.id) as session:  # they have the logs still
        assert len(phases.launch(session).failed) == 2
        assert len(phases.configure(session).results) == 3
    assert len(provider.there) == 3


def test_phases_that_were_done_are_told_and_not_done_again(provider: MemoryProvider) -> None:
    with begin() as session:
        launched(session)
        run = session.run
        for kind, fields in COLLECTED:
            session.journal.append(kind, **fields)
    provider.release(run.id)
    with begin() as session:
        before = run.journal_path.read_bytes()
        assert len(phases.launch(session).results) == 3
        assert len(phases.configure(session).results) == 3
        assert len(phases.measure(session).results) == 3
        assert run.journal_path.read_bytes() == before
        assert provider.there == []


def test_wherever_the_journal_of_a_launch_is_cut_each_host_is_there_once_in_the_end(
    provider: MemoryProvider,
) -> None:
    with begin() as session:
        launched(session)
        run = session.run
    whole = run.journal_path.read_bytes()
    there, made = list(provider.there), dict(provider.made)
    for length in range(0, len(whole) + 1, 53):
        run.journal_path.write_bytes(whole[:length])
        provider.there, provider.made = list(there), dict(made)
        with begin() as session:
            assert session.run == run
            assert launched(session) == ALL
        assert names_there(provider) == sorted(ALL)


STARTED = ("phase-started", {"phase": "measure"})
STOPPED = ("phase-failed", {"phase": "measure", "elapsed_s": 1.0, "reason": "KeyboardInterrupt: "})


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], "launch was not done"),
        ([*COLLECTED[:2], STARTED], "measure is under way, or its process died"),
        ([*COLLECTED[:2], STARTED, STOPPED], "measure was interrupted"),
        (COLLECTED[:3], "collect was not done"),
        (COLLECTED, ""),
    ],
)
def test_the_phase_that_leaves_a_run_without_its_logs_is_named(
    events: list[tuple[str, dict[str, object]]], says: str
) -> None:
    assert progress.unfinished(progress.read(interrupted(*events))) == says


def test_of_a_folder_without_a_journal_nothing_is_claimed(tmp_path: Path) -> None:
    assert progress.unfinished(progress.read(Run(tmp_path / "copied"))) == ""


def test_the_report_of_an_unfinished_run_begins_with_that() -> None:
    run = interrupted(*COLLECTED[:2], STARTED, STOPPED)
    synthetic = make_run(run.root / "elsewhere", clients=2)
    synthetic.journal_path.write_bytes(run.journal_path.read_bytes())
    warnings = phases.report(synthetic, echo=False).warnings
    assert warnings[0] == "run: not finished, logs may be missing: measure was interrupted"


def test_a_run_whose_hosts_were_released_before_its_tests_is_not_measured() -> None:
    run = interrupted(*COLLECTED[:2], RELEASED)
    with (
        sessions.attach(run.root.parent, run.id) as session,
        pytest.raises(RunError, match=r"hosts were released .* start a new run"),
    ):
        phases.measure(session)


def test_a_quorum_is_not_one_client_more_by_rounding() -> None:
    with begin(clients=25, quorum=0.56) as session:  # 0.56 * 25 = 14.000000000000002
        for number in range(14):
            session.inventory.add(f"client-{number:03d}", Role.CLIENT)
        shortfall.judge(session, StageResult(stage="launch"))
        session.inventory.move("client-000", HostState.FAILED, reason="gone")
        with pytest.raises(StageError, match="13 of 25 clients are left, 14 needed"):
            shortfall.judge(session, StageResult(stage="launch"))


def test_the_same_campaign_is_taken_up_however_its_levels_are_written() -> None:
    campaign = {"precision": "5%", "max_repetitions": 8, "budget": "2000min"}
    run = interrupted(clients="1..3", expires_min=2000, **campaign)
    with begin(clients=[1, 2, 3], expires_min=2000, **{**campaign, "precision": 0.05}) as session:
        assert session.run == run
    with begin(clients="1,2", expires_min=2000, **campaign) as session:
        assert session.run != run
        assert "clients = 1,2,3 then" in session.remarks[0]


def test_a_variant_that_has_changed_since_is_another_campaign(project: Path) -> None:
    (project / "resources" / "bin").mkdir()
    conf = project / "config" / "variants.conf"
    conf.write_text("[longer]\ntest.direct-tcp.duration = 20\n")
    run = interrupted(variants="base,longer")
    conf.write_text("[other]\ncontrol = yes\n[longer]\ntest.direct-tcp.duration = 20\n")
    with begin(variants="base,longer") as session:
        assert session.run == run
    conf.write_text("[longer]\ntest.direct-tcp.duration = 25\n")
    with begin(variants="base,longer") as session:
        assert session.run != run
        assert "variants.conf, or a file that it names, has changed" in session.remarks[0]


def test_what_is_asked_for_beside_a_run_and_not_used_is_said() -> None:
    run = interrupted(clients="1,2", repetitions=4)
    with phases.start(run="mine", clients="1,2", precision="5%", seed=9) as session:
        assert session.run == run
        (remark,) = session.remarks
        assert remark.endswith(
            "goes on as it was made: precision = 0.05 ( then), seed = 9 (0 then)"
        )
    with phases.start(run="mine", clients=10, repetitions=4) as session:  # a default and the same
        assert session.remarks == ()
