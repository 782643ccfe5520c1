"""Notices of the provider are journalled once and kept with the raw data, whatever else happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memory_provider import MemoryProvider

from perfkit.campaign.session import Session
from perfkit.campaign.spot_notices import watched
from perfkit.errors import ProviderError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import Interruption
from perfkit.model import Role
from perfkit.runs import journal
from perfkit.runs.folder import Run

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


class SpotMarket(MemoryProvider):
    """Takes back the hosts in `marked`; cannot be asked while `silent`."""

    def __init__(self, *, interruptible: bool = True) -> None:
        super().__init__()
        self.traits = replace(self.traits, interruptible=interruptible)
        self.marked: list[str] = []
        self.silent = False
        self.asked = threading.Event()

    def interruptions(self, run_id: str) -> Sequence[Interruption]:
        self.asked.set()
        if self.silent:
            raise ProviderError("no answer")
        return [Interruption(host=host, noticed_utc=AT, reason="spot") for host in self.marked]


def session_of(folder: Path, provider: MemoryProvider) -> Session:
    """As much of a session as is looked at."""
    run, inventory = Run(folder), Inventory()
    for name in ("client-001", "client-002"):
        inventory.add(name, Role.CLIENT)
    made: Any = SimpleNamespace(
        fleet_id="spots",
        run=run,
        provider=provider,
        journal=journal.Journal(run.journal_path),
        inventory=inventory,
        made_utc={},
    )
    return cast(Session, made)


def kinds(session: Session) -> list[str]:
    return [event.kind for event in journal.read(session.run.journal_path).events]


def test_a_notice_is_written_once_with_its_moment(tmp_path: Path) -> None:
    market = SpotMarket()
    session = session_of(tmp_path, market)
    with watched(session, every_s=0.001):
        market.marked = ["client-002"]
        market.asked.clear()
        assert market.asked.wait(60)
    assert kinds(session) == ["host-interrupted"]
    (row,) = json.loads(session.run.interruptions_path.read_text())
    assert row == {"host": "client-002", "noticed_utc_s": AT.timestamp(), "reason": "spot"}


def test_what_comes_at_the_very_end_is_seen_also_when_the_test_fails(tmp_path: Path) -> None:
    market = SpotMarket()
    session = session_of(tmp_path, market)

    def an_interrupted_test() -> None:
        with watched(session, every_s=1000):
            market.marked = ["client-001"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        an_interrupted_test()
    assert kinds(session) == ["host-interrupted"]


def test_a_provider_that_cannot_be_asked_ends_no_test(tmp_path: Path) -> None:
    market = SpotMarket()
    market.silent = True
    session = session_of(tmp_path, market)
    with watched(session, every_s=1000):
        pass
    assert kinds(session) == ["interruptions-unknown"]
    assert not session.run.interruptions_path.exists()


def test_a_provider_that_takes_nothing_back_is_not_asked(tmp_path: Path) -> None:
    market = SpotMarket(interruptible=False)
    with watched(session_of(tmp_path, market), every_s=0.001):
        pass
    assert not market.asked.is_set()


def test_a_notice_about_a_host_that_is_not_in_the_block_is_none_of_its(tmp_path: Path) -> None:
    market = SpotMarket()
    market.marked = ["client-003"]
    session = session_of(tmp_path, market)
    with watched(session, every_s=1000):
        pass
    assert not session.run.interruptions_path.exists()


@pytest.mark.parametrize(("made_after_s", "counts"), [(1.0, False), (-1.0, True)])
def test_a_notice_about_the_host_that_this_one_has_replaced_is_passed_over(
    tmp_path: Path, made_after_s: float, *, counts: bool
) -> None:
    market = SpotMarket()
    market.marked = ["client-001"]
    session = session_of(tmp_path, market)
    session.made_utc = {"client-001": AT + timedelta(seconds=made_after_s)}
    with watched(session, every_s=1000):
        pass
    assert session.run.interruptions_path.exists() == counts
