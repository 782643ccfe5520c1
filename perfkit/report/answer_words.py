"""A campaign's answer in sentences, and what may change it in warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perfkit.analysis.answers.campaign_answer import GROWN, CampaignAnswer
from perfkit.analysis.answers.cells import Key, by_cell
from perfkit.analysis.answers.frame import KEY, counted
from perfkit.analysis.answers.headline import primary_figures
from perfkit.analysis.both_ways import GOODPUT
from perfkit.report.answer_capacity import capacity_sentences, capacity_warnings
from perfkit.report.answer_memory import memory_sentences
from perfkit.report.columns import FIGURES
from perfkit.units import format_count, format_duration, format_some

_STOPS: Mapping[str, str] = {
    "precise": "as precise as asked",
    "budget": "ended by the budget",
    "stopped": "stopped by a person",
}
_PHRASES = {"goodput_bps": "goodput", "vpn_cpu_s_per_gbit": "VPN CPU per Gbit"}
_NAMED = 4  # cells or reasons named in one warning
_MOST_FIGURES = 4  # of one variant that are said one by one


def phrase(figure: str) -> str:
    """A figure inside a sentence."""
    return _PHRASES.get(figure, FIGURES[figure].heading)


def sentences(found: CampaignAnswer) -> list[str]:
    """The answer, a sentence a test or a variant; the last one is what it stands on."""
    tests = found.primary_tests
    if found.searches:
        said, more = capacity_sentences(found), []
    elif counted(found.frame).empty:
        said, more = ["No block counts yet."], list[str]()
    elif found.judged is not None:
        said, more = verdict_sentences(found), []
    else:
        said = [_carried(found, test, several=len(tests) > 1) for test in tests]
        more = _beside(found)
    return [*said, *memory_sentences(found), " ".join([*more, _stands_on(found)])]


def _carried(found: CampaignAnswer, test: str, *, several: bool) -> str:
    """What a test carries at the largest size, how it grows, and what is full."""
    variant, most = found.design.variants[0], max(found.design.clients)
    figure = found.headline(test)
    mean = found.mean(most, variant, test, figure)
    inside = bool((found.frame.loc[found.frame["test"] == test, "path"] == "tunnel").any())
    who = test if several or not inside else "The tunnel"
    if not mean:
        why = _why_no_mean(found, (most, variant, test), figure)
        return f"{who}: no figure at {format_count(most, 'client')}, {why}."
    carries = f"{who} carries" if figure == "goodput_bps" else f"{test}: {phrase(figure)}"
    asked = found.mean(most, variant, test, "offered_bps") if figure == "goodput_bps" else {}
    offered = f" of {_number(asked)} offered" if asked else ""
    value = f"{_value(mean)}{offered}"
    if figure in (ways := GOODPUT[1:]):
        each = [found.mean(most, variant, test, way) for way in ways]
        told = [
            f"{_value(own)} {way}" for own, way in zip(each, ("up", "down"), strict=True) if own
        ]
        carries, value = f"{who} carries", " and ".join(told)
    words = f"{carries} {value} at {format_count(most, 'client')}"
    grown = found.growth(variant, test, figure)
    if grown is not None:
        words += f", {grown.words}"
    full = found.full(variant, test) if figure in GROWN else None
    return f"{words}; {full.words}." if full is not None and full.words else f"{words}."


def _why_no_mean(found: CampaignAnswer, key: tuple[int, str, str], figure: str) -> str:
    """Why a cell has no mean of a figure."""
    rows = counted(found.frame)
    is_own = (rows[list(KEY)] == list(key)).all(axis=1)
    if not is_own.any():
        return "no block of it counts"
    return f"{phrase(figure)} is not known of all its blocks"


def _number(mean: Mapping[str, Any]) -> str:
    """`338 Mbit/s`."""
    column = FIGURES[str(mean["figure"])]
    shown = float(mean["mean"]) / column.scale
    value = f"{shown:.0f} {column.unit}" if shown >= 100 else f"{shown:.3g} {column.unit}"
    return value.replace(" /s", " a second").strip()


def _value(mean: Mapping[str, Any]) -> str:
    """`338 Mbit/s ±4 %`; without an interval, why not."""
    value = _number(mean)
    half = float(mean["half_width_share"])
    if not math.isfinite(half):
        return f"{value} (no interval: {format_count(mean['repetitions'], 'repetition')})"
    return f"{value} ±{share(half)}"


def share(half: float) -> str:
    """A half-width as a percentage: two digits below ten per cent, no digits where it says nothing."""
    if half > 1:
        return " more than 100 %"
    return f"{100 * half:.1f} %" if half < 0.0995 else f"{100 * half:.0f} %"


def _beside(found: CampaignAnswer) -> list[str]:
    """What the tunnel leaves of what goes beside it, at the largest size."""
    most, variant = max(found.design.clients), found.design.variants[0]
    ratios = found.in_tunnel
    ratios = ratios[(ratios["clients"] == most) & (ratios["variant"] == variant)]
    several = len(ratios) > 1
    return [
        f"{row['test'] if several else 'That'} is {_ratio(row['ratio'])}{ends(row)} of the goodput beside "
        "the tunnel in the same blocks."
        for row in ratios.to_dict("records")
    ]


def ends(row: Mapping[Any, Any]) -> str:
    """The interval of a ratio in brackets; empty where there is none."""
    low, high = float(row["low"]), float(row["high"])
    known = math.isfinite(low) and math.isfinite(high)
    return f" [{_ratio(low)}, {_ratio(high)}]" if known else ""


def _ratio(value: float) -> str:
    """Two decimals, or three of a small one."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _stands_on(found: CampaignAnswer) -> str:
    void = f", {found.void} void" if found.void else ""
    parts = [f"{format_count(found.blocks, 'block')}{void}"]
    parts.append(_minutes(found.spent.elapsed_s))
    if found.stop in _STOPS:
        parts.append(_STOPS[found.stop])
    elif not found.stop:
        parts.append("not finished")
    return f"{', '.join(parts)}."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if 60 <= seconds < 3600 else format_duration(seconds)


