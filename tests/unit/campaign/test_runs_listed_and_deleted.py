"""`perfkit runs` lists the runs that are there; `perfkit runs delete` deletes those that may be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from memory_provider import MemoryProvider

from perfkit.campaign import baselines, run_deletion, run_list, status_reap
from perfkit.campaign.run_list import RunState, parse_age
from perfkit.cli.app import main
from perfkit.cli.runs import STATES
from perfkit.errors import CampaignError, ConfigError, NotSetUpError, RunError
from perfkit.runs import folder
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal
from perfkit.testing.campaigns import make_campaign
from perfkit.testing.runs import make_run

Events = list[tuple[str, dict[str, object]]]
LAUNCHED: Events = [
    ("launch-intent", {"token": "t", "names": ["server", "client-001"]}),
    ("phase-done", {"phase": "launch", "elapsed_s": 1.0}),
]
COLLECTED: Events = [
    *LAUNCHED,
    *(("phase-done", {"phase": p, "elapsed_s": 1.0}) for p in ("configure", "measure", "collect")),
]
RELEASED: Events = [("released", {"leaked": [], "count": 2})]


def perfkit(*words: str, runs_dir: Path, answer: str = "") -> Result:
    return CliRunner().invoke(main, [*words, "--runs-dir", str(runs_dir)], input=answer)


def a_run(runs_dir: Path, name: str, events: Events, life_min: float = 60.0) -> Run:
    parameters = {"clients": [1], "provider": "memory", "expires_min": life_min, "tests": "all"}
    run = folder.create(runs_dir, name, parameters)
    run.key_path.touch()
    journal = Journal(run.journal_path)
    for kind, fields in events:
        journal.append(kind, **fields)
    journal.close()
    return run


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    memory = MemoryProvider()
    monkeypatch.setattr(status_reap, "provider_names", lambda: ["memory"])
    monkeypatch.setattr(status_reap, "get_provider", lambda _name, **_options: memory)
    return memory


def states(runs_dir: Path) -> dict[str, RunState]:
    return {one.name: one.state for one in run_list.list_runs(runs_dir)}


def test_each_run_has_its_state(tmp_path: Path) -> None:
    a_run(tmp_path, "up", LAUNCHED)
    a_run(tmp_path, "expired", COLLECTED, life_min=-1)
    a_run(tmp_path, "left", [*COLLECTED, ("released", {"leaked": ["server"], "count": 1})])
    a_run(tmp_path, "broken", [*LAUNCHED, *RELEASED])
    a_run(tmp_path, "empty", [])
    a_run(tmp_path, "over", [*COLLECTED, *RELEASED])
    reported = a_run(tmp_path, "reported", [*COLLECTED, *RELEASED])
    reported.report_dir.mkdir()
    (reported.report_dir / "index.html").touch()
    held = a_run(tmp_path, "held", [*COLLECTED, *RELEASED])
    with held.locked():
        found = states(tmp_path)
    assert found == {
        "up": RunState.RUNNING,
        "expired": RunState.LEAKED,
        "left": RunState.LEAKED,
        "broken": RunState.UNFINISHED,
        "empty": RunState.UNFINISHED,
        "over": RunState.RELEASED,
        "reported": RunState.ANALYSED,
        "held": RunState.RUNNING,
    }
    assert set(STATES) == set(RunState)


def test_the_list_has_size_date_clients_and_tests_and_says_why_a_run_is_not_over(
    tmp_path: Path,
) -> None:
    make_run(tmp_path / "20261101T000000Z-a-0", clients=2, duration_s=5)
    a_run(tmp_path, "up", LAUNCHED)
    text = perfkit("runs", runs_dir=tmp_path).output
    assert "20261101T000000Z-a-0" in text
    assert "direct-tcp,tunnel-tcp" in text
    assert "2 runs, " in text
    assert "its hosts were not released" in text
    (first, _) = json.loads(perfkit("runs", "--json", runs_dir=tmp_path).output)
    assert first["size_bytes"] >= sum(
        p.stat().st_size for p in (tmp_path / first["run"]).rglob("*.csv")
    )
    assert first["tests"] == ["direct-tcp", "tunnel-tcp"]
    assert datetime.fromisoformat(first["made_utc"]).tzinfo is not None


def test_a_campaign_is_one_run_with_its_sizes_and_its_blocks_count_to_its_size(
    tmp_path: Path,
) -> None:
    make_campaign(
        tmp_path / "20261101T000000Z-c-0",
        clients=(1, 2),
        repetitions=1,
        void=(),
        is_reduced=False,
        duration_s=5,
    )
    (one,) = run_list.list_runs(tmp_path)
    assert one.clients == "1,2"
    assert one.state is RunState.RELEASED
    assert one.size_bytes > run_list.size_on_disk(one.run.blocks_dir)


def test_filters_by_state_name_and_age(tmp_path: Path) -> None:
    old = a_run(tmp_path, "old", [*COLLECTED, *RELEASED])
    old.update_manifest({"created_utc": (datetime.now(UTC) - timedelta(days=40)).isoformat()})
    a_run(tmp_path, "older", [*COLLECTED, *RELEASED])
    undated = a_run(tmp_path, "undated", LAUNCHED)
    undated.update_manifest({"created_utc": "yesterday"})
    for words, names in (
        (["--older-than", "30d"], {"old"}),
        (["--name", "old*"], {"old", "older"}),
        (["--name", old.id], {"old"}),
        (["--state", "leaked"], {"undated"}),
        (
            ["--state", "released", "--state", "leaked", "--name", "*d*"],
            {"old", "older", "undated"},
        ),
        (["--state", "analysed"], set()),
    ):
        result = perfkit("runs", "--json", *words, runs_dir=tmp_path)
        assert {one["name"] for one in json.loads(result.output)} == names, words
    assert perfkit("runs", "--state", "analysed", runs_dir=tmp_path).output == "no such runs\n"


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1.5d", "0d", "30 d", "٣d"])
def test_what_is_no_age_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="is no age"):
        parse_age(text)
    assert perfkit("runs", "--older-than", text, runs_dir=tmp_path).exit_code == 1


def test_damaged_runs_are_listed_by_what_is_known(tmp_path: Path) -> None:
    run = a_run(tmp_path, "torn", [*COLLECTED, *RELEASED])
    run.manifest_path.write_text("{")
    other = a_run(tmp_path, "cut", COLLECTED)
    data = other.journal_path.read_bytes()
    other.journal_path.write_bytes(b"x" + data[1:])
    found = {one.run.id: one for one in run_list.list_runs(tmp_path)}
    assert found[run.id].made_utc is None
    assert "damaged record" in found[other.id].remark
    assert "not known" in run_list.to_text(found.values())


def test_a_file_with_two_names_counts_once_and_a_link_is_not_followed(tmp_path: Path) -> None:
    big = tmp_path / "elsewhere"
    big.write_bytes(os.urandom(400_000))
    root = tmp_path / "run"
    root.mkdir()
    (root / "one").write_bytes(os.urandom(100_000))
    (root / "two").hardlink_to(root / "one")
    (root / "link").symlink_to(big)
    assert 100_000 <= run_list.size_on_disk(root) < 200_000


def test_a_released_run_is_deleted_when_confirmed_and_its_size_is_said(tmp_path: Path) -> None:
    run = a_run(tmp_path, "over", [*COLLECTED, *RELEASED])
    (run.raw_dir / "log").write_bytes(b"x" * 100_000)
    (run.raw_dir / "log").chmod(0o400)
    run.raw_dir.chmod(0o500)
    assert perfkit("runs", "delete", "over", runs_dir=tmp_path, answer="n\n").exit_code == 1
    assert run.root.is_dir()
    result = perfkit("runs", "delete", "over", runs_dir=tmp_path, answer="y\n")
    assert result.exit_code == 0, result.output
    assert f"deleted {run.id}" in result.output
    assert "KiB freed" in result.output
    assert list(tmp_path.iterdir()) == []


def launched(runs_dir: Path) -> Run:
    return a_run(runs_dir, "one", LAUNCHED)


def leaked(runs_dir: Path) -> Run:
    return a_run(runs_dir, "one", [*COLLECTED, ("released", {"leaked": ["server"], "count": 1})])


def without_journal(runs_dir: Path) -> Run:
    run = launched(runs_dir)
    run.journal_path.unlink()
    return run


def damaged_journal(runs_dir: Path) -> Run:
    run = launched(runs_dir)
    run.journal_path.write_bytes(b"x" + run.journal_path.read_bytes()[1:])
    return run


UNRELEASED = [launched, leaked, without_journal, damaged_journal]


@pytest.mark.parametrize("make", UNRELEASED)
def test_a_run_whose_hosts_are_there_is_kept_and_the_way_to_end_them_is_said(
    make: Callable[[Path], Run], provider: MemoryProvider, tmp_path: Path
) -> None:
    run = make(tmp_path)
    provider.put(run.id, "server")
    result = perfkit("runs", "delete", run.id, "--yes", runs_dir=tmp_path)
    assert result.exit_code == 1
    assert f"perfkit reap {run.id} --yes" in result.output
    assert run.root.is_dir()


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("make", UNRELEASED)
def test_a_run_that_expired_is_deleted_when_its_provider_lists_nothing_of_it(
    make: Callable[[Path], Run], tmp_path: Path
) -> None:
    run = make(tmp_path)
    result = perfkit("runs", "delete", run.id, "--yes", runs_dir=tmp_path)
    assert result.exit_code == 0, result.output
    assert not run.root.exists()


@pytest.mark.parametrize(
    "error", [NotSetUpError("no ec2.conf"), ConfigError("a", "b", "c", "d", "e")]
)
def test_a_run_is_kept_when_its_provider_cannot_be_asked(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_name: str, **_options: object) -> MemoryProvider:
        raise error

    monkeypatch.setattr(status_reap, "get_provider", refuse)
    run = launched(tmp_path)
    result = perfkit("runs", "delete", run.id, "--yes", runs_dir=tmp_path)
    assert result.exit_code == 1
    assert "NOT ASKED: provider memory" in result.output
    assert run.root.is_dir()


def test_a_provider_that_is_not_set_up_any_more_is_asked_by_the_runs_own_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, memory = launched(tmp_path), MemoryProvider()
    memory.put(run.id, "server")

    def ask(_name: str, config_dir: Path) -> MemoryProvider:
        if config_dir != run.config_dir:
            raise NotSetUpError("no static.conf")
        return memory

    monkeypatch.setattr(status_reap, "get_provider", ask)
    assert "1 host at memory" in run_deletion.why_kept(run, tmp_path)


def test_a_run_that_is_open_is_kept_and_so_is_a_campaign_with_an_open_block(
    tmp_path: Path,
) -> None:
    run = a_run(tmp_path, "over", [*COLLECTED, *RELEASED])
    campaign = make_campaign(
        tmp_path / "20261101T000000Z-c-0",
        clients=(1,),
        repetitions=1,
        void=(),
        is_reduced=False,
        duration_s=5,
    )
    for held, whole in ((run, run), (Run(campaign.blocks_dir / "0001"), campaign)):
        with held.locked():
            result = perfkit("runs", "delete", whole.id, "--yes", runs_dir=tmp_path)
        assert result.exit_code == 1
        assert f"pid {os.getpid()}" in result.output
        assert whole.root.is_dir()


def test_what_a_baseline_was_saved_from_is_kept_until_the_baseline_is_removed(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "20261101T000000Z-a-0", clients=2, duration_s=5)
    saved = baselines.save([run], "v2.6", tmp_path)
    result = perfkit("runs", "delete", run.id, "--yes", runs_dir=tmp_path)
    assert result.exit_code == 1
    assert str(saved) in result.output
    (saved / "baseline.json").write_text("{")
    assert perfkit("runs", "delete", run.id, "--yes", runs_dir=tmp_path).exit_code == 1
    assert run.root.is_dir()


def test_of_several_nothing_is_deleted_when_one_must_be_kept(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    over, up = a_run(tmp_path, "over", [*COLLECTED, *RELEASED]), launched(tmp_path)
    provider.put(up.id, "server")
    assert perfkit("runs", "delete", "over", up.id, "--yes", runs_dir=tmp_path).exit_code == 1
    assert over.root.is_dir()


def test_only_a_run_folder_of_this_place_is_deleted(tmp_path: Path) -> None:
    runs_dir, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    run = a_run(runs_dir, "over", [*COLLECTED, *RELEASED])
    other = a_run(elsewhere, "other", [*COLLECTED, *RELEASED])
    (runs_dir / "link").symlink_to(other.root)
    (runs_dir / "notes").mkdir()
    campaign = make_campaign(
        runs_dir / "20261101T000000Z-c-0",
        clients=(1,),
        repetitions=1,
        void=(),
        is_reduced=False,
        duration_s=5,
    )
    for word in (
        "latest", "link", "notes", "other", ".", "..", "/", "", str(other.root), str(runs_dir),
        f"../elsewhere/{other.id}", f"{campaign.id}/1", f"{campaign.id}/blocks/0001", f"{run.id}/raw",
        "baselines", "*",
    ):  # fmt: skip
        result = perfkit("runs", "delete", word, "--yes", runs_dir=runs_dir)
        assert result.exit_code == 1, (word, result.output)
    assert run.root.is_dir()
    assert other.root.is_dir()
    result = perfkit("runs", "delete", f"{runs_dir}/{run.id}/", "--yes", runs_dir=runs_dir)
    assert result.exit_code == 0, result.output
    assert not run.root.exists()


def test_a_name_that_two_runs_have_deletes_neither(tmp_path: Path) -> None:
    both = [a_run(tmp_path, "twin", [*COLLECTED, *RELEASED]) for _ in range(2)]
    result = perfkit("runs", "delete", "twin", "--yes", runs_dir=tmp_path)
    assert result.exit_code == 1
    assert all(run.id in result.output for run in both)
    assert all(run.root.is_dir() for run in both)


def test_a_deletion_that_was_cut_short_leaves_no_half_run_and_the_next_one_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = (a_run(tmp_path, name, [*COLLECTED, *RELEASED]) for name in ("one", "two"))

    def killed(_runs_dir: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_deletion, "remove_leftovers", killed)
        with pytest.raises(KeyboardInterrupt):
            run_deletion.delete([first], tmp_path)
    assert not first.root.exists()
    assert [one.name for one in run_list.list_runs(tmp_path)] == ["two"]
    assert (tmp_path / run_deletion.TRASH).is_dir()
    run_deletion.delete([second], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_deleted_before_a_failure_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = (a_run(tmp_path, name, [*COLLECTED, *RELEASED]) for name in ("one", "two"))
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == second.root:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunError, match=rf"Permission denied.*deleted before: {first.id}"):
        run_deletion.delete([first, second], tmp_path)
    assert second.root.is_dir()
    assert not (tmp_path / run_deletion.TRASH).exists()
