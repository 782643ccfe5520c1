"""What a comparison says, in sentences and tables: the primary figures first, the rest apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perfkit.analysis import compare
from perfkit.analysis.answers.contrasts import ONE_EACH
from perfkit.analysis.compare import Comparison, Difference
from perfkit.report.columns import FIGURES, MEGA, MILLI, pct, text
from perfkit.report.tables import Column, ReportTable
from perfkit.units import format_count, format_some

_LEAST_P = 0.0001
_SIGNIFICANT = 4  # digits of a figure beside its difference
_NAMED = 3  # figures in a sentence

# How each figure is called and shown; the same words as in a run's own tables.
SHOWN: Mapping[str, Column] = FIGURES | {
    column.key: column
    for column in (
        Column("goodput_bps", "Total goodput", "Mbit/s", scale=MEGA),
        Column("udp_loss_pct", "UDP loss", "%"),
        Column("jitter_median_s", "Jitter median", "ms", scale=MILLI),
        Column("elapsed_s", "Time", "s"),
    )
}
EXPLORED = (
    "Not what the comparison is about: among the figures called better or worse here, about one in "
    "twenty is so by chance (Benjamini and Hochberg)."
)


def shown(column: Column, value: float) -> str:
    """A figure in its unit with four significant digits, never in powers of ten."""
    if not math.isfinite(value):
        return "n/a"
    size = math.floor(math.log10(abs(value) / column.scale)) if value else 0
    digits = min(max(_SIGNIFICANT - 1 - size, 0), 6)
    unit = f" {column.unit}" if column.unit else ""
    rounded = round(value / column.scale, digits) + 0.0  # no "-0.00"
    return f"{rounded:.{digits}f}{unit}"


def sentences(comparison: Comparison) -> list[str]:
    """What came out, one sentence a side: its primary figures, the most telling ones first."""
    first, *others = comparison.sides
    return [
        _sentence(comparison, side.label, f"{side.label} against {first.label}") for side in others
    ]


def _sentence(comparison: Comparison, label: str, who: str) -> str:
    found = [d for d in comparison.differences if d.side == label and d.is_primary]
    if not found:
        return f"{who}: no primary figure (goodput, VPN CPU) is on both sides."
    order = ("worse", "better", "not enough data", "same or better", "same")
    judged = [d for d in found if d.verdict in order]
    if not judged:
        words = format_some([_change(d) for d in found], _NAMED, "; ")
        one = all(d.judgement.reason == ONE_EACH for d in found)
        why = "one run a side" if one else "see the reasons"
        return f"{who}: {words}; no verdict ({why})."
    judged.sort(key=lambda d: order.index(d.verdict))
    words = format_some([f"{_change(d)}: {d.text}" for d in judged], _NAMED, "; ")
    return f"{who}: {words}."


def _change(found: Difference) -> str:
    name = SHOWN[found.figure.key].heading.removeprefix("Total ")
    where = f"{name} of {found.where} at {format_count(found.clients, 'client')}"
    if found.refusal:
        return f"{where} not comparable"
    low, high = found.contrast.ratios(compare.LEVEL)
    change = f"{_percent(found.contrast.ratio):+.1f} %"
    if math.isfinite(low) and math.isfinite(high):
        change += f" [{_percent(low):+.1f}, {_percent(high):+.1f}]"
    return f"{where} {change}"


def _percent(ratio: float) -> float:
    """The change as it is shown, which is never -0.0."""
    change = 100.0 * (ratio - 1)
    return 0.0 if round(change, 1) == 0 else change


def verdict_tables(comparison: Comparison) -> list[ReportTable]:
    """The primary figures, then the explored ones; none of what there is nothing to say about."""
    primary = [d for d in comparison.differences if d.is_primary]
    rest = [d for d in comparison.differences if not d.is_primary]
    judged = any(d.verdict not in ("not judged", "not comparable") for d in primary)
    title = "Verdicts" if judged else "Primary figures, without a verdict"
    made = []
    if primary:
        made.append(_table("compare", title, primary, comparison, _about_sides(comparison)))
    if rest:
        made.append(_table("compare-explored", "Explored figures", rest, comparison, EXPLORED))
    return made


def _about_sides(comparison: Comparison) -> str:
    words = [
        f"{side.label}: {format_count(len(side.runs), 'block' if side.runs[0].block else 'run')} of "
        f"{format_some([str(size) for size in side.sizes], 7)} client{'s' * (side.sizes != [1])}"
        for side in comparison.sides
    ]
    return f"{'; '.join(words)}."


def _table(
    name: str, title: str, found: Sequence[Difference], comparison: Comparison, caption: str
) -> ReportTable:
    """Columns of which no row has anything are left out: one run a side has no interval."""
    first, *others = comparison.sides
    several = len(others) > 1
    rows = [_row(one) for one in found]
    known = any(math.isfinite(row["high_pct"]) for row in rows)
    more = " from, to: the 95 % interval, not adjusted. p: adjusted." if known else ""
    columns = (
        text("where", "Test"),
        Column("clients", "Clients"),
        text("figure", "Figure"),
        *([text("side", "Side")] if several else []),
        text("baseline", first.label),
        text("other", "Other" if several else others[0].label),
        pct("change_pct", "Change"),
        *([pct("low_pct", "from"), pct("high_pct", "to")] if known else []),
        text("verdict", "Verdict"),
        *([text("p_shown", "p")] if known else []),
        text("runs", "Runs"),
    )
    return ReportTable.from_records(
        name, title, columns, rows, caption + more, method=f"{compare.METHOD}."
    )


def _row(found: Difference) -> dict[str, Any]:
    column = SHOWN[found.figure.key]
    change, ends = math.nan, (math.nan, math.nan)
    if not found.refusal:
        change, ends = found.contrast.ratio, found.contrast.ratios(compare.LEVEL)
    return {
        "where": found.where,
        "clients": found.clients,
        "figure": column.heading,
        "side": found.side,
        "baseline": shown(column, found.baseline.value),
        "other": shown(column, found.other.value),
        "change_pct": _percent(change),
        "low_pct": _percent(ends[0]),
        "high_pct": _percent(ends[1]),
        "verdict": f"{found.verdict}: {found.refusal}" if found.refusal else found.text,
        "p_shown": _p_value(found.judgement.p_adjusted),
        "runs": f"{found.baseline.runs} | {found.other.runs}",
    }


def _p_value(p: float) -> str:
    if not math.isfinite(p):
        return "n/a"
    return f"{p:.4f}" if p >= _LEAST_P else f"< {_LEAST_P}"


def figures_table(comparison: Comparison) -> ReportTable:
    """Everything behind the verdicts in base units, for programs."""

    def raw(key: str, heading: str, digits: int = 4) -> Column:
        return Column(key, heading, digits=digits)

    def end(place: int) -> Any:
        return lambda d: math.nan if d.refusal else d.contrast.ratios(compare.LEVEL)[place]

    columns = (
        text("where", "Test"),
        raw("clients", "Clients", 0),
        (text("figure", "Figure"), "figure.key"),
        (text("kind", "Kind"), lambda d: "primary" if d.is_primary else "explored"),
        text("side", "Side"),
        (raw("baseline", "Baseline"), "baseline.value"),
        (raw("baseline_within", "s.e. within"), "baseline.within"),
        (raw("other", "Other"), "other.value"),
        (raw("other_within", "s.e. within"), "other.within"),
        (raw("ratio", "Ratio"), lambda d: math.nan if d.refusal else d.contrast.ratio),
        (raw("low", "from"), end(0)),
        (raw("high", "to"), end(1)),
        (text("contrast", "By"), "contrast.kind"),
        (
            raw("degrees", "d.f.", 1),
            lambda d: math.nan if d.contrast.reason else d.contrast.degrees,
        ),
        (raw("baseline_runs", "Runs", 0), "baseline.runs"),
        (raw("other_runs", "Runs, other", 0), "other.runs"),
        (raw("p", "p", 5), lambda d: math.nan if d.refusal else d.contrast.p),
        (raw("p_adjusted", "p (adjusted)", 5), "judgement.p_adjusted"),
        text("verdict", "Verdict"),
        (raw("more", "More runs", 0), "judgement.more"),
        (text("reason", "Reason"), lambda d: d.refusal or d.judgement.reason),
    )
    return ReportTable.of_objects(
        "compare-figures", "Figures in base units", columns, comparison.differences,
        "Ratio: other over baseline. s.e. within: of a single run, between its seconds and clients; "
        "no verdict uses it.",
    )  # fmt: skip
