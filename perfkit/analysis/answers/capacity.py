"""What the searches of a campaign found: the bounds of each, its trials, and how far they lie apart.

A search says between which loads the capacity lies, and no more: bounds are on a grid as wide as its
goal, so that two searches that agree to the last digit do not know it any better. There is no interval
of their mean, no law over clients and no verdict about variants therefore; what they differ by is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perfkit.analysis.campaign_cells import BlockRecord, finished_blocks
from perfkit.analysis.capacity_search import SearchState, Trial, advance
from perfkit.model import CapacityGoal
from perfkit.runs import journal
from perfkit.runs.design import Design
from perfkit.runs.folder import Run
from perfkit.settings.capacity import load_bounds

FEW_EXPECTED = (
    3.0  # datagrams that a trial would lose at the goal; of fewer it may lose none by chance
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBlock:
    """A trial, the block that it was, and where that is."""

    block: int
    folder: str
    trial: Trial
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search: a client count, a variant, a repetition.

    Attributes:
        state: What its trials say.
        why_open: Why it has not come to its end; empty: it has.
    """

    clients: int
    variant: str
    repetition: int
    goal: CapacityGoal
    blocks: tuple[TrialBlock, ...]
    state: SearchState
    why_open: str = ""

    def at(self, load_bps: float | None) -> list[TrialBlock]:
        """The trials of a load."""
        return [it for it in self.blocks if it.trial.load_bps == load_bps]

    @property
    def conditional_loss_ratio(self) -> float:
        """Loss at the lower bound in the trial that decides; NaN: there is none."""
        lower, through = self.state.lower_bps, self.state.conditional_bps
        return 1.0 - through / lower if lower is not None and through is not None else math.nan

    @property
    def upper_loss_ratio(self) -> float:
        """Least loss of the trials for which the upper bound is one; NaN: there is none, or none known."""
        bad = [it.trial for it in self.at(self.state.upper_bps) if not it.is_good]
        known = [it.loss_ratio for it in bad if not it.limit]
        return min(known, default=math.nan)

    @property
    def limit(self) -> str:
        """What, in place of the network, the upper bound is one for; empty: nothing, or there is none."""
        bad = [it.trial for it in self.at(self.state.upper_bps) if not it.is_good]
        return next((it.limit for it in bad if it.limit), "")

    @property
    def is_of_few(self) -> bool:
        """Whether trials of the lower bound had too few datagrams to show the loss asked for."""
        sent = [it.trial.sent for it in self.at(self.state.lower_bps) if it.is_good]
        return bool(sent) and 0 < min(sent) * self.goal.loss_ratio < FEW_EXPECTED

    def to_record(self) -> dict[str, Any]:
        """As answer.json keeps it."""
        return {
            "clients": self.clients,
            "variant": self.variant,
            "repetition": self.repetition,
            "lower_bps": self.state.lower_bps,
            "upper_bps": self.state.upper_bps,
            "conditional_bps": self.state.conditional_bps,
            "loss_at_lower": self.conditional_loss_ratio,
            "loss_at_upper": self.upper_loss_ratio,
            "limit": self.limit,
            "why_open": self.why_open,
            "trials": [
                {
                    "block": it.block,
                    **asdict(it.trial),
                    "offered_bps": it.trial.offered_bps if it.trial.offered_bps > 0 else None,
                }
                for it in self.blocks
            ],
        }


def find_searches(run: Run, plan: Design) -> list[Search]:
    """The searches of a campaign that have a trial, in the order of clients, variants, repetitions.

    Raises:
        RunError: trials are not those of their search. JournalError: the journal is damaged.
    """
    if plan.capacity is None:
        return []
    records = finished_blocks(run)
    made = [
        _search(run, plan, [it for it in records if _place(it) == (clients, variant, repetition)])
        for clients in plan.clients
        for variant in plan.variants
        for repetition in range(1, plan.max_repetitions + 1)
    ]
    return [search for search in made if search is not None]


def _place(record: BlockRecord) -> tuple[int, str, int]:
    return record.clients, record.variant, record.repetition


def _search(run: Run, plan: Design, own: Sequence[BlockRecord]) -> Search | None:
    assert plan.capacity is not None
    known = [
        TrialBlock(
            block=it.block,
            folder=it.folder,
            trial=it.trial,
            is_good=it.trial.is_good(plan.capacity),
        )
        for it in own
        if it.trial is not None
    ]
    if not known:
        return None
    first = own[0]
    state = advance(
        plan.capacity, load_bounds(plan.capacity, first.clients), [it.trial for it in known]
    )
    why_open = f"it had its {len(known)} trials" if state.is_cut else ""
    if state.next_bps is not None:
        why_open = _why_open(run, first, after=known[-1].block)
    return Search(
        clients=first.clients,
        variant=first.variant,
        repetition=first.repetition,
        goal=plan.capacity,
        blocks=tuple(known),
        state=state,
        why_open=why_open,
    )


_STOPS = {"budget": "the budget ended it", "stopped": "a person stopped it"}


def _why_open(run: Run, place: BlockRecord, *, after: int) -> str:
    """Why a search with a trial left to run was left: what its last attempts were, or who ended all."""
    why, claimed = "", set[int]()
    for event in journal.read(run.journal_path).events:
        fields = event.fields
        if event.kind == "block-claimed":
            own = (fields["clients"], fields["variant"], fields["repetition"])
            claimed |= {int(fields["block"])} if own == _place(place) else set()
        elif event.kind in ("block-void", "block-failed") and int(fields["block"]) in claimed:
            if int(fields["block"]) > after and not fields.get("interrupted"):
                why = f"its next trial could not be measured: {fields.get('why', fields.get('reason'))}"
        elif event.kind == "answer" and fields["stop"] in _STOPS:
            why = _STOPS[fields["stop"]]
    return why or "it is under way"


def by_cell(searches: Sequence[Search]) -> Iterator[tuple[tuple[int, str], list[Search]]]:
    """The searches of each cell, all its repetitions."""
    for key in dict.fromkeys((it.clients, it.variant) for it in searches):
        yield key, [it for it in searches if (it.clients, it.variant) == key]


def apart_share(searches: Sequence[Search]) -> float:
    """How far the conditional throughputs of a cell's searches lie apart, of their mean; NaN: of one."""
    values = [it.state.conditional_bps for it in searches if it.state.conditional_bps is not None]
    if len(values) < 2:
        return math.nan
    return (max(values) - min(values)) / (sum(values) / len(values))
