"""Which datagrams of a trial count as lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from udp_runs import SLOT, say_of_whole, udp_run

from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.trial_loss import TrialLoss, counted_window, trial_loss
from perfkit.campaign.void_rules import why_void
from perfkit.logs.reader import read_run
from perfkit.runs.design import SEARCH_VOID_RULES
from perfkit.runs.folder import Run

FIRST, SECOND = "client-001", "client-002"
NONE = [0] * 12


def loss(run: Run) -> TrialLoss | None:
    logs = read_run(run)
    return trial_loss(logs, outcomes(logs), logs.slots[0])


def at(**lost: int) -> list[int]:
    """Twelve seconds with so many lost in `s0`, `s5` and so on."""
    return [lost.get(f"s{second}", 0) for second in range(12)]


def whole_seconds(run: Run) -> int:
    """Of the twelve, how many are counted."""
    found = loss(run)
    assert found is not None
    assert found.sent % 100 == 0
    return found.sent // 100


def test_the_first_third_does_not_count_and_the_rest_does_to_the_last_datagram(
    tmp_path: Path,
) -> None:
    run = udp_run(tmp_path / "run", {FIRST: at(s0=90, s1=50, s6=3, s11=4)})
    assert 7 <= whole_seconds(run) <= 9  # the window begins where all clients are active
    found = loss(run)
    assert found is not None
    assert found.lost == 7
    logs = read_run(run)
    window = counted_window(logs, outcomes(logs), logs.slots[0])
    assert window is not None
    assert window.length_s == pytest.approx(8, abs=1)


def test_clients_are_added_before_a_share_is_made(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: at(s7=10), SECOND: at(s2=99, s8=2)})
    found = loss(run)
    assert found is not None
    assert found.lost == 12
    assert found.sent == 200 * (found.sent // 200)


@pytest.mark.parametrize("cut_off", [(), (SECOND,)])
def test_a_client_of_which_nothing_arrives_any_more_has_lost_the_rest(
    tmp_path: Path, cut_off: Sequence[str]
) -> None:
    gone = [*NONE[:8], 100, 100, 100, 100]
    run = udp_run(
        tmp_path / "run", {FIRST: NONE, SECOND: gone}, without_summary=cut_off,
        silent_from={SECOND: 8},
    )  # fmt: skip
    found = loss(run)
    assert found is not None
    assert found.lost == 400
    assert found.sent % 200 == 0


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param("1211/2381", id="the last datagram, sent again, taken for one far ahead"),
        pytest.param("39/1209", id="the last datagram, sent ten times, taken for ten"),
        pytest.param("0/1200", id="datagrams of other clients, taken off as out of order"),
    ],
)
def test_the_seconds_say_what_was_lost_whatever_the_report_of_the_whole_says(
    tmp_path: Path, whole: str
) -> None:
    """What iperf 2.1.8's receiver printed of 1,000 clients."""
    run = udp_run(tmp_path / "run", {FIRST: at(s6=30), SECOND: NONE})
    say_of_whole(run, "30/1200", whole)
    found = loss(run)
    assert found is not None
    assert found.lost == 30
    assert found.sent % 200 == 0


@pytest.mark.parametrize(("silent_s", "lost"), [(11, 0), (10, 200)])
def test_of_a_stream_whose_end_was_not_read_the_last_second_counts_as_nothing(
    tmp_path: Path, silent_s: int, lost: int
) -> None:
    run = udp_run(
        tmp_path / "run", {FIRST: NONE, SECOND: NONE}, without_summary=(FIRST,),
        silent_from={FIRST: silent_s},
    )  # fmt: skip
    found = loss(run)
    assert found is not None
    assert found.lost == lost


def test_without_the_seconds_nobody_knows_what_was_lost_after_the_start(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: NONE}, silent_from={FIRST: 0})
    assert loss(run) is None
    rule, why = why_void(run, read_run(run), ("loss-unknown",)) or ("", "")
    assert rule == "loss-unknown"
    assert why.startswith(SLOT)


def test_a_trial_whose_loss_is_known_is_not_void(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: at(s6=50), SECOND: NONE})
    assert why_void(run, read_run(run), SEARCH_VOID_RULES) is None


def test_a_generator_that_is_slow_makes_the_trial_void_by_its_own_rule(tmp_path: Path) -> None:
    run = udp_run(tmp_path / "run", {FIRST: NONE}, rate_bps=2e6)
    rule, _ = why_void(run, read_run(run), SEARCH_VOID_RULES) or ("", "")
    assert rule == "offered-load"