def verdict_sentences(found: CampaignAnswer) -> list[str]:
    """A sentence a variant: each primary figure's verdict, sizes of the same verdict together."""
    assert found.judged is not None
    base, said = found.design.variants[0], []
    several = len(found.primary_tests) > 1
    for variant, rows in found.judged[found.judged["is_primary"]].groupby("variant", sort=False):
        by_figure = {
            f"{phrase(str(figure))}{f' of {test}' if several else ''}": own.to_dict("records")
            for (test, figure), own in rows.groupby(["test", "figure"], sort=False)
        }
        parts = [f"{name} {_verdicts(own)}" for name, own in by_figure.items()]
        if len(parts) > _MOST_FIGURES:
            parts = _by_verdict(by_figure)
        said.append(f"{variant} against {base}{_base_carries(found)}: {'; '.join(parts)}.")
    return said or [f"{base}: no other variant has a block that counts."]


def _by_verdict(by_figure: Mapping[str, list[dict[Any, Any]]]) -> list[str]:
    """Many figures: those of the same verdict together; the table has the others' ratios."""
    together: dict[str, list[str]] = {}
    for name, rows in by_figure.items():
        for row in sorted(rows, key=lambda row: int(row["clients"])):
            verdict, at = str(row["verdict"]), f" at N = {row['clients']}" if len(rows) > 1 else ""
            if verdict == "not judged":
                verdict += f" ({row['reason']})"
            ratio = f" {row['ratio']:.2f}{ends(row)}" if verdict in ("better", "worse") else ""
            together.setdefault(verdict, []).append(f"{name}{at}{ratio}")
    order = sorted(together, key=lambda verdict: (verdict not in ("better", "worse"), verdict))
    return [
        f"{verdict}: {format_some(together[verdict], _NAMED)}"
        if len(together[verdict]) < sum(map(len, together.values()))
        else f"every figure {verdict}; the ratios are in the table"
        for verdict in order
    ]


def _base_carries(found: CampaignAnswer) -> str:
    """What the ratios are of, in brackets, where that is one figure."""
    if len(found.primary_tests) > 1 or len(found.design.clients) > 1:
        return ""
    place = (found.design.clients[0], found.design.variants[0], found.primary_tests[0])
    mean = found.mean(*place, found.headline(found.primary_tests[0]))
    return f" ({_value(mean)})" if mean else ""


