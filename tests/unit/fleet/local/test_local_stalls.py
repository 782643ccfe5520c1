from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from perfkit.fleet.local import host_factory
from perfkit.fleet.local.stalls import StallWatch

PID = 7
LIMIT_S = 30.0


class Machine:
    """A clock and one process of a /proc, both as told."""

    def __init__(self, proc: Path) -> None:
        self.now_s, self._place = 0.0, proc / str(PID)
        self._place.mkdir()
        self.show("S", worked_ns=5)
        self.watch = StallWatch(PID, far_s=900.0, clock=lambda: self.now_s, proc=proc)
        assert not self.watch.has_stalled(LIMIT_S)

    def show(self, state: str, worked_ns: int) -> None:
        (self._place / "stat").write_text(f"7 (a) b) c) {state} 1 7 7 0 -1\n")
        (self._place / "schedstat").write_text(f"{worked_ns} 123 4\n")

    def stalled_at(self, now_s: float) -> bool:
        self.now_s = now_s
        return self.watch.has_stalled(LIMIT_S)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_process_that_sleeps_and_does_nothing_has_stalled_after_the_limit(
    machine: Machine,
) -> None:
    assert not machine.stalled_at(29.9)
    assert machine.stalled_at(30.0)


def test_one_that_works_now_and_then_has_not(machine: Machine) -> None:
    for moment_s in (25, 50, 75):
        machine.show("S", worked_ns=moment_s * 10)
        assert not machine.stalled_at(moment_s)
    assert machine.stalled_at(105)


@pytest.mark.parametrize("state", ["R", "D"])
def test_waiting_for_a_processor_or_the_kernel_is_not_its_fault_until_the_far_limit(
    machine: Machine, state: str
) -> None:
    machine.show(state, worked_ns=5)
    assert not any(machine.stalled_at(moment_s) for moment_s in (60, 120, 899))
    assert machine.stalled_at(900)


@pytest.mark.parametrize("state", ["S", "T", "Z"])
def test_sleeping_being_stopped_and_being_dead_are_no_progress(
    machine: Machine, state: str
) -> None:
    machine.show(state, worked_ns=5)
    assert machine.stalled_at(31)


def test_a_process_that_is_gone_counts_as_stalled(tmp_path: Path) -> None:
    assert StallWatch(PID, proc=tmp_path).has_stalled(0)


def test_a_host_in_the_making_that_gets_nowhere_is_given_up_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_factory, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(host_factory, "MAKING_STALL_S", 0.05)
    ours, its = socket.socketpair()
    with ours, its, subprocess.Popen(["sleep", "600"]) as child:
        os.kill(child.pid, signal.SIGSTOP)
        # private: a host that stops in its making, without root
        assert "has done nothing for" in host_factory._await_reason(child.pid, ours)
        child.kill()


def test_what_a_host_in_the_making_says_is_the_reason_and_its_silence_is_success() -> None:
    for said in (b"mount: no room", b""):
        ours, its = socket.socketpair()
        with ours:
            its.sendall(said)
            its.close()
            # private: what a host says in its making, without root
            assert host_factory._await_reason(os.getpid(), ours) == said.decode()
