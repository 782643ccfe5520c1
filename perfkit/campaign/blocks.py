"""How far a campaign has come: its journal's lines about blocks, replayed; pure.

::

    repetition-begun {repetition, clients}             the counts that it visits
    block-claimed {block, repetition, clients, variant, attempt, folder, hosts, rate_bps, trial}
    block-trial {block, load_bps, offered_bps, lost, sent, limit}   what its search knows of it
    block-void {block, rule, why}                      measured, and does not count
    block-failed {block, reason, interrupted}          not measured
    block-done {block, seconds}                        over; after a void one as well
    answer {stop}                                      no block is run any more

In a campaign of searches a place of the design is over when its search is: each block there is the trial
that `perfkit.analysis.capacity_search` asks for after those before it.

A block is claimed before anything of it is made, so its number is never given twice. A process that
is killed leaves at most one block that is claimed and has no end: the next one settles it first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from perfkit.analysis import capacity_search
from perfkit.analysis.capacity_search import SearchState, Trial
from perfkit.runs.design import Design, PlannedBlock
from perfkit.runs.journal import Event
from perfkit.settings.capacity import load_bounds

MOST_ATTEMPTS = 3  # at one place of the design; those that a killed process cut off do not count
End = Literal["", "done", "void", "failed"]
BEGUN, CLAIMED, VOID, FAILED, DONE, ANSWER = (
    "repetition-begun",
    "block-claimed",
    "block-void",
    "block-failed",
    "block-done",
    "answer",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A block that was begun.

    Attributes:
        folder: Its run folder, below the campaign's.
        hosts: The server and its clients.
        end: Empty: it has none yet.
        why: Why it is void or failed.
        interrupted: It failed because its process was killed.
        seconds: From its claim to its end.
        load_bps: What all its clients together were to offer, in a trial of a search.
        trial: What its search knows of it; None: nothing, or it is of none.
    """

    block: int
    repetition: int
    clients: int
    variant: str
    attempt: int
    folder: str
    hosts: tuple[str, ...]
    claimed_utc: datetime
    end: End = ""
    why: str = ""
    interrupted: bool = False
    seconds: float = 0.0
    load_bps: float | None = None
    trial: Trial | None = None

    @property
    def rate_bps(self) -> float | None:
        """What each client was to offer, see `rate_each`."""
        return rate_each(self.load_bps, self.clients)

    @property
    def is_known(self) -> bool:
        """Whether it is over and says something: as a block that counts, or as a trial."""
        return self.end == "done" or (self.end == "void" and self.trial is not None)

    def is_at(self, planned: PlannedBlock) -> bool:
        """Whether this is a block at that place of the design."""
        own = (self.repetition, self.clients, self.variant)
        return own == (planned.repetition, planned.clients, planned.variant)

    def place_in(self, design: Design) -> PlannedBlock:
        """The place of the design that it is a block of."""
        (planned,) = (it for it in design.order[self.repetition - 1] if self.is_at(it))
        return planned


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLog:
    """What a journal says about blocks.

    Attributes:
        claims: In the order run; block n is the n-th.
        repetitions: The client counts that each repetition visits, as far as they were begun.
        stop: Why no block is run any more; empty: it goes on.
    """

    claims: tuple[Claim, ...] = ()
    repetitions: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    stop: str = ""

    def __str__(self) -> str:
        ends = Counter(claim.end or "under way" for claim in self.claims)
        counts = ", ".join(
            f"{ends[end]} {end}" for end in ("done", "void", "failed", "under way") if ends[end]
        )
        stop = f" (no more: {self.stop})" if self.stop else ""
        return f"blocks: {counts or 'none yet'}{stop}"

    @property
    def open(self) -> Claim | None:
        """The block that has no end: the last one, or none."""
        return self.claims[-1] if self.claims and not self.claims[-1].end else None

    @property
    def spent_s(self) -> float:
        """Seconds of all blocks that have an end."""
        return sum(claim.seconds for claim in self.claims)

    def at(self, planned: PlannedBlock) -> list[Claim]:
        """The attempts at a place of the design."""
        return [claim for claim in self.claims if claim.is_at(planned)]


