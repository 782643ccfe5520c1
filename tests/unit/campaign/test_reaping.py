"""A reap in a shared account: others' runs are left alone, and what may be on its way is awaited."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memory_provider import MemoryProvider

from perfkit.campaign import status_reap
from perfkit.fleet import reap as reaping
from perfkit.fleet.calls import unresolved
from perfkit.runs import folder as runs
from perfkit.runs import journal
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal


class CloudProvider(MemoryProvider):
    """Costs money; its listing lags by up to a minute; can say when all of a run expires."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = replace(self.traits, costs_money=True, renewable=True, settle_s=60.0)
        self.groups: dict[str, datetime] = {}

    def runs(self) -> list[str]:
        return sorted({*super().runs(), *self.groups})

    def residue(self, run_id: str) -> list[str]:
        return ["security group"] if run_id in self.groups else []

    def expiry(self, run_id: str) -> datetime | None:
        moments = [host.expires_utc for host in self.hosts(run_id)]
        return max([*moments, *([self.groups[run_id]] if run_id in self.groups else [])])

    def release(self, run_id: str):  # type: ignore[no-untyped-def]
        self.groups.pop(run_id, None)
        return super().release(run_id)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> CloudProvider:
    made = CloudProvider()
    monkeypatch.setattr(status_reap, "provider_names", lambda: ["memory"])
    monkeypatch.setattr(status_reap, "get_provider", lambda _name, **_options: made)
    return made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each release was to stay quiet; nobody waits for it."""
    asked: list[float] = []
    real = reaping.release_until_quiet

    def at_once(provider: CloudProvider, run_id: str, *, quiet_s: float, **_: object) -> object:
        asked.append(quiet_s)
        return real(provider, run_id)

    monkeypatch.setattr(status_reap, "release_until_quiet", at_once)
    return asked


def run_here(folder: Path, *kinds: str) -> Run:
    run = runs.create(folder, "mine", {"provider": "memory"})
    log = Journal(run.journal_path)
    for kind in kinds:
        log.append(kind, token="t", names=["server"])
    log.close()
    return run


@pytest.mark.usefixtures("waits")
def test_a_colleagues_live_run_is_left_alone_unless_it_is_named(
    cloud: CloudProvider, tmp_path: Path
) -> None:
    cloud.put("colleagues", "server", "client-001")
    text = str(status_reap.reap(yes=True, runs_dir=str(tmp_path)))
    assert "left alone, not made from here and not expired (name it): colleagues" in text
    assert len(cloud.there) == 2
    status_reap.reap(["colleagues"], yes=True, runs_dir=str(tmp_path))
    assert cloud.there == []


@pytest.mark.usefixtures("waits")
def test_a_group_alone_may_belong_to_a_launch_that_has_just_begun(
    cloud: CloudProvider, tmp_path: Path
) -> None:
    cloud.groups["colleagues"] = datetime.now(UTC) + timedelta(hours=1)
    assert "left alone" in str(status_reap.reap(yes=True, runs_dir=str(tmp_path)))
    assert "nothing to end" in str(status_reap.reap(yes=True, expired=True, runs_dir=str(tmp_path)))
    assert cloud.groups
    cloud.groups["colleagues"] = datetime.now(UTC) - timedelta(hours=1)
    status_reap.reap(yes=True, expired=True, runs_dir=str(tmp_path))
    assert cloud.groups == {}


def test_a_strangers_expired_run_is_ended_and_nobody_waits_for_it_to_settle(
    cloud: CloudProvider, waits: list[float], tmp_path: Path
) -> None:
    cloud.put("old", "server", expires_in_s=-3600)
    assert "ended 1 host of old" in str(status_reap.reap(yes=True, runs_dir=str(tmp_path)))
    assert waits == [0.0]


def test_a_run_that_expired_a_moment_ago_and_one_without_a_journal_must_settle(
    cloud: CloudProvider, waits: list[float], tmp_path: Path
) -> None:
    cloud.put("fresh", "server", expires_in_s=-5)
    cloud.put("named", "server")
    status_reap.reap(["fresh", "named"], yes=True, runs_dir=str(tmp_path))
    assert waits == [60.0, 60.0]


def test_a_run_whose_journal_knows_how_every_launch_ended_need_not_settle(
    cloud: CloudProvider, waits: list[float], tmp_path: Path
) -> None:
    run = run_here(tmp_path, "launch-intent", "launch-result")
    cloud.put(run.id, "server")
    status_reap.reap([run.id], yes=True, runs_dir=str(tmp_path))
    assert waits == [0.0]


def test_a_launch_without_a_result_is_reaped_although_nothing_is_listed_and_then_is_over(
    cloud: CloudProvider, waits: list[float], tmp_path: Path
) -> None:
    run = run_here(tmp_path, "launch-intent")
    assert "a launch whose outcome is not known" in str(status_reap.status(runs_dir=str(tmp_path)))
    assert f"would end {run.id}" in str(status_reap.reap(runs_dir=str(tmp_path)))
    assert status_reap.reap(yes=True, runs_dir=str(tmp_path)).leaked == ()
    assert waits == [60.0]
    assert unresolved(journal.read(run.journal_path).events) == {}
    assert str(status_reap.reap(yes=True, runs_dir=str(tmp_path))) == "nothing to end"


def test_a_damaged_journal_knows_nothing_so_the_reap_waits(
    cloud: CloudProvider, waits: list[float], tmp_path: Path
) -> None:
    run = run_here(tmp_path, "launch-intent", "launch-result")
    lines = run.journal_path.read_bytes().splitlines(keepends=True)
    run.journal_path.write_bytes(b"00000000 {}\n" + lines[1])
    cloud.put(run.id, "server")
    status_reap.reap([run.id], yes=True, runs_dir=str(tmp_path))
    assert waits == [60.0]
