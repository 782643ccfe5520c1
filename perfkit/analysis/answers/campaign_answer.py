"""Everything that a campaign's cells say, put together: intervals, laws, the full resource, verdicts.

The parts are computed where they belong (`cells`, `growth`, `resources`, `pairs`, `verdicts`); here is
which of them a campaign has, and `to_json`, what answer.json keeps of them. Primary tests are those in
the tunnel; where there are none, those beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from perfkit.analysis import campaign_cells, window_rules
from perfkit.analysis.answers import capacity, cells, growth, memory_slope, pairs, verdicts
from perfkit.analysis.answers.capacity import Search
from perfkit.analysis.answers.frame import FIGURES, counted, rows_of
from perfkit.analysis.answers.growth import Growth
from perfkit.analysis.answers.headline import headline_of, headlines_of
from perfkit.analysis.answers.memory_slope import MemorySlope
from perfkit.analysis.answers.resources import FullResource, full_resource
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.spent import Spent, spent
from perfkit.executors.mapping import Where
from perfkit.runs import design, journal
from perfkit.runs.design import Design
from perfkit.runs.folder import Run
from perfkit.runs.vpn_record import vpn_of

GROWN = (*GOODPUT, "pps", "requests_per_s", "vpn_cpu_s_per_gbit")  # whose growth is asked for
FORMAT = 1  # of answer.json


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignAnswer:
    """What a campaign found.

    Attributes:
        frame: The cells frame, void rows too.
        means: Intervals of each cell and figure, see `perfkit.analysis.answers.cells.intervals`.
        growths: How each primary test of each variant grows, by figure.
        in_tunnel: In-tunnel over out-of-tunnel, see `perfkit.analysis.answers.pairs.in_tunnel`.
        judged: Each variant against the first, see `perfkit.analysis.answers.verdicts`; None: there
            is one variant.
        stop: Why it ended: `precise`, `repetitions`, `budget`, `stopped`; empty: it has not.
        spent: What it cost.
        memory: What one more idle client costs, see `perfkit.analysis.answers.memory_slope`.
        searches: What the searches for capacity found. A campaign of them has no mean of a cell, since its
            blocks differ in what they offer, and nothing that is made of means.
    """

    run: Run
    design: Design
    frame: pd.DataFrame
    means: pd.DataFrame
    growths: tuple[Growth, ...]
    in_tunnel: pd.DataFrame
    judged: pd.DataFrame | None
    stop: str
    spent: Spent
    memory: tuple[MemorySlope, ...] = ()
    searches: tuple[Search, ...] = ()

    @property
    def blocks(self) -> int:
        """How many blocks were run, void ones too."""
        return int(self.frame["block"].nunique())

    @property
    def void(self) -> int:
        """How many of them are void."""
        return int(self.frame.loc[self.frame["void"] != "", "block"].nunique())

    @property
    def primary_tests(self) -> list[str]:
        """The tests that the answer is about, in the order of the design."""
        return primary_tests(self.frame, self.design)

    @property
    def missing_cells(self) -> list[str]:
        """Client counts and variants that were planned and of which no block counts, in words."""
        known = counted(self.frame)
        there = set(zip(known["clients"], known["variant"], strict=True))
        planned = [(n, v) for n in self.design.clients for v in self.design.variants]
        return [
            f"N = {n}{f', {v}' if len(self.design.variants) > 1 else ''}"
            for n, v in planned
            if (n, v) not in there
        ]

    def headline(self, test: str) -> str:
        """The figure that stands for a test, see `perfkit.analysis.answers.headline`."""
        return headline_of(self.frame, test)

    def headlines(self, test: str) -> tuple[str, ...]:
        """The same, and of traffic both ways the goodput of each."""
        return headlines_of(self.frame, test)

    def mean(self, clients: int, variant: str, test: str, figure: str) -> Mapping[str, Any]:
        """A cell's row of `means`; empty: nothing is known."""
        place = {"clients": clients, "variant": variant, "test": test}
        found = rows_of(self.means, **place, figure=figure)
        return {str(k): v for k, v in found.iloc[0].items()} if len(found) else {}

    def vpn_title(self, variant: str) -> str:
        """What a variant's VPN is called."""
        manifest = self.run.manifest()
        record = manifest.get("vpn_by_variant", {}).get(variant)
        return vpn_of({"vpn": record} if record else manifest).title or "VPN"

    def full(self, variant: str, test: str) -> FullResource | None:
        """Which resource is full, see `perfkit.analysis.answers.resources`; None: no block counts."""
        own = rows_of(counted(self.frame), variant=variant, test=test)
        if own.empty:
            return None
        growth = self.growth(variant, test, self.headline(test))
        return full_resource(own, growth, self.vpn_title(variant))

    def growth(self, variant: str, test: str, figure: str) -> Growth | None:
        """How a figure of a test grows; None: it is not known anywhere."""
        key = (variant, test, figure)
        return next((g for g in self.growths if (g.variant, g.test, g.figure) == key), None)


