"""A campaign's journal written line by line, for tests of what is read from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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
            load_bps=todo.load_bps,
        )

    def begin(self, repetition: int, *clients: int) -> None:
        self.add(blocks.BEGUN, repetition=repetition, clients=list(clients))


def next_of(plan: Design, lines: Lines) -> Todo:
    found = blocks.next_block(plan, lines.log)
    assert found is not None
    return found
