"""Ending takes as long as it gets on: thousands of hosts are not a leak because 15 s are over."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from perfkit.fleet.local import cleanup, tags

HOSTS = [
    tags.Tagged(pid, tags.HOST, {"run": "r", "name": f"client-{pid:03d}"}) for pid in range(1, 9)
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of a timeout goes by whenever somebody looks."""
    ticks = itertools.count(0.0, cleanup.KILL_TIMEOUT_S / 3)
    slow = SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _s: None)
    monkeypatch.setattr(cleanup, "time", slow)
    monkeypatch.setattr(tags, "time", slow)


@pytest.mark.usefixtures("clock")
def test_hosts_are_waited_for_as_long_as_they_get_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    left = list(HOSTS)
    # private: what is there, without hosts
    monkeypatch.setattr(cleanup, "_ours", lambda _run: list(left))
    monkeypatch.setattr(tags, "end", lambda *_: left.pop())
    cleanup.end_hosts("r")
    assert left == []


@pytest.mark.usefixtures("clock")
def test_hosts_that_do_not_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[tags.Tagged]] = []
    # private: what is there, without hosts
    monkeypatch.setattr(cleanup, "_ours", lambda _run: list(HOSTS))
    monkeypatch.setattr(tags, "end", lambda hosts, *_: asked.append(hosts))
    cleanup.end_hosts("r")
    assert 1 <= len(asked) < 5


@pytest.mark.usefixtures("clock")
def test_every_few_hundred_processes_have_the_whole_time_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadlines_s: list[float] = []
    monkeypatch.setattr(tags, "_OPEN_AT_ONCE", 2)  # private: 512 processes would be needed
    monkeypatch.setattr(tags, "_signal_if_same", lambda process, _number: process.pid)
    monkeypatch.setattr(tags, "await_end", lambda _pid, _fd, until_s: deadlines_s.append(until_s))
    tags.end(HOSTS[:5], signal.SIGKILL, 60)
    first, second, third, fourth, fifth = deadlines_s
    assert first == second < third == fourth < fifth


def test_a_process_that_ended_while_it_was_looked_at_is_no_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, nobody = "", 2**22 + 1  # above the highest PID that Linux gives
    private = {
        "_chosen": lambda *_: [],
        "_ours": lambda _run: [],
        "_guests": lambda _processes: {nobody: gone},
    }
    for name, stand_in in private.items():
        monkeypatch.setattr(cleanup, name, stand_in)
    assert cleanup.end_here("r", ["client-001"])["leaked"] == []