def replay(events: Iterable[Event]) -> BlockLog:
    """Go through a journal's events; those that are not about blocks are passed over."""
    claims: dict[int, Claim] = {}
    repetitions: dict[int, tuple[int, ...]] = {}
    stop = ""
    for event in events:
        fields = event.fields
        if event.kind == BEGUN:
            repetitions[int(fields["repetition"])] = tuple(fields["clients"])
        elif event.kind == ANSWER:
            stop = str(fields["stop"])
        elif event.kind == CLAIMED:
            known = {name: fields[name] for name in _CLAIMED} | {"load_bps": fields.get("load_bps")}
            known["hosts"] = tuple(known["hosts"])
            claims[known["block"]] = Claim(**known, claimed_utc=event.t_utc)
        elif event.kind == capacity_search.TRIAL:
            number = int(fields["block"])
            claims[number] = replace(claims[number], trial=capacity_search.read_trial(fields))
        elif event.kind in (VOID, FAILED, DONE):
            number = int(fields["block"])
            claims[number] = _ended(claims[number], event)
    return BlockLog(claims=tuple(claims.values()), repetitions=repetitions, stop=stop)


_CLAIMED = ("block", "repetition", "clients", "variant", "attempt", "folder", "hosts")


def _ended(claim: Claim, event: Event) -> Claim:
    seconds = (event.t_utc - claim.claimed_utc).total_seconds()
    if event.kind == DONE:  # a void block is over too, and stays void
        return replace(claim, end=claim.end or "done", seconds=float(event.fields["seconds"]))
    if event.kind == VOID:
        why = f"{event.fields['rule']}: {event.fields['why']}"
        return replace(claim, end="void", why=why, seconds=seconds)
    return replace(
        claim,
        end="failed",
        why=str(event.fields["reason"]),
        interrupted=bool(event.fields.get("interrupted")),
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """The next block: where it is in the design, its number, and the how-manieth attempt it is.

    Attributes:
        load_bps: What all clients together are to offer, in a trial of a search.
    """

    planned: PlannedBlock
    number: int
    attempt: int
    load_bps: float | None = None

    @property
    def rate_bps(self) -> float | None:
        """The same of each client, see `rate_each`."""
        return rate_each(self.load_bps, self.planned.clients)


def rate_each(load_bps: float | None, clients: int) -> float | None:
    """A client's share of a load, in whole bits a second, as its script is told it."""
    return None if load_bps is None else float(round(load_bps / clients))


def places(design: Design, log: BlockLog, repetition: int) -> list[PlannedBlock]:
    """The blocks of a repetition that was begun, in their order."""
    visited = log.repetitions[repetition]
    return [planned for planned in design.order[repetition - 1] if planned.clients in visited]


def search_state(design: Design, log: BlockLog, planned: PlannedBlock) -> SearchState:
    """How far the search at a place has come.

    Raises:
        RunError: the trials there are not those of this search.
    """
    assert design.capacity is not None
    return capacity_search.advance(
        design.capacity,
        load_bounds(design.capacity, planned.clients),
        [it.trial for it in log.at(planned) if it.is_known and it.trial is not None],
    )


def tried(design: Design, log: BlockLog, planned: PlannedBlock) -> list[Claim]:
    """The attempts at a place that are about the same: of a search, those since its last trial."""
    found = log.at(planned)
    last = max((n for n, it in enumerate(found, 1) if it.is_known), default=0)
    return found if design.capacity is None else found[last:]


def is_over(design: Design, log: BlockLog, planned: PlannedBlock) -> bool:
    """A place where nothing is left to do: measured, or given up."""
    return _wanted(design, log, planned) is None


def next_block(design: Design, log: BlockLog) -> Todo | None:
    """What is to be run next in the repetitions that were begun; None: they are over.

    A void block is repeated at once: what it is compared with was run just before.
    """
    for repetition in sorted(log.repetitions):
        for planned in places(design, log, repetition):
            if (todo := _wanted(design, log, planned)) is not None:
                return todo
    return None


def _wanted(design: Design, log: BlockLog, planned: PlannedBlock) -> Todo | None:
    """The block that is to be run at a place; None: the place is over."""
    attempts, load_bps = tried(design, log, planned), None
    if (
        sum(bool(it.end) and not it.interrupted and not it.is_known for it in attempts)
        >= MOST_ATTEMPTS
    ):
        return None
    if design.capacity is None:
        if any(claim.end == "done" for claim in attempts):
            return None
    elif (load_bps := search_state(design, log, planned).next_bps) is None:
        return None
    return Todo(
        planned=planned,
        number=len(log.claims) + 1,
        attempt=len(attempts) + 1,
        load_bps=load_bps,
    )


def given_up(design: Design, log: BlockLog) -> list[Claim]:
    """The last attempt at each place that was tried as often as may be, and never counted."""
    found = []
    for repetition in sorted(log.repetitions):
        for planned in places(design, log, repetition):
            attempts = tried(design, log, planned)
            is_unknown = bool(attempts) and not any(it.is_known for it in attempts)
            if is_unknown and is_over(design, log, planned):
                found.append(attempts[-1])
    return found
