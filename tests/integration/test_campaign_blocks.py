"""A campaign of several blocks on one fleet of real hosts: killed, and given again; a host that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import busy_machine
import pytest
from own_ports import use_own_port
from reliability.campaigns import left_of, make_project

from perfkit.analysis.answers import frame
from perfkit.campaign import blocks, phases
from perfkit.campaign.blocks import BlockLog
from perfkit.errors import JournalError
from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs import campaign_folder, journal, progress
from perfkit.runs.folder import Run, list_runs

pytestmark = [pytest.mark.root, pytest.mark.slow]

CELLS = [(1, 1), (1, 2), (2, 1), (2, 2)]  # repetition, clients


@pytest.fixture
def project(
    tmp_path: Path, needs_tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    needs_tools("sshd", "iperf", "openvpn")
    busy_machine.bear_with_it(monkeypatch)
    monkeypatch.setenv("PERFKIT_HOME", str(make_project(tmp_path)))
    (tmp_path / "config" / "ssh.conf").write_text("[ssh]\nconnect_timeout_s = 2\n")
    return tmp_path


def start(project: Path, *options: str) -> subprocess.Popen[bytes]:
    with (project / "out").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-c", busy_machine.PERFKIT, "run", *options],
            env={**os.environ, "PERFKIT_HOME": str(project)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


def log_of(run: Run) -> BlockLog:
    try:
        return blocks.replay(journal.read(run.journal_path).events)
    except JournalError:  # not there yet
        return BlockLog()


def has_armed(run: Run, number: int) -> bool:
    path = campaign_folder.block_run(run, number).journal_path
    return path.exists() and any(event.kind == "armed" for event in journal.read(path).events)


def kill_when(
    project: Path, process: subprocess.Popen[bytes], moment: Callable[[Run], bool]
) -> Run:
    give_up = time.monotonic() + 300
    while not any(moment(run) for run in list_runs(project / "runs")):
        assert process.poll() is None, (project / "out").read_text()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = list_runs(project / "runs")
    return run


def counting(log: BlockLog) -> list[tuple[int, int]]:
    return sorted((c.repetition, c.clients) for c in log.claims if c.end == "done")


def test_a_campaign_killed_twice_goes_on_with_what_is_missing_on_the_same_hosts(
    project: Path,
) -> None:
    command = [
        "--clients",
        "1,2",
        "--repetitions",
        "2",
        "--tests",
        "tunnel-tcp",
        "--duration-s",
        "2",
        "--name",
        "again",
    ]
    run = kill_when(project, start(project, *command), lambda run: has_armed(run, 1))
    timetable = campaign_folder.block_run(run, 1).timetable_path
    armed = timetable.read_bytes()
    second = start(project, *command)
    kill_when(project, second, lambda run: len(log_of(run).claims) >= 3)
    third = start(project, *command)
    assert third.wait(timeout=300) == 0, (project / "out").read_text()

    log = log_of(run)
    assert log.stop == "repetitions"
    assert counting(log) == CELLS
    assert timetable.read_bytes() == armed  # its hosts had gone on alone
    assert sum(claim.interrupted for claim in log.claims) <= 1
    launched = Counter(
        event.fields["names"][0]
        for event in journal.read(run.journal_path).events
        if event.kind == "launch-intent"
    )
    assert set(launched.values()) == {1}
    assert left_of(run) == []
    cells = frame.load(campaign_folder.cells_path(run))
    counted = cells[(cells["void"] == "").to_numpy()]
    assert sorted(zip(counted["repetition"], counted["clients"], strict=True)) == CELLS
    assert (counted["goodput_bps"] > 0).all()
    assert (run.report_dir / "index.html").exists()
    for claim in log.claims:
        if claim.end != "done":  # killed before it had hosts, perhaps
            continue
        block = Run(run.root / claim.folder)
        hosts = {row["name"] for row in json.loads(block.hosts_path.read_text())}
        there = {path.name for path in block.raw_dir.iterdir() if path.is_dir()}
        assert there <= {*hosts, "controller"}


def test_a_block_that_loses_a_host_is_void_and_repeated_with_a_new_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, armed = journal.Journal.append, list[str]()

    def append_and_end_a_host(own: journal.Journal, kind: str, **fields: Any) -> journal.Event:
        event = append(own, kind, **fields)
        if kind == progress.ARMED:  # all have their orders, and T0 is still to come
            armed.append(kind)
            if len(armed) == 1:
                LocalProvider().terminate(session.run.id, ["client-002"])
        return event

    monkeypatch.setattr(journal.Journal, "append", append_and_end_a_host)
    use_own_port(project)
    chosen = {"clients": "2", "repetitions": 2, "tests": "direct-tcp", "duration_s": 2}
    with phases.start(**chosen, isolation="loopback", name="lost") as session:
        session.release_at_exit()
        phases.launch(session)
        phases.configure(session)
        phases.measure(session)
        log = log_of(session.run)
        phases.release(session)
    first, second, *_ = log.claims
    assert first.end in ("void", "failed")
    assert "client-002" in first.why
    assert (second.repetition, second.attempt, second.end) == (1, 2, "done")
    assert counting(log) == [(1, 2), (2, 2)]
    assert left_of(session.run) == []
