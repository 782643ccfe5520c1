"""One thing done to many hosts by a bounded number of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from perfkit.errors import CommandError, LaunchError, LostError, PromptError
from perfkit.model import Host, HostResult, Role
from perfkit.ssh import workers

PATIENCE_S = 20.0  # no test comes near it unless something hangs
run_on_hosts = partial(workers.run_on_hosts, deadline_s=600.0)  # unless a test is about that


def make_hosts(n: int) -> list[Host]:
    return [
        Host(name=f"client-{i:03d}", role=Role.CLIENT, address=f"192.0.2.{i}", host_key="")
        for i in range(1, n + 1)
    ]


def test_every_host_has_a_result_and_is_reported_as_it_finishes() -> None:
    seen: list[HostResult] = []
    stage = run_on_hosts("test", make_hosts(20), lambda _: None, threads=4, on_result=seen.append)
    assert len(stage.ok) == 20
    assert seen == list(stage.results)
    assert str(stage).startswith("test: 20 of 20 hosts")


def test_no_hosts_are_a_stage_without_results() -> None:
    assert run_on_hosts("test", [], lambda _: None, threads=4).results == ()


def test_no_more_threads_work_at_a_time_than_asked_for() -> None:
    at_work, most = set(), []
    lock = threading.Lock()
    gate = threading.Barrier(3)

    def work(host: Host) -> None:
        with lock:
            at_work.add(host.name)
            most.append(len(at_work))
        gate.wait(PATIENCE_S)  # only full sets of three go on
        with lock:
            at_work.remove(host.name)

    assert len(run_on_hosts("test", make_hosts(12), work, threads=3).ok) == 12
    assert max(most) == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            CommandError("client-001", "exit status 3", "apt-get", 3, "", "E: broken"),
            "CommandError: exit status 3",
        ),
        (LostError("client-001", "connection lost"), "LostError: connection lost"),
        (ValueError("a bug"), "ValueError: a bug"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_host_raises_is_its_own_result(
    error: BaseException, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    def work(host: Host) -> None:
        if host.name == "client-001":
            raise error

    stage = run_on_hosts("test", make_hosts(3), work, threads=2)
    assert [(result.host, result.reason) for result in stage.failed] == [("client-001", reason)]
    assert len(stage.ok) == 2
    assert ("unexpected error" in caplog.text) is (not reason.startswith(("Command", "Lost")))


def test_a_prompt_is_reported_with_its_question() -> None:
    def work(host: Host) -> None:
        raise PromptError(host.name, "asked a question", "adduser x", "New password:")

    stage = run_on_hosts("test", make_hosts(1), work, threads=1)
    assert "New password:" in stage.failed[0].reason


def test_hosts_are_worked_on_while_others_are_still_launching() -> None:
    first_done = threading.Event()

    def launching() -> Iterator[Host]:
        one, two = make_hosts(2)
        yield one
        assert first_done.wait(PATIENCE_S), "the first host was not begun"
        yield two

    stage = run_on_hosts("test", launching(), lambda _: first_done.set(), threads=4)
    assert len(stage.ok) == 2


def test_what_the_iterator_of_hosts_raises_comes_out_after_the_begun_hosts() -> None:
    done = []

    def launching() -> Iterator[Host]:
        yield from make_hosts(2)
        raise LaunchError("no more hosts")

    with pytest.raises(LaunchError, match="no more hosts"):
        run_on_hosts("test", launching(), lambda host: done.append(host.name), threads=1)
    assert sorted(done) == ["client-001", "client-002"]


def test_a_host_past_its_deadline_is_cut_off_and_reported_as_lost_while_others_go_on() -> None:
    cut_off = threading.Event()
    expired: list[tuple[str, str]] = []

    def on_expired(host: Host, reason: str) -> None:
        expired.append((host.name, reason))
        cut_off.set()

    def work(host: Host) -> None:
        if host.name == "client-001":
            cut_off.wait(PATIENCE_S)

    stage = run_on_hosts(
        "test", make_hosts(10), work, threads=1, deadline_s=1.5, on_expired=on_expired
    )
    assert [(result.host, result.reason) for result in stage.failed] == [
        ("client-001", "LostError: test: not done within 1.5 s")
    ]
    assert len(stage.ok) == 9
    assert expired == [("client-001", "test: not done within 1.5 s")]


def test_an_answer_after_the_deadline_does_not_count_twice() -> None:
    release = threading.Event()
    answered = threading.Event()

    def work(host: Host) -> None:
        if host.name == "client-001":
            release.wait(PATIENCE_S)
            answered.set()
        else:
            answered.wait(PATIENCE_S)

    stage = run_on_hosts(
        "test",
        make_hosts(2),
        work,
        threads=1,
        deadline_s=0.2,
        on_expired=lambda _host, _reason: release.set(),
    )
    assert len(stage.results) == 2


def test_many_dead_hosts_cost_one_timeout_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SLOW_AFTER_S", 0.05)
    stuck, failed, failed_before = threading.Event(), list[HostResult](), list[int]()
    together = threading.Barrier(10, action=lambda: failed_before.append(len(failed)))

    def work(host: Host) -> None:
        if host.name < "client-011":
            together.wait(PATIENCE_S)
            stuck.wait(PATIENCE_S)

    def note(result: HostResult) -> None:
        failed.extend([] if result.ok else [result])

    stage = run_on_hosts("test", make_hosts(50), work, threads=4, deadline_s=3.0, on_result=note)
    stuck.set()
    assert failed_before == [0]  # four at a time, the ten would not meet before the first timeout
    assert len(stage.failed) == 10
    assert len(stage.ok) == 40


def test_an_interrupt_leaves_at_once_and_begins_no_further_host() -> None:
    begun: list[str] = []
    stuck = threading.Event()

    def work(host: Host) -> None:
        begun.append(host.name)
        if host.name != "client-001":
            stuck.wait(PATIENCE_S)

    def interrupt(_: HostResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_hosts("test", make_hosts(20), work, threads=2, on_result=interrupt)
    stuck.set()
    assert len(begun) <= 2


def test_a_result_names_the_log_of_its_host() -> None:
    stage = run_on_hosts(
        "test", make_hosts(1), lambda _: None, threads=1, log_path=lambda host: Path(host.name)
    )
    assert stage.results[0].log == Path("client-001")


def test_at_least_one_thread_is_needed() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run_on_hosts("test", make_hosts(1), lambda _: None, threads=0)
