"""Deadlines of many connections, watched by one thread."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import pytest

from perfkit.ssh.deadlines import Deadlines

FAR_S = 60.0
FORKED = """
import os, threading
from perfkit.ssh.deadlines import DEADLINES
with DEADLINES.otherwise(600, os.abort):
    child = os.fork()
    if child == 0:
        called = threading.Event()
        with DEADLINES.otherwise(0.01, called.set):
            os._exit(0 if called.wait(30) else 1)
    _, status = os.waitpid(child, 0)
    os.write(1, b"called" if status == 0 else b"not called")
"""


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def ignore() -> None:
    pass


def test_what_is_not_over_in_time_is_called_while_it_still_goes_on() -> None:
    called = threading.Event()
    with Deadlines().otherwise(0.01, called.set):
        assert called.wait(FAR_S)


def test_a_nearer_deadline_is_kept_although_a_farther_one_is_waited_for() -> None:
    watched, called = Deadlines(), threading.Event()
    with watched.otherwise(10 * FAR_S, ignore), watched.otherwise(0.01, called.set):
        assert called.wait(FAR_S)


def test_a_call_that_hangs_does_not_hold_up_the_next_one() -> None:
    watched, may_end, called = Deadlines(), threading.Event(), threading.Event()

    def hang() -> None:
        may_end.wait(FAR_S)

    with watched.otherwise(0.01, hang):
        with watched.otherwise(0.02, called.set):
            assert called.wait(FAR_S / 2)
        may_end.set()


def test_what_was_over_in_time_is_forgotten_and_costs_nobody_a_wait() -> None:
    clock = Clock()
    watched = Deadlines(clock)
    with contextlib.ExitStack() as going_on:
        going_on.enter_context(watched.otherwise(10 * FAR_S, ignore))
        with watched.otherwise(FAR_S, ignore):
            assert watched.take_due() == (None, FAR_S)
        clock.now_s += 2 * FAR_S
        assert watched.take_due() == (None, 8 * FAR_S)
    assert watched.take_due() == (None, None)


def test_a_forked_process_watches_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True,
        text=True,
        timeout=FAR_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("called", "")


def test_deadlines_are_kept_although_no_more_threads_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "deadline":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    watched = Deadlines()
    for called in (threading.Event(), threading.Event()):
        with watched.otherwise(0.01, called.set):
            assert called.wait(FAR_S)