def find_answer(run: Run, executor: Where = None) -> CampaignAnswer:
    """Read a campaign's blocks, as they are now, and find what they say.

    Brings windows and cells.parquet up to date first, see `perfkit.analysis.window_rules` and
    `perfkit.analysis.campaign_cells`.

    Args:
        executor: Who reduces the blocks, see `perfkit.executors.mapping`.

    Raises:
        RunError: it is no campaign, or a block cannot be read.
        ExecutorError: its workers could not do it.
    """
    plan = design.load(run)
    window_rules.apply(run)
    frame = campaign_cells.refresh(run, executor)
    of_cells = frame if plan.capacity is None else frame.iloc[:0]
    known = counted(of_cells)
    primary = known[known["test"].isin(primary_tests(frame, plan))]
    several = len(plan.variants) > 1 and known["variant"].nunique() > 1
    return CampaignAnswer(
        run=run,
        design=plan,
        frame=frame,
        means=cells.intervals(of_cells, FIGURES, precision=plan.precision),
        growths=tuple(growth.fit_growths(primary, GROWN)) if len(plan.clients) > 1 else (),
        in_tunnel=pairs.in_tunnel(of_cells),
        judged=verdicts.judge_variants(
            frame,
            plan.variants[0],
            plan.margin,
            primary=plan.primary,
            planned=plan.repetitions,
        )
        if several
        else None,
        stop=_stop(run),
        spent=spent(run),
        memory=tuple(memory_slope.memory_slopes(of_cells)),
        searches=tuple(capacity.find_searches(run, plan)),
    )


def primary_tests(frame: pd.DataFrame, plan: Design) -> list[str]:
    """The tests in the tunnel; where there are none, all."""
    there = [test for test in plan.tests if (frame["test"] == test).any()]
    inside = set(frame.loc[frame["path"] == "tunnel", "test"])
    return [test for test in there if test in inside] or there


def _stop(run: Run) -> str:
    """Why the campaign ended; empty: it has not."""
    events = journal.read(run.journal_path).events
    stops = [str(event.fields["stop"]) for event in events if event.kind == "answer"]
    return stops[-1] if stops else ""


def to_json(found: CampaignAnswer, sentences: list[str]) -> dict[str, Any]:
    """What answer.json keeps: numbers in base units, null where not known."""
    judged = found.judged
    return {
        "format": FORMAT,
        "campaign": found.run.id,
        "sentences": sentences,
        "blocks": found.blocks,
        "void": found.void,
        "elapsed_s": found.spent.elapsed_s,
        "host_s": found.spent.host_s,
        "usd": found.spent.usd,
        "stop": found.stop,
        "cells": _records(found.means),
        "growth": [
            {
                "variant": one.variant,
                "test": one.test,
                "figure": one.figure,
                "asserted": one.asserted,
                "left": list(one.left),
                "knee": knee and [_finite(end) for end in (knee.value, knee.low, knee.high)],
                "reason": one.reason,
                "laws": _records(one.parameters()) if one.laws else [],
            }
            for one in found.growths
            for knee in [one.knee]
        ],
        "in_tunnel": _records(found.in_tunnel),
        "full": [
            {
                "variant": variant,
                "test": test,
                "names": list(full.names),
                "uses": _records(full.uses),
            }
            for variant in found.design.variants
            for test in found.primary_tests
            if found.design.capacity is None
            if (full := found.full(variant, test)) is not None
        ],
        "memory": [dict(_row(asdict(one))) for one in found.memory],
        "searches": [dict(_row(one.to_record())) for one in found.searches],
        "verdicts": [] if judged is None else _records(judged),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(_row(row)) for row in frame.to_dict("records")]


def _row(row: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        plain = value.item() if hasattr(value, "item") else value
        yield str(name), _finite(plain) if isinstance(plain, float) else plain


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
