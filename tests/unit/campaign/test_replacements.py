"""Which hosts of a campaign are replaced after a block that they failed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from campaign_lab import Lab

from perfkit.campaign import replacements
from perfkit.campaign import session as sessions
from perfkit.campaign.block_session import BlockSession, open_new
from perfkit.campaign.blocks import Todo
from perfkit.campaign.session import Session
from perfkit.errors import StageError
from perfkit.model import HostState
from perfkit.runs import design, journal

ALL = ["server", "client-001", "client-002"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


@pytest.fixture
def session(lab: Lab) -> Iterator[Session]:
    run = lab.launch(clients="2", repetitions=5)
    with sessions.attach(run.root.parent, run.id) as opened:
        yield opened


def block_in_which(session: Session, number: int, failed: Mapping[str, str]) -> BlockSession:
    """A block of all hosts in which some failed."""
    planned = design.load(session.run).order[0][0]
    block = open_new(session, Todo(planned=planned, number=number, attempt=1), ALL, {})
    for name, reason in failed.items():
        block.inventory.move(name, HostState.FAILED, reason=reason)
    return block


def judged(
    lab: Lab,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    blocks: list[Mapping[str, str]],
    unwell: Mapping[str, str],
) -> set[str]:
    """The hosts that are out after these blocks."""
    # private: hosts that are only imagined cannot be asked
    monkeypatch.setattr(replacements, "_unwell", lambda _session, _hosts, _vpn: dict(unwell))
    failures: Counter[str] = Counter()
    for number, failed in enumerate(blocks, start=1):
        with block_in_which(session, number, failed) as block:
            lab.judge_hosts(session, block, failures)
    return session.inventory.names(HostState.FAILED)


LATE = {"client-002": "armed too late"}


def test_a_host_that_failed_once_and_is_well_gets_another_chance(
    lab: Lab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(lab, session, monkeypatch, [LATE], {}) == set()


def test_a_host_that_failed_twice_is_out_whatever_it_answers(
    lab: Lab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(lab, session, monkeypatch, [LATE, {}, LATE], {}) == {"client-002"}
    assert session.inventory.get_record("client-002").reason == "armed too late"


def test_a_host_that_is_not_well_is_out_at_once(
    lab: Lab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill = {"client-002": "tunnel: no ping"}
    assert judged(lab, session, monkeypatch, [LATE], ill) == {"client-002"}


def test_where_most_hosts_failed_it_is_not_held_against_them(
    lab: Lab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = dict.fromkeys(ALL[1:], "exit status 1")
    assert judged(lab, session, monkeypatch, [broken] * 4, {}) == set()


def test_a_server_that_failed_ends_the_campaign(
    lab: Lab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"server": "UnreachableError: no answer"}
    assert judged(lab, session, monkeypatch, [gone], gone) == {"server"}
    with pytest.raises(StageError, match="the server failed: UnreachableError"):
        replacements.is_needed(session)


def test_a_client_is_made_anew_only_so_often(lab: Lab, session: Session) -> None:
    for launches in range(1, replacements.MOST_LAUNCHES + 1):
        session.inventory.move("client-001", HostState.FAILED, reason="ill")
        assert replacements.is_needed(session)
        replacements.replace_failed(session, lab.campaign(session).configure)
        assert lab.provider.hosts(session.run.id)
        assert not session.inventory.names(HostState.FAILED)
        intents = [
            e for e in journal.read(session.run.journal_path).events if e.kind == "launch-intent"
        ]
        assert len(intents) == launches
    session.inventory.move("client-001", HostState.FAILED, reason="ill")
    assert not replacements.is_needed(session)
