"""What answers say about a clock."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import HostError
from perfkit.measure.clocks import ANSWER_WITH_TIME, certain_error_s, choose_best
from perfkit.ssh.remote import TimedReply

NOW_S = 1_795_000_000.0


def answer(offset_s: float, out_s: float, back_s: float, sent_utc_s: float = NOW_S) -> TimedReply:
    """What a host says whose clock is `offset_s` ahead, with these delays there and back."""
    line = str(round((sent_utc_s + out_s + offset_s) * 1e9))
    return TimedReply(sent_utc_s=sent_utc_s, received_utc_s=sent_utc_s + out_s + back_s, line=line)


def test_the_shortest_round_trip_wins() -> None:
    best = choose_best("c", [answer(2, 0.5, 0.1), answer(2, 0.01, 0.03), answer(2, 0.2, 0.2)])
    assert best.bound_s == pytest.approx(0.02, abs=1e-6)
    assert best.offset_s == pytest.approx(1.99, abs=1e-6)
    assert best.measured_utc_s == pytest.approx(NOW_S + 0.02, abs=1e-6)


@given(
    offset_s=st.floats(-1000, 1000),
    delays=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=10),
)
def test_the_true_offset_lies_within_the_bound_and_a_start_by_it_within_two(
    offset_s: float, delays: list[tuple[float, float]]
) -> None:
    best = choose_best("c", [answer(offset_s, out_s, back_s) for out_s, back_s in delays])
    assert abs(best.offset_s - offset_s) <= best.bound_s + 1e-5
    left_s = offset_s - certain_error_s(best.to_dict("before"))
    assert abs(left_s) <= 2 * best.bound_s + 1e-5


@given(out_s=st.floats(0.001, 5), back_s=st.floats(0.001, 5))
def test_a_right_clock_is_left_as_it_is(out_s: float, back_s: float) -> None:
    assert certain_error_s(choose_best("c", [answer(0, out_s, back_s)]).to_dict("before")) == 0


@pytest.mark.parametrize("line", ["", "1795000000N", "-5", "date: illegal", "١٢"])
def test_an_answer_that_is_no_time_names_the_host_and_the_remedy(line: str) -> None:
    with pytest.raises(HostError, match=r"client-007: .*GNU coreutils"):
        choose_best("client-007", [TimedReply(sent_utc_s=1, received_utc_s=2, line=line)])


def test_a_sample_is_written_with_host_and_when() -> None:
    sample = choose_best("client-001", [answer(0, 0.01, 0.01)])
    row = sample.to_dict("before")
    assert list(row) == ["host", "when", "measured_utc_s", "offset_s", "bound_s"]
    assert (row["host"], row["when"]) == ("client-001", "before")


def answers_of(questions: int, path: str) -> list[int]:
    """What a host with such a PATH answers, microseconds."""
    done = subprocess.run(
        ["/bin/sh", "-c", ANSWER_WITH_TIME],
        input="time\n" * questions,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [int(line) // 1000 for line in done.stdout.splitlines()]


def tools(folder: Path, **scripts: str) -> str:
    """A folder for PATH with programs of our own."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_each_question_is_answered_with_the_time(tmp_path: Path) -> None:
    begun_us = time.time_ns() // 1000
    found = answers_of(10, "/usr/bin:/bin")
    ended_us = time.time_ns() // 1000
    assert len(found) == 10
    assert [begun_us, *found, ended_us] == sorted([begun_us, *found, ended_us])


def test_bash_answers_without_starting_a_program_for_each_question(tmp_path: Path) -> None:
    started = tmp_path / "started"
    shim = f'echo >>{started}; exec /bin/date "$@"'
    answers_of(10, f"{tools(tmp_path / 'bin', date=shim)}:/usr/bin:/bin")
    assert len(started.read_text()) == 1


def test_the_time_is_that_of_the_hosts_own_date_whatever_bash_shows(tmp_path: Path) -> None:
    slow = "echo $(($(/bin/date +%s%N) - 5000000000))"
    late_us = [
        time.time_ns() // 1000 - shown
        for shown in answers_of(3, f"{tools(tmp_path / 'bin', date=slow)}:/usr/bin:/bin")
    ]
    assert min(late_us) >= 5_000_000


def test_a_host_without_bash_answers_by_its_date(tmp_path: Path) -> None:
    begun_us = time.time_ns() // 1000
    found = answers_of(3, tools(tmp_path / "bin", date='exec /bin/date "$@"'))
    assert [begun_us, *found] == sorted([begun_us, *found])
    assert len(found) == 3
