"""Status and reap: what the providers list is the truth, whatever the run folders say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_provider import MemoryProvider

from perfkit.campaign import status_reap
from perfkit.errors import ConfigError, RunError
from perfkit.fleet.inventory import Inventory
from perfkit.model import HostState, Role
from perfkit.runs import campaign_folder, folder
from perfkit.runs.journal import Journal
from perfkit.testing.campaigns import make_campaign


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    """The only registered provider."""
    memory = MemoryProvider()
    registered(monkeypatch, {"memory": lambda: memory})
    return memory


def registered(monkeypatch: pytest.MonkeyPatch, makers: dict[str, Callable[[], object]]) -> None:
    monkeypatch.setattr(status_reap, "provider_names", lambda: sorted(makers))
    monkeypatch.setattr(status_reap, "get_provider", lambda name, **_options: makers[name]())


def refuse() -> object:
    raise ConfigError("parameters", "provider", "broken", "cannot be asked", "mend it")


@pytest.mark.usefixtures("provider")
def test_with_nothing_anywhere_both_say_so(tmp_path: Path) -> None:
    assert str(status_reap.status(runs_dir=str(tmp_path))) == "no hosts are running"
    assert str(status_reap.reap(yes=True, runs_dir=str(tmp_path))) == "nothing to end"


def test_status_lists_fleets_whose_run_folder_is_gone(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-a", "server", "client-001")
    text = str(status_reap.status(runs_dir=str(tmp_path / "gone")))
    assert "run-a: 2 hosts at memory, owner someone" in text


def test_reap_without_yes_only_says_what_it_would_do(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-a", "server")
    text = str(status_reap.reap(runs_dir=str(tmp_path)))
    assert "would end run-a: 1 host at" in text
    assert "add --yes" in text
    assert len(provider.hosts()) == 1


def test_reap_with_yes_ends_everything_and_a_second_one_finds_nothing(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-a", "server", "client-001")
    provider.put("run-b", "server")
    outcome = status_reap.reap(yes=True, runs_dir=str(tmp_path))
    assert outcome.leaked == ()
    assert "ended 2 hosts of run-a: 2 hosts" in str(outcome)
    assert "ended 1 host of run-b" in str(outcome)
    assert str(status_reap.reap(yes=True, runs_dir=str(tmp_path))) == "nothing to end"


def test_reap_ends_only_the_runs_it_was_given(provider: MemoryProvider, tmp_path: Path) -> None:
    provider.put("run-a", "server")
    provider.put("run-b", "server")
    status_reap.reap(["run-b"], yes=True, runs_dir=str(tmp_path))
    assert provider.runs() == ["run-a"]


def test_reap_finds_a_run_by_its_name_in_the_runs_folder(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    run = folder.create(tmp_path, "demo", {})
    provider.put(run.id, "server")
    status_reap.reap(["demo"], yes=True, runs_dir=str(tmp_path))
    assert provider.hosts() == []


def test_an_unknown_run_is_refused_with_the_nearest_that_is_there(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="nothing is running"):
        status_reap.reap(["run-a"], yes=True, runs_dir=str(tmp_path))
    provider.put("run-a", "server")
    with pytest.raises(RunError, match="did you mean 'run-a'"):
        status_reap.reap(["run-aa"], yes=True, runs_dir=str(tmp_path))
    assert len(provider.hosts()) == 1


def test_reap_names_first_what_it_could_not_release(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-a", "server", "client-001")
    provider.stuck = {"server"}
    outcome = status_reap.reap(yes=True, runs_dir=str(tmp_path))
    assert str(outcome).startswith("STILL THERE: run-a: server")
    assert [host.name for host in provider.hosts()] == ["server"]


def test_reap_leaves_a_run_alone_that_a_living_process_has_open_unless_forced(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    run = folder.create(tmp_path, "demo", {})
    provider.put(run.id, "server")
    with run.locked():
        assert "left alone" in str(status_reap.reap(yes=True, runs_dir=str(tmp_path)))
        assert len(provider.hosts()) == 1
        status_reap.reap(yes=True, force=True, runs_dir=str(tmp_path))
    assert provider.hosts() == []


def test_expired_only_takes_only_fleets_that_should_be_gone(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-old", "server", expires_in_s=-60)
    provider.put("run-new", "server")
    status_reap.reap(yes=True, expired=True, runs_dir=str(tmp_path))
    assert provider.runs() == ["run-new"]


def test_a_provider_that_cannot_be_asked_is_named_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = MemoryProvider()
    memory.put("run-a", "server")
    registered(monkeypatch, {"broken": refuse, "memory": lambda: memory})
    text = str(status_reap.status(runs_dir=str(tmp_path)))
    assert text.startswith("NOT ASKED: provider broken")
    assert "run-a" in text
    assert "NOT ASKED" in str(status_reap.reap(yes=True, runs_dir=str(tmp_path)))
    assert memory.hosts() == []


@pytest.mark.usefixtures("provider")
def test_status_tells_how_far_the_latest_run_came_and_who_failed(tmp_path: Path) -> None:
    run = folder.create(tmp_path, "demo", {})
    book = Journal(run.journal_path)
    table = Inventory(book)
    table.add("server", Role.SERVER)
    table.add("client-001", Role.CLIENT)
    table.move("client-001", HostState.FAILED, reason="UnreachableError: no answer")
    book.append("phase-done", phase="launch", elapsed_s=3.21)
    book.append("phase-failed", phase="configure", elapsed_s=1, reason="KeyboardInterrupt: ")
    book.append("phase-failed", phase="configure", elapsed_s=2, reason="StageError: too few\nnames")
    book.close()
    text = str(status_reap.status(runs_dir=str(tmp_path)))
    assert "launch done after 3.2 s" in text
    assert "configure interrupted after 1.0 s\n" in text
    assert "configure failed after 2.0 s: StageError: too few\n" in text
    assert "1 requested" in text
    assert "client-001" in text
    assert "no answer" in text


@pytest.mark.usefixtures("provider")
def test_status_still_names_who_had_failed_when_all_hosts_are_released(tmp_path: Path) -> None:
    run = folder.create(tmp_path, "demo", {})
    with contextlib.closing(Journal(run.journal_path)) as book:
        table = Inventory(book)
        table.add("server", Role.SERVER)
        table.add("client-001", Role.CLIENT)
        table.move("client-001", HostState.FAILED, reason="UnreachableError: no answer")
        for name in ("server", "client-001"):
            table.move(name, HostState.RELEASED)
    text = str(status_reap.status(runs_dir=str(tmp_path)))
    assert "hosts: 2 released, 1 of them had failed\n" in text
    assert text.endswith("FAILED client-001: UnreachableError: no answer")


@pytest.mark.usefixtures("provider")
def test_status_of_a_run_whose_journal_is_damaged_still_lists_the_fleets(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    run = folder.create(tmp_path, "demo", {})
    run.journal_path.write_bytes(b"00000000 {}\nmore\n")
    provider.put(run.id, "server")
    text = str(status_reap.status(runs_dir=str(tmp_path)))
    assert "1 host at memory" in text
    assert "damaged" in text


@pytest.mark.usefixtures("provider")
@pytest.mark.usefixtures("provider")
def test_status_of_a_campaign_tells_its_blocks(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "big", clients=(1, 2), repetitions=2, void=(1, 2), duration_s=3, is_reduced=False
    )
    text = str(status_reap.status("big", runs_dir=str(tmp_path)))
    assert re.search(r"  blocks: 4 done, [12] void \(no more: repetitions\) of 4", text)
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    begun = [n for n, line in enumerate(lines) if b"block-claimed" in line]
    run.journal_path.write_bytes(b"".join(lines[: begun[1] + 1]))
    text = str(status_reap.status("big", runs_dir=str(tmp_path)))
    assert ", 1 under way of 4" in text


@pytest.mark.usefixtures("provider")
def test_a_block_is_not_reaped_but_its_campaign_is_named(tmp_path: Path) -> None:
    campaign = folder.create(tmp_path, "big", {"clients": "1,2"})
    campaign_folder.create_block(campaign, 3, {"clients": 2})
    with pytest.raises(RunError, match=f"those of its campaign: name {campaign.id}"):
        status_reap.reap(["big/3"], runs_dir=str(tmp_path))


def test_the_notebook_shows_both_with_markup_escaped(
    provider: MemoryProvider, tmp_path: Path
) -> None:
    provider.put("run-<b>", "server")
    for shown in (
        status_reap.status(runs_dir=str(tmp_path)),
        status_reap.reap(runs_dir=str(tmp_path)),
    ):
        assert "run-&lt;b&gt;" in shown._repr_html_()
