"""How far a campaign has come, by its journal alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perfkit.campaign import blocks
from perfkit.campaign.blocks import BlockLog, Todo
from perfkit.runs.design import BASE, Design, draw
from perfkit.runs.journal import Event

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def design(**more: Any) -> Design:
    clients, variants = more.pop("clients", (1, 2)), more.pop("variants", (BASE,))
    return Design(
        name="demo",
        created_utc=BEGAN.isoformat(),
        seed=1,
        clients=clients,
        variants=variants,
        tests=("direct-tcp",),
        repetitions=2,
        precision=None,
        max_repetitions=2,
        order=draw(1, clients=clients, variants=variants, tests=("direct-tcp",), repetitions=2),
        **more,
    )


class Lines:
    """A journal's events, one second apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: str, **fields: Any) -> None:
        seq = len(self.events)
        at = BEGAN + timedelta(seconds=seq)
        self.events.append(Event(seq=seq, t_utc=at, kind=kind, fields=fields))

    @property
    def log(self) -> BlockLog:
        return blocks.replay(self.events)

    def claim(self, todo: Todo) -> None:
        self.add(
            blocks.CLAIMED,
            block=todo.number,
            repetition=todo.planned.repetition,
            clients=todo.planned.clients,
            variant=todo.planned.variant,
            attempt=todo.attempt,
            folder=f"blocks/{todo.number:04d}",
            hosts=["server", "client-001"],
        )

    def begin(self, repetition: int, *clients: int) -> None:
        self.add(blocks.BEGUN, repetition=repetition, clients=list(clients))


def next_of(plan: Design, lines: Lines) -> Todo:
    found = blocks.next_block(plan, lines.log)
    assert found is not None
    return found


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
