"""What answers say about a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import HostError
from perfkit.measure.clocks import certain_error_s, choose_best
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
