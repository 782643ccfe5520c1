"""A campaign whose controller is killed goes on when the same command is given again.

The random tier, thirty kills, is `python -m tests.reliability R11`; here are two moments of most
consequence: half of the hosts configured, and the tests running with nobody there.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reliability.campaigns import Campaign, make_project, problems_of

from perfkit.campaign import phases
from perfkit.errors import JournalError, RunError
from perfkit.runs import journal
from perfkit.runs.folder import Run

pytestmark = [pytest.mark.root, pytest.mark.slow]

EXPECTED = [("01-direct-tcp", "2", "2", "0"), ("02-tunnel-tcp", "2", "2", "0")]


@pytest.fixture
def project(tmp_path: Path, needs_tools: Callable[..., None]) -> Path:
    needs_tools("sshd", "iperf", "openvpn")
    return make_project(tmp_path)


def kill_when(campaign: Campaign, moment: Callable[[Run], bool]) -> Run:
    """Give the command and kill it as soon as its run has come to a moment."""
    process = campaign.start()
    give_up = time.monotonic() + 200
    while not any(moment(run) for run in campaign.runs()):
        assert process.poll() is None, campaign.log.read_text()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = campaign.runs()
    return run


def has_event(run: Run, kind: str, **fields: object) -> bool:
    try:
        events = journal.read(run.journal_path).events
    except JournalError:  # not there yet
        return False
    return any(e.kind == kind and e.fields.items() >= fields.items() for e in events)


def begun(run: Run) -> list[str]:
    """Recipes begun, as the hosts' logs tell."""
    logs = sorted((run.root / "hosts").glob("*/configure.log"))
    return [name for log in logs for name in re.findall(r"recipe (\w+): begins", log.read_text())]


def check_finished(campaign: Campaign) -> Run:
    assert problems_of(campaign, EXPECTED[: 1 if campaign.tests == "direct-tcp" else 2]) == []
    (run,) = campaign.runs()  # taken up, not begun anew
    return run


def test_a_controller_killed_while_it_configures_is_replaced_and_no_recipe_is_repeated(
    project: Path,
) -> None:
    campaign = Campaign(project, "halfway")

    def one_recipe_done(run: Run) -> bool:
        logs = [log.read_text() for log in (run.root / "hosts").glob("*/configure.log")]
        return any(re.search("recipe .*: done", log) for log in logs)

    killed = kill_when(campaign, one_recipe_done)
    done = [log for log in killed.root.glob("hosts/*/configure.log") if ": done" in log.read_text()]
    campaign.finish()
    run = check_finished(campaign)
    assert "taken up: " in campaign.log.read_text()
    assert all(log.read_text().count("begins") == 1 for log in done)
    assert len(set(begun(run))) == 2


def test_hosts_go_on_alone_when_the_controller_dies_in_the_tests_and_are_not_started_again(
    project: Path,
) -> None:
    campaign = Campaign(project, "alone", tests="direct-tcp")
    killed = kill_when(campaign, lambda run: has_event(run, "armed"))
    timetable = killed.timetable_path.read_bytes()
    second = campaign.start()  # while it works, a third is told who it is
    try:
        while not has_event(killed, "taken-up"):
            assert second.poll() is None, campaign.log.read_text()
            time.sleep(0.02)
        second.send_signal(signal.SIGSTOP)  # whatever becomes of us, it is still at work
        with pytest.raises(RunError, match=rf"pid {second.pid}.*boot .*since"):
            phases.attach(killed.id, runs_dir=str(project / "runs"))
    finally:
        second.send_signal(signal.SIGCONT)
        assert second.wait(timeout=200) == 0, campaign.log.read_text()
    run = check_finished(campaign)
    assert run.timetable_path.read_bytes() == timetable
    whens = [row["when"] for row in run.load_json(run.clocks_path)]
    assert whens == ["before"] * 3 + ["after"] * 3
