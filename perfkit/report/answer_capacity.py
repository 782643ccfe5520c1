"""What searches for capacity found: sentences, warnings and tables of an answer, and a trial in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from perfkit.analysis.answers import capacity
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.answers.capacity import Search, TrialBlock
from perfkit.analysis.capacity_search import LIMITS, METHOD, SearchState, Trial
from perfkit.model import CapacityGoal
from perfkit.report.columns import MEGA, mbps, pct, text
from perfkit.report.tables import Column, ReportTable
from perfkit.units import format_count, format_some

_NAMED = 4  # cells, searches or reasons in one sentence
_N, _VARIANT, _REPETITION = (
    Column("clients", "Clients"),
    text("variant", "Variant"),
    Column("repetition", "Repetition"),
)
_BOUNDS = (mbps("lower_bps", "Lower bound", 1), mbps("upper_bps", "Upper bound", 1))
_THROUGH = mbps("conditional_bps", "Conditional throughput", 1)
_BY = text("limit", "Bounded above by")


def loss_words(ratio: float) -> str:
    """`0.52 %`."""
    return f"{100 * ratio:.3g} %"


def range_words(state: SearchState) -> str:
    """`between 46.2 and 48.6 Mbit/s`; where a bound is missing, what is known."""
    low, high = (None if it is None else _mbit(it) for it in (state.lower_bps, state.upper_bps))
    if low is None:
        return "not known yet" if high is None else f"under {high} Mbit/s"
    return f"at least {low} Mbit/s" if high is None else f"between {low} and {high} Mbit/s"


def _mbit(bps: float) -> str:
    shown = bps / MEGA
    return f"{shown:.0f}" if shown >= 1000 else f"{shown:.4g}"


def trial_words(trial: Trial, goal: CapacityGoal) -> str:
    """`48.6 Mbit/s offered, 3.1 % lost: not carried`."""
    load = f"{_mbit(trial.load_bps)} Mbit/s"
    if trial.limit:
        offered = f", {_mbit(trial.offered_bps)} offered" if trial.offered_bps > 0 else ""
        return f"{load} asked{offered}: bounded by {LIMITS[trial.limit]}"
    lost = f"{loss_words(trial.loss_ratio)} of {trial.sent} datagrams lost"
    return f"{load} offered, {lost}: {'carried' if trial.is_good(goal) else 'not carried'}"


def capacity_sentences(found: CampaignAnswer) -> list[str]:
    """One a cell; of many, the largest client count of each variant."""
    cells = list(capacity.by_cell(found.searches))
    if len(cells) > _NAMED:
        most = max(clients for (clients, _), _ in cells)
        cells = [it for it in cells if it[0][0] == most]
    (test,) = found.design.tests
    return [_said(found, test, variant, own) for (_, variant), own in cells]


def _said(found: CampaignAnswer, test: str, variant: str, own: Sequence[Search]) -> str:
    goal, clients = own[0].goal, format_count(own[0].clients, "client")
    of = f" of {variant}" if len(found.design.variants) > 1 else ""
    different = list(dict.fromkeys(map(_found, own)))
    ranges = format_some(different, _NAMED, "; ")
    if len(own) > 1 and len(different) == 1:
        ranges += f" in each of {len(own)} searches"
    head = f"{test}{of}: the capacity with {clients} at a loss of {loss_words(goal.loss_ratio)} is {ranges}"
    through = [it.state.conditional_bps for it in own if it.state.conditional_bps is not None]
    parts = (
        [f"conditional throughput {' and '.join(map(_mbit, through))} Mbit/s"] if through else []
    )
    if math.isfinite(apart := capacity.apart_share(own)):
        known = f"each known to {loss_words(goal.width)}"
        parts.append(
            f"found {format_count(len(through), 'time')}, {loss_words(apart)} apart, {known}"
        )
    trials = sum(len(it.blocks) for it in own)
    return "; ".join([head, *parts, f"{format_count(trials, 'trial')} by MLRsearch"]) + "."


def _found(search: Search) -> str:
    words = range_words(search.state)
    if search.limit:
        words += f" (above it {LIMITS[search.limit]})"
    elif search.state.upper_bps is None and not search.why_open:
        words += " (the search was told to go no higher)"
    elif search.state.lower_bps is None and not search.why_open:
        words += " (the search was told to go no lower)"
    return f"{words} so far" if search.why_open else words


def capacity_warnings(found: CampaignAnswer) -> list[str]:
    """Searches that did not come to their end, and those whose trials are of few datagrams."""
    said = [
        f"{_name(found, it)}: the search is not at its end, {it.why_open}"
        for it in found.searches
        if it.why_open
    ]
    few = [_name(found, it) for it in found.searches if it.is_of_few]
    if few:
        said.append(
            f"few datagrams in trials of {format_some(few, _NAMED, '; ')}: at the loss asked for they would lose "
            f"fewer than {capacity.FEW_EXPECTED:.0f}, and may lose none by chance; give a longer duration_s"
        )
    if found.searches and len(found.design.variants) > 1:
        said.append(
            "no verdict about variants: a search ends between two loads "
            f"{loss_words(found.searches[0].goal.width)} apart, and does not know it any better"
        )
    return said


def _name(found: CampaignAnswer, search: Search) -> str:
    variant = f", {search.variant}" if len(found.design.variants) > 1 else ""
    return f"N = {search.clients}{variant}, repetition {search.repetition}"


def capacity_tables(found: CampaignAnswer) -> list[ReportTable]:
    """The cells first, then each search, then each trial; none of a campaign without a search."""
    if found.design.capacity is None:
        return []
    goal = found.design.capacity
    variant = [_VARIANT] if len(found.design.variants) > 1 else []
    caption = (
        f"Payload of all clients together at a loss of {loss_words(goal.loss_ratio)}; lowest and highest bound of "
        "all repetitions. Apart: conditional throughputs of the repetitions, of their mean."
    )
    searches = [
        {
            **it.to_record(),
            "limit": LIMITS[it.limit] if it.limit else "loss",
            "loss_at_lower_pct": 100 * it.conditional_loss_ratio,
            "loss_at_upper_pct": 100 * it.upper_loss_ratio,
            "trials": len(it.blocks),
        }
        for it in found.searches
    ]
    return [
        ReportTable.from_records(
            "answer", "Capacity", [_N, *variant, *_BOUNDS, _THROUGH, pct("apart_pct", "Apart")],
            [_cell_row(own) for _, own in capacity.by_cell(found.searches)], caption, METHOD,
        ),
        ReportTable.from_records(
            "searches", "Each search",
            [
                _N, *variant, _REPETITION, *_BOUNDS, _THROUGH,
                Column("loss_at_lower_pct", "Loss at lower", "%", digits=3),
                Column("loss_at_upper_pct", "Loss at upper", "%", digits=3),
                Column("trials", "Trials"), _BY, text("why_open", "Not at its end"),
            ],
            searches, "Loss at lower: in the trial that decides; at upper: the least that made it one.",
        ),
        _trials(found, variant),
    ]  # fmt: skip


def _cell_row(own: Sequence[Search]) -> dict[str, Any]:
    """The widest bounds of a cell's searches, and the mean of what came through."""
    states = [it.state for it in own]
    through = [it.conditional_bps for it in states if it.conditional_bps is not None]
    lows, highs = [it.lower_bps for it in states], [it.upper_bps for it in states]
    return {
        "clients": own[0].clients,
        "variant": own[0].variant,
        "lower_bps": None if None in lows else min(it for it in lows if it is not None),
        "upper_bps": None if None in highs else max(it for it in highs if it is not None),
        "conditional_bps": sum(through) / len(through) if through else None,
        "apart_pct": 100 * capacity.apart_share(own),
    }


