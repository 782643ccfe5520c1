"""The hosts of a campaign live as long as its blocks need them, where their end can be moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from memory_provider import MemoryProvider
from small_project import DIRECT, make_small_project

from perfkit.campaign import renew, resume
from perfkit.campaign import session as sessions
from perfkit.campaign.session import Session
from perfkit.errors import ProviderError
from perfkit.fleet.provider import CostEstimate
from perfkit.runs import journal, progress
from perfkit.settings import parameters as settings


class Renewable(MemoryProvider):
    """Hosts whose end can be moved; above `longest_s` of life they are too dear."""

    def __init__(self, longest_s: float = 1e9) -> None:
        super().__init__()
        self.traits = replace(self.traits, renewable=True, costs_money=True)
        self.end: datetime | None = None
        self.longest_s, self.is_silent = longest_s, False

    def estimate(self, n_hosts: int, life_s: float) -> CostEstimate:
        over = ("too long",) if life_s > self.longest_s else ()
        return CostEstimate(usd_per_h=1, worst_usd=n_hosts * life_s / 3600, lines=(), over=over)

    def expiry(self, run_id: str) -> datetime | None:
        return self.end

    def renew(self, run_id: str, expires_utc: datetime) -> str:
        if self.is_silent:
            raise ProviderError("it does not answer")
        self.end = expires_utc
        return "true"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_small_project(tmp_path, monkeypatch, conf=DIRECT)


def opened(
    monkeypatch: pytest.MonkeyPatch, provider: MemoryProvider, **parameters: object
) -> Session:
    monkeypatch.setattr(sessions, "get_provider", lambda _name, **_options: provider)
    given = {"clients": "1,2", "repetitions": 2, "expires_min": 10, "name": "mine", **parameters}
    return sessions.open_new(settings.load(given))


def kinds(session: Session) -> list[str]:
    return [event.kind for event in journal.read(session.run.journal_path).events]


def test_the_end_is_moved_only_when_the_next_block_would_not_end_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = Renewable()
    with opened(monkeypatch, provider) as session:
        assert 590 < renew.seconds_left(session, 60) <= 600
        assert provider.end is None
        provider.end = datetime.now(UTC) + timedelta(seconds=50)
        assert 590 < renew.seconds_left(session, 60) <= 600
        assert provider.end > datetime.now(UTC) + timedelta(seconds=590)
        assert kinds(session)[-1] == "renewed"
        assert renew.seconds_left(session, 2000) > 1990  # a block that is longer than expires_min


def test_where_the_end_cannot_be_moved_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch, MemoryProvider()) as session:
        assert 590 < renew.seconds_left(session, 5000) <= 600
        assert "renewed" not in kinds(session)


@pytest.mark.parametrize("trouble", ["caps", "silence"])
def test_above_the_caps_or_without_an_answer_the_end_stays_and_why_is_journalled(
    monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    provider = Renewable(longest_s=4000)
    with opened(monkeypatch, provider) as session:
        provider.is_silent = trouble == "silence"
        provider.end = datetime.now(UTC) + timedelta(seconds=50)
        needed_s = 60 if trouble == "silence" else 5000
        assert renew.seconds_left(session, needed_s) <= 50
        last = journal.read(session.run.journal_path).events[-1]
        assert last.kind == "not-renewed"
        assert ("too long" if trouble == "caps" else "does not answer") in last.fields["reason"]


def test_yes_at_launch_holds_for_renewals_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch, Renewable(longest_s=1), yes=True) as session:
        assert renew.seconds_left(session, 5000) > 4990


def test_a_campaign_whose_end_was_moved_is_taken_up_after_its_first_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened(monkeypatch, Renewable()) as session:
        session.journal.append("launch-intent", token="t", names=["server"])
        renew.seconds_left(session, 3600)
    later = datetime.now(UTC) + timedelta(minutes=30)
    assert not resume.is_past(session.run, later)
    assert resume.next_phase(session.run, progress.read(session.run), later) == "launch"
    assert resume.is_past(session.run, later + timedelta(hours=1))