def _verdicts(rows: list[dict[Any, Any]]) -> str:
    by_verdict: dict[str, list[dict[Any, Any]]] = {}
    for row in sorted(rows, key=lambda row: int(row["clients"])):
        by_verdict.setdefault(str(row["verdict"]), []).append(row)
    parts = []
    for verdict, own in by_verdict.items():
        ratios = [f"{row['ratio']:.2f}{ends(row)}" for row in own if math.isfinite(row["ratio"])]
        details = [] if verdict.startswith("same") else [format_some(ratios, 3)] if ratios else []
        details += [f"about {more} repetitions more would tell"] if (more := _more(own)) else []
        details += [str(own[0]["reason"])] if verdict == "not judged" else []
        at = f" at N = {format_some([str(row['clients']) for row in own], 8)}"
        if len(own) == len(rows):
            at = " at every N" if len(rows) > 1 else ""
        brackets = f" ({', '.join(details)})" if details else ""
        parts.append(f"{verdict}{at}{brackets}")
    return ", ".join(parts)


def _more(rows: list[dict[Any, Any]]) -> str:
    """Repetitions that would tell, from one size to another; empty where that is not known."""
    known = sorted({round(row["more"]) for row in rows if math.isfinite(row["more"])})
    return " to ".join(map(str, dict.fromkeys(known[:1] + known[-1:])))


def warnings(found: CampaignAnswer) -> list[str]:
    """What may change the answer, one line each: tests that were not steady, cells not precise."""
    if found.design.capacity is not None:
        return [*capacity_warnings(found), *_limited(found), *_without(found)]
    said = [*_limited(found), *_not_steady(found), *_not_precise(found)]
    said += [*_failed(found), *_without(found)]
    return [*_adopted(found), *said]


def _adopted(found: CampaignAnswer) -> list[str]:
    runs, differ = found.design.adopted, found.design.adopted_differ
    if not runs:
        return []
    apart = (
        f"they differ in {format_some(differ, _NAMED)}" if differ else "nothing recorded differs"
    )
    return [
        f"adopted from {format_count(len(runs), 'run')}, whose order was not drawn: what changed "
        f"from run to run is in the differences; {apart}"
    ]


def _limited(found: CampaignAnswer) -> list[str]:
    """Cells in which an instance's own limit was exceeded: what they say is not of the VPN alone."""
    said = []
    for key, rows in by_cell(counted(found.frame)):
        hit = rows[(rows["held_back_packets"] > 0).to_numpy()]
        if len(hit):
            said.append(
                f"{_cell(key)}: the network limits of instances were exceeded in {len(hit)} of "
                f"{format_count(len(rows), 'repetition')} ({hit['held_back_packets'].sum():.0f} packets "
                "queued or dropped): the instance's shaper was measured, not the VPN alone"
            )
    return said


def _not_steady(found: CampaignAnswer) -> list[str]:
    said = []
    for key, rows in by_cell(counted(found.frame)):
        shaken = rows[rows["not_steady"] != ""]
        if len(shaken):
            reasons = format_some(list(dict.fromkeys(shaken["not_steady"])), 2)
            said.append(
                f"{_cell(key)}: not steady in {len(shaken)} of "
                f"{format_count(len(rows), 'repetition')}: {reasons}"
            )
    return said


def _cell(key: Key) -> str:
    clients, variant, test = key
    return f"{test}, N = {clients}{'' if variant == 'base' else f', {variant}'}"


def _not_precise(found: CampaignAnswer) -> list[str]:
    asked = found.design.precision
    if asked is None or not found.stop:
        return []
    own = found.means[
        found.means["figure"].isin(
            primary_figures(found.frame, found.primary_tests, found.design.primary)
        )
        & found.means["test"].isin(found.primary_tests)
        & ~found.means["is_precise"]
    ]
    cells = [
        f"{_cell((row['clients'], row['variant'], row['test']))}: "
        f"{phrase(row['figure'])} ±{share(row['half_width_share'])}"
        for row in own.to_dict("records")
    ]
    return [f"±{share(asked)} was not reached: {format_some(cells, _NAMED, '; ')}"] if cells else []


def _failed(found: CampaignAnswer) -> list[str]:
    known = counted(found.frame)
    known = known[known["failed_clients"] > 0]
    return [
        f"{_cell(key)}: clients failed in {format_count(len(rows), 'block')} that count: "
        f"{format_some([f'{row.folder} ({row.failed_clients})' for row in rows.itertuples()], _NAMED)}"
        for key, rows in by_cell(known)
    ]


def _without(found: CampaignAnswer) -> list[str]:
    """Cells that were planned and have no block that counts, once the campaign has ended."""
    missing = found.missing_cells if found.stop else []
    return [f"no block counts at {format_some(missing, _NAMED, '; ')}"] if missing else []