def _trials(found: CampaignAnswer, variant: Sequence[Column]) -> ReportTable:
    columns = [
        _N, *variant, _REPETITION, Column("block", "Block"), text("folder", "Run"),
        mbps("load_bps", "Asked", 1), mbps("offered_bps", "Offered", 1),
        mbps("goodput_bps", "Arrived", 1), Column("sent", "Datagrams"), Column("lost", "Lost"),
        Column("loss_pct", "Loss", "%", digits=3),
        Column("whole_loss_pct", "Loss with start", "%", digits=3),
        Column("vpn_cores", "VPN CPU", "cores", digits=2), text("said", "Trial"),
    ]  # fmt: skip
    return ReportTable.from_records(
        "trials", "Each trial, in the order run", columns, list(_trial_rows(found)),
        "Datagrams after the first third of each trial. Loss with start: of the whole streams.",
    )  # fmt: skip


def _trial_rows(found: CampaignAnswer) -> Iterator[dict[str, Any]]:
    seen_of = {int(row["block"]): row for row in found.frame.to_dict("records")}
    for search in found.searches:
        for it in search.blocks:
            seen = seen_of.get(it.block, {})
            yield {
                **asdict(it.trial),
                "clients": search.clients,
                "variant": search.variant,
                "repetition": search.repetition,
                "block": it.block,
                "folder": it.folder,
                "goodput_bps": seen.get("goodput_bps"),
                "loss_pct": 100 * it.trial.loss_ratio,
                "whole_loss_pct": 100 * seen.get("loss_ratio", math.nan),
                "vpn_cores": seen.get("vpn_cores"),
                "said": _trial_word(it),
            }


def _trial_word(it: TrialBlock) -> str:
    if it.trial.limit:
        return LIMITS[it.trial.limit]
    return "carried" if it.is_good else "not carried"
