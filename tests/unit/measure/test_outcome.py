"""What hosts recorded, read and judged; the shell side runs in a real sh."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfkit.measure.outcome import judge, outcome_script, parse_outcome, record_names
from perfkit.model import Host, Role, Slot, TestSpec

SLOT = Slot(
    name="01-a",
    test=TestSpec(name="a", script=Path("a"), server_script=None, duration_s=10),
    start_s=0,
)
GOOD = {
    "planned_start_utc_s": 1000.0,
    "planned_end_utc_s": 1010.0,
    "start_utc_s": 1000.01,
    "end_utc_s": 1010.2,
    "exit_status": 0,
    "timed_out": False,
}


def outcome_of(
    folder: Path, names: tuple[str, ...], when_done: str = ":", wait_s: float = 0.0
) -> str:
    host = Host(name="c", role=Role.CLIENT, address="127.0.0.1", host_key="k", workdir=str(folder))
    script = outcome_script(host, names, when_done, wait_s=wait_s)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_a_servers_records_have_names_of_their_own() -> None:
    assert record_names([SLOT], Role.CLIENT) == ("01-a",)
    assert record_names([SLOT], Role.SERVER) == ("01-a.server",)


def test_a_record_and_what_the_script_said_last_come_back(logs: Path) -> None:
    (logs / "01-a.events.json").write_text(json.dumps(GOOD, indent=2))
    (logs / "01-a.log").write_text("first\nlast \x1b[31mword\n")
    outcome = parse_outcome(outcome_of(logs.parent, ("01-a",)))
    assert outcome.records == {"01-a": GOOD}
    assert outcome.said == {"01-a": "last word"}  # no terminal escape gets through
    assert outcome.pending == ()


def test_a_host_tidies_up_only_when_all_its_records_are_there(logs: Path) -> None:
    done = f"touch '{logs.parent}/done'"
    (logs / "01-a.events.json").write_text(json.dumps(GOOD))
    (logs / "01-a.log").touch()
    outcome = parse_outcome(outcome_of(logs.parent, ("01-a", "02-b"), done))
    assert outcome.pending == ("02-b",)
    assert not (logs.parent / "done").exists()
    outcome_of(logs.parent, ("01-a",), done)
    assert (logs.parent / "done").exists()


def test_a_host_waits_itself_for_a_record_that_comes_and_is_not_asked_again(logs: Path) -> None:
    host = Host(name="c", role=Role.CLIENT, address="::1", host_key="k", workdir=str(logs.parent))
    (logs / "01-a.log").touch()
    script = outcome_script(host, ("01-a",), "echo tidy", wait_s=600)
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as asked:
        part = logs / "part"
        part.write_text(json.dumps(GOOD))
        part.rename(logs / "01-a.events.json")
        said, _ = asked.communicate(timeout=60)
    outcome = parse_outcome(said)
    assert (outcome.records, outcome.pending) == ({"01-a": GOOD}, ())
    assert said.splitlines()[-1] == "tidy"


def test_a_host_whose_record_does_not_come_says_so_when_the_wait_is_over(logs: Path) -> None:
    assert parse_outcome(outcome_of(logs.parent, ("01-a",), wait_s=0.5)).pending == ("01-a",)


def test_a_record_that_cannot_be_used_is_named_with_the_reason_and_is_not_waited_for() -> None:
    lacking = json.dumps({**GOOD, "end_utc_s": None})
    outcome = parse_outcome(
        'record 01-a {"slot": \nrecord 02-b [1]\npending 03-c\nnoise\n'
        f"record 04-d {lacking}\nrecord 05-e {'[' * 100_000}\n"
        'record 06-f {"planned_start_utc_s": []}\n'
    )
    assert outcome.records == {}
    assert outcome.pending == ("03-c",)
    names = ("01-a", "02-b", "04-d", "05-e", "06-f")
    assert tuple(outcome.refused) == names
    problems = judge(Role.CLIENT, names, outcome, [1000.0] * 5, late_s=1.0)
    expected = ("not JSON", "an? .*object expected", "lacks end_utc_s", "nested", "expected, got")
    for name, problem, words in zip(names, problems, expected, strict=True):
        assert re.search(f"^{name} has a record that is refused: .*{words}", problem)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"start_utc_s": 999.997}, None),  # the file system's clock ticks
        (
            {"start_utc_s": None},
            "01-a was not started: its start time had passed (last output: bye)",
        ),
        ({"start_utc_s": 1002.04}, "01-a started 2.0 s late (last output: bye)"),
        ({"timed_out": True, "exit_status": 124}, None),  # its log decides: the analysis
        ({"exit_status": 7}, "01-a ended with exit status 7 (last output: bye)"),
    ],
)
def test_each_way_to_fail_is_said_in_words(change: dict[str, Any], problem: str | None) -> None:
    text = f"record 01-a {json.dumps({**GOOD, **change})}\nsaid 01-a bye\n"
    problems = judge(Role.CLIENT, ("01-a",), parse_outcome(text), [1000.0], late_s=0.5)
    assert problems == ([problem] if problem else [])


def test_how_late_is_too_late_is_the_callers_to_say() -> None:
    outcome = parse_outcome(f"record 01-a {json.dumps({**GOOD, 'start_utc_s': 1002.04})}\n")
    assert judge(Role.CLIENT, ("01-a",), outcome, [1000.0], late_s=3.0) == []


def test_a_slot_without_a_record_is_a_problem() -> None:
    assert judge(Role.CLIENT, ("01-a",), parse_outcome("pending 01-a\n"), [1000.0], late_s=0.5) == [
        "01-a has no record: it did not run, or did not end"
    ]


def test_a_record_of_another_start_proves_nothing() -> None:
    outcome = parse_outcome(f"record 01-a {json.dumps(GOOD)}\n")
    assert judge(Role.CLIENT, ("01-a",), outcome, [1000.0], late_s=0.5) == []
    assert judge(Role.CLIENT, ("01-a",), outcome, [400.0], late_s=0.5) == [
        "01-a has only a record of another start"
    ]


@pytest.mark.parametrize("status", [0, 130, 137])
def test_a_server_may_end_by_any_signal_but_not_before_its_slot(status: int) -> None:
    for end_utc_s, expected in (
        (1010.2, []),
        (1005.0, [f"01-a ended before its slot was over, with exit status {status}"]),
    ):
        record = json.dumps({**GOOD, "end_utc_s": end_utc_s, "exit_status": status})
        outcome = parse_outcome(f"record 01-a {record}\n")
        assert judge(Role.SERVER, ("01-a",), outcome, [1000.0], late_s=0.5) == expected
