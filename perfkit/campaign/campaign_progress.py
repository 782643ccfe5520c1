"""How far a campaign is, in words and as a grid of cells by repetitions; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.answers import cells
from perfkit.analysis.answers.frame import counted
from perfkit.analysis.answers.headline import headline_of
from perfkit.campaign.blocks import BlockLog, Claim, is_over, search_state
from perfkit.report.answer_capacity import range_words, trial_words
from perfkit.report.columns import FIGURES
from perfkit.report.tables import Column
from perfkit.runs.design import Design, PlannedBlock
from perfkit.units import format_duration

SIGNS = {"void": "void", "failed": "failed", "": "…"}


def block_line(design: Design, log: BlockLog, frame: pd.DataFrame) -> str:
    """What the last block came to, its cells so far, and how long the rest takes.

    `block 12 of 42: 20 clients base, repetition 2: tunnel-tcp 338 Mbit/s (so far 341 ±4 %), 12 min left`
    """
    claim = log.claims[-1]
    if design.capacity is not None:
        return _trial_line(design, log, claim)
    at_most = "" if design.repetitions is not None else "at most "
    count = f"{claim.block} of {at_most}{claim.block + len(_left(design, log))}"
    what = f"block {count}: {claim.clients} clients {claim.variant}, repetition {claim.repetition}"
    if claim.end == "void":
        return f"{what}: VOID, {claim.why}{_rest(design, log)}"
    figures = ", ".join(_figure(frame, claim, test) for test in design.tests)
    return f"{what}: {figures}{_rest(design, log)}"


def _trial_line(design: Design, log: BlockLog, claim: Claim) -> str:
    """What the last trial of a search came to, and between which loads the capacity lies so far."""
    assert design.capacity is not None
    what = (
        f"block {claim.block}: {claim.clients} clients {claim.variant}, search {claim.repetition}"
    )
    if claim.trial is None:
        return f"{what}: VOID, {claim.why}"
    state = search_state(design, log, claim.place_in(design))
    ends = "found" if state.next_bps is None else "so far"
    return f"{what}: {trial_words(claim.trial, design.capacity)}; {ends}: {range_words(state)}"


def _left(design: Design, log: BlockLog) -> list[PlannedBlock]:
    """Places that are still to be run, if all repetitions are."""
    return [
        planned
        for repetition, of_one in enumerate(design.order, start=1)
        for planned in of_one
        if planned.clients in log.repetitions.get(repetition, design.clients)
        and not is_over(design, log, planned)
    ]


def _rest(design: Design, log: BlockLog) -> str:
    done = [claim.seconds for claim in log.claims if claim.end == "done"]
    left = len(_left(design, log))
    return f", {format_duration(left * float(np.mean(done)))} left" if done and left else ""


def _figure(frame: pd.DataFrame, claim: Claim, test: str) -> str:
    column = headline_column(frame, test)
    now = _of_block(frame, claim, test)
    if not now:
        return f"{test} without a figure"
    values = _values(frame, claim.clients, claim.variant, test)
    so_far = f" (so far {_estimate(values, column)})" if len(values) > 1 else ""
    return f"{test} {now} {column.unit}{so_far}"


def _of_block(frame: pd.DataFrame, claim: Claim, test: str) -> str:
    """The headline figure of a block's test, without its unit; empty: it has none."""
    own = frame[(frame["block"] == claim.block).to_numpy() & (frame["test"] == test).to_numpy()]
    column = headline_column(frame, test)
    known = own[column.key].dropna()
    return _shown(float(known.iloc[0]), column) if len(known) else ""


def headline_column(frame: pd.DataFrame, test: str) -> Column:
    """What stands for a test, with its unit."""
    return FIGURES[headline_of(frame, test)]


def _values(frame: pd.DataFrame, clients: int, variant: str, test: str) -> NDArray[np.float64]:
    good = counted(frame)
    own = (good["clients"] == clients) & (good["variant"] == variant) & (good["test"] == test)
    figure = headline_of(frame, test)
    return good.loc[own.to_numpy(), figure].dropna().to_numpy(dtype=np.float64)


def _estimate(values: NDArray[np.float64], column: Column) -> str:
    """`341 ±4 %`, in the column's unit; of one value no interval."""
    if not len(values):
        return ""
    mean, low, high = cells.interval(values)
    share, shown = cells.half_width_share(mean, low, high), _shown(mean, column)
    if not np.isfinite(share):
        return shown
    return f"{shown} ±{100 * share:.0f} %" if share < 1 else f"{shown} ±>100 %"


def _shown(value: float, column: Column) -> str:
    scaled = value / column.scale
    return f"{scaled:.3g}" if scaled < 1000 else f"{scaled:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """A count and a variant: what each repetition came to, and the estimate so far; texts."""

    clients: int
    variant: str
    cells: tuple[str, ...]
    so_far: str


def grid(design: Design, log: BlockLog, frame: pd.DataFrame, test: str) -> list[GridRow]:
    """Cells by repetitions, as far as any was begun or is to come for certain.

    Args:
        test: Whose headline figure is shown, in the unit of `headline_column`.
    """
    shown = max(design.repetitions or 0, *log.repetitions, 0)
    return [
        GridRow(
            clients=clients,
            variant=variant,
            cells=tuple(
                _found_there(design, log, _place(design.order[r], clients, variant))
                if design.capacity is not None
                else _sign(log, frame, test, _place(design.order[r], clients, variant))
                for r in range(shown)
            ),
            so_far=""
            if design.capacity is not None
            else _estimate(_values(frame, clients, variant, test), headline_column(frame, test)),
        )
        for clients in design.clients
        for variant in design.variants
    ]


def _found_there(design: Design, log: BlockLog, planned: PlannedBlock) -> str:
    """The bounds of a search, with its trials so far."""
    trials = sum(claim.trial is not None for claim in log.at(planned))
    if not trials:
        return SIGNS[""] if log.at(planned) else ""
    state = search_state(design, log, planned)
    more = "" if state.next_bps is None else "…"
    return f"{range_words(state)}{more} ({trials})"


def _place(of_one: Sequence[PlannedBlock], clients: int, variant: str) -> PlannedBlock:
    (planned,) = (it for it in of_one if (it.clients, it.variant) == (clients, variant))
    return planned


def _sign(log: BlockLog, frame: pd.DataFrame, test: str, planned: PlannedBlock) -> str:
    tried = log.at(planned)
    if not tried:
        visited = log.repetitions.get(planned.repetition)
        return "–" if visited is not None and planned.clients not in visited else ""
    last = tried[-1]
    return SIGNS.get(last.end) or _of_block(frame, last, test) or "no figure"
