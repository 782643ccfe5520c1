"""How far a campaign has come, by its journal alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from campaign_lines import Lines, design, next_of

from perfkit.campaign import blocks
from perfkit.campaign.blocks import Todo
from perfkit.runs.design import BASE, Design


def run_all(plan: Design, lines: Lines) -> Iterator[Todo]:
    while (todo := blocks.next_block(plan, lines.log)) is not None:
        lines.claim(todo)
        lines.add(blocks.DONE, block=todo.number, seconds=3.0)
        yield todo


def test_each_place_of_a_repetition_is_run_once_in_the_drawn_order() -> None:
    plan, lines = design(variants=(BASE, "other")), Lines()
    lines.begin(1, 1, 2)
    assert [todo.planned for todo in run_all(plan, lines)] == list(plan.order[0])
    lines.begin(2, 1, 2)
    assert [todo.planned for todo in run_all(plan, lines)] == list(plan.order[1])
    assert [claim.block for claim in lines.log.claims] == list(range(1, 9))
    assert lines.log.spent_s == 24.0


def test_a_repetition_visits_only_the_counts_that_it_was_begun_for() -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 2)
    assert [todo.planned.clients for todo in run_all(plan, lines)] == [2]


def test_a_void_block_is_repeated_at_once_under_another_number() -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 1, 2)
    first = next_of(plan, lines)
    lines.claim(first)
    lines.add(blocks.VOID, block=1, rule="other-load", why="busy")
    lines.add(blocks.DONE, block=1, seconds=5.0)
    again = next_of(plan, lines)
    assert again.planned == first.planned
    assert (again.number, again.attempt) == (2, 2)
    (claim,) = lines.log.claims
    assert (claim.end, claim.why, claim.seconds) == ("void", "other-load: busy", 5.0)


def test_a_place_that_never_counts_is_given_up_and_named() -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 1, 2)
    first = next_of(plan, lines).planned
    for number in range(1, blocks.MOST_ATTEMPTS + 1):
        lines.claim(next_of(plan, lines))
        lines.add(blocks.FAILED, block=number, reason="too few")
    assert next_of(plan, lines).planned != first
    assert [claim.why for claim in blocks.given_up(plan, lines.log)] == ["too few"]


def test_attempts_that_a_killed_process_cut_off_are_not_held_against_a_place() -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 1, 2)
    first = next_of(plan, lines).planned
    for number in range(1, 2 * blocks.MOST_ATTEMPTS):
        lines.claim(next_of(plan, lines))
        lines.add(blocks.FAILED, block=number, reason="killed", interrupted=True)
    assert next_of(plan, lines).planned == first


@pytest.mark.parametrize(
    ("kind", "fields", "is_open"),
    [
        ("phase-started", {"phase": "measure"}, True),
        (blocks.VOID, {"rule": "clock", "why": "it moved"}, False),
        (blocks.FAILED, {"reason": "too few"}, False),
        (blocks.DONE, {"seconds": 1.0}, False),
    ],
)
def test_a_claimed_block_is_open_until_its_journal_says_how_it_ended(
    kind: str, fields: dict[str, Any], *, is_open: bool
) -> None:
    plan, lines = design(), Lines()
    lines.begin(1, 1, 2)
    lines.claim(next_of(plan, lines))
    lines.add(kind, **({"block": 1} | fields))
    assert (lines.log.open is not None) == is_open


def test_an_answer_ends_it() -> None:
    lines = Lines()
    assert lines.log.stop == ""
    lines.add(blocks.ANSWER, stop="budget", why="spent")
    assert lines.log.stop == "budget"
