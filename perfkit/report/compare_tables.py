"""The tables of a comparison, ready for every exporter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfkit import __version__
from perfkit.analysis import compare, scaling
from perfkit.analysis.answers import growth
from perfkit.analysis.compare import Comparison, Difference, Side
from perfkit.analysis.conditions import NOT_RECORDED
from perfkit.analysis.slot_figures import QUANTILES, QUANTILES_METHOD, quantiles
from perfkit.report.columns import MEGA, MILLI, mbps, pct, text
from perfkit.report.tables import Column, ReportTable

_LEAST_P = 0.0001
_SIGNIFICANT = 4  # digits of a figure beside its difference

# How each figure is called and shown; the same words as in a run's own tables.
SHOWN: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("goodput_bps", "Total goodput", "Mbit/s", scale=MEGA),
        Column("client_median_bps", "Median per client", "Mbit/s", scale=MEGA),
        Column("jain", "Jain"),
        Column("vs_direct", "In / out of tunnel"),
        Column("vpn_cores", "VPN CPU", "cores"),
        Column("vpn_cpu_s_per_gbit", "VPN CPU", "s/Gbit"),
        Column("retransmits_per_gb", "Retransmits", "/GB"),
        Column("udp_loss_pct", "UDP loss", "%"),
        Column("jitter_median_s", "Jitter median", "ms", scale=MILLI),
        Column("elapsed_s", "Time", "s"),
    )
}


def comparison_tables(comparison: Comparison) -> list[ReportTable]:
    """Most asked for first: verdicts, what differed, distributions, growth, runs, raw figures."""
    tables = [_verdicts(comparison), _conditions(comparison), _quantiles(comparison)]
    if len({run.clients for run in comparison.runs}) > 1:
        tables += [_sizes(comparison), _growth(comparison)]
    tables += [_runs(comparison), _figures(comparison)]
    line = f"Runs {', '.join(run.run_id for run in comparison.runs)}; perfkit {__version__}"
    return [table.with_provenance(line) for table in tables]


def shown(column: Column, value: float, *, beside: float | None = None) -> str:
    """A figure in its unit with four significant digits, never in powers of ten.

    Args:
        beside: The value is a difference from this one: signed, and with as many decimals.
    """
    if not math.isfinite(value):
        return "n/a"
    model = abs(value if beside is None else beside) / column.scale
    size = math.floor(math.log10(model)) if model else 0
    digits = min(max(_SIGNIFICANT - 1 - size, 0), 6)
    unit = f" {column.unit}" if column.unit else ""
    rounded = round(value / column.scale, digits) + 0.0  # no "-0.00"
    return f"{rounded:{'' if beside is None else '+'}.{digits}f}{unit}"


def _verdicts(comparison: Comparison) -> ReportTable:
    first, *others = comparison.sides
    several = len(others) > 1
    columns = (
        text("where", "Test"),
        text("figure", "Figure"),
        *([text("side", "Side")] if several else []),
        text("baseline", first.label),
        text("other", "Other" if several else others[0].label),
        text("difference", "Difference"),
        pct("change_pct", "Change"),
        pct("low_pct", "from"),
        pct("high_pct", "to"),
        text("verdict", "Verdict"),
        text("p_shown", "p (Holm)"),
        text("clients", "Clients"),
    )
    rows = [_verdict(f, comparison) for f in comparison.differences if not f.other_size]
    if not rows:
        none = f"{_against(first, others)}. No side can be judged against {first.label}."
        return ReportTable.from_records("compare", "Verdicts", columns, [], none)
    judged = sum(bool(np.isfinite(found.p_holm)) for found in comparison.differences)
    alarms = f"{judged} figures were judged together" if judged else "no figure could be judged"
    caption = (
        f"{_against(first, others)}. {compare.METHOD}; {alarms}. Change: in percent of "
        f"{first.label}, its 95 % interval by Fieller, for {first.label} is uncertain too; cut at "
        f"-100 %, as no figure is below zero, and n/a where {first.label} cannot be told from zero "
        "(the table of figures in base units has the interval of the difference itself). Better is "
        "more goodput, a fairer share, and less of everything else. Clients: those that count, all "
        "runs of a side together. No evidence is not equality: the interval says what may be hidden."
    )
    return ReportTable.from_records("compare", "Verdicts", columns, rows, caption)


def _against(first: Side, others: Sequence[Side]) -> str:
    words = [
        f"{side.label}: {len(side.runs)} run{'s' if len(side.runs) > 1 else ''} of "
        f"{side.clients} client{'s' if side.clients > 1 else ''}"
        for side in (first, *others)
    ]
    return "; ".join(words)


def _verdict(found: Difference, comparison: Comparison) -> dict[str, Any]:
    column, base = SHOWN[found.figure.key], found.baseline.value
    comparable = found.verdict != "not comparable"
    ratios = {
        "change_pct": found.other.value / base if base else math.nan,
        "low_pct": found.gap.ratio_low,
        "high_pct": found.gap.ratio_high,
    }
    percent = {
        name: 100.0 * (ratio - 1) + 0.0 if comparable else math.nan
        for name, ratio in ratios.items()
    }
    counts = [_clients(side, found.where) for side in _pair(found, comparison)]
    return {
        "where": found.where,
        "figure": column.heading,
        "side": found.side,
        "baseline": shown(column, found.baseline.value),
        "other": shown(column, found.other.value),
        "difference": shown(column, found.gap.difference, beside=found.baseline.value)
        if comparable
        else "n/a",
        **percent,
        "verdict": found.verdict,
        "p_shown": _p_value(found.p_holm),
        "clients": f"{counts[0]} | {counts[1]}",
    }


def _p_value(p: float) -> str:
    if not math.isfinite(p):
        return "n/a"
    return f"{p:.4f}" if p >= _LEAST_P else f"< {_LEAST_P}"


def _pair(found: Difference, comparison: Comparison) -> tuple[Side, Side]:
    other = next(side for side in comparison.sides if side.label == found.side)
    return comparison.sides[0], other


def _clients(side: Side, key: str) -> int:
    """Clients that count in a test, all runs of the side together; of a phase, all there were."""
    tests = side.tests(key)
    if not tests:
        return side.clients * len(side.runs)
    return sum(len(test.goodput_bps) for test in tests)


def _conditions(comparison: Comparison) -> ReportTable:
    labels = [side.label for side in comparison.sides]
    columns = (text("condition", "Condition"), *(text(label, label) for label in labels))
    rows = [
        (name, *(_condition(side, name) for side in comparison.sides))
        for name in comparison.differing
    ]
    every = {name for run in comparison.runs for name in run.conditions}
    caption = (
        f"{len(rows)} of {len(every)} recorded conditions differ; the others are the same in all "
        "runs. From the manifest, the hosts' own facts, and the copies of config/ and resources/ "
        "that each run keeps."
    )
    return ReportTable(
        name="compare-conditions", title="What was different", columns=columns, rows=tuple(rows), caption=caption,
    )  # fmt: skip


def _condition(side: Side, name: str) -> str:
    values = dict.fromkeys(run.conditions.get(name, NOT_RECORDED) for run in side.runs)
    return " | ".join(values)


def _quantiles(comparison: Comparison) -> ReportTable:
    columns = (
        text("where", "Test"),
        text("side", "Side"),
        Column("runs", "Runs"),
        Column("clients", "Clients"),
        mbps("mean_bps", "Mean", 3),
        *(mbps(f"{name}_bps", name, 3) for name in ("min", *QUANTILES, "max")),
    )
    rows = []
    for key in dict.fromkeys(test.key for run in comparison.runs for test in run.tests):
        for side in comparison.sides:
            tests = side.tests(key)
            values = np.concatenate([np.array(t.goodput_bps) for t in tests] or [np.array([])])
            if not len(values):
                continue
            rows.append(
                {
                    "where": key,
                    "side": side.label,
                    "runs": len(tests),
                    "clients": len(values),
                    "mean_bps": float(values.mean()),
                    "min_bps": float(values.min()),
                    **{f"{name}_bps": value for name, value in quantiles(values).items()},
                    "max_bps": float(values.max()),
                }
            )
    caption = (
        "Goodput in the steady window, receiver side, of the clients that count; the clients of "
        f"all runs of a side together. {QUANTILES_METHOD}."
    )
    return ReportTable.from_records("compare-clients", "Goodput per client", columns, rows, caption)


def _sizes(comparison: Comparison) -> ReportTable:
    costs = ("goodput_bps", "client_median_bps", "vpn_cpu_s_per_gbit", "vpn_cores")
    columns = (
        text("where", "Test"),
        Column("clients", "Clients"),
        text("side", "Side"),
        *(
            Column(key, SHOWN[key].heading, SHOWN[key].unit, digits=3, scale=SHOWN[key].scale)
            for key in costs
        ),
        text("full", "What was full"),
    )
    rows = [
        {
            "where": test.key,
            "clients": len(test.goodput_bps),
            "side": side.label,
            **{key: test.figure(key) for key in costs},
            "full": scaling.bottleneck(test, run.vpn, shared_cpu=run.shared_cpu),
        }
        for side in comparison.sides
        for run in side.runs
        for test in run.tests
    ]
    rows.sort(key=lambda row: (str(row["where"]), int(str(row["clients"]))))
    caption = (
        "Clients that count, their figures, and what was full at the server in the steady window. "
        "What a link can carry is not known to perfkit."
    )
    return ReportTable.from_records(
        "compare-sizes", "Where is the bottleneck", columns, rows, caption
    )


def _growth(comparison: Comparison) -> ReportTable:
    columns = (
        text("test", "Test"),
        (text("figure", "What"), lambda found: SHOWN[found.figure].label),
        (text("series", "Sides"), "variant"),
        (Column("runs", "Runs"), lambda found: len(found.points)),
        (text("sizes", "Clients"), lambda found: ", ".join(map(str, found.sizes))),
        (text("law", "Law"), lambda found: found.asserted or " or ".join(found.left)),
        (text("reading", "Reading"), "words"),
    )
    found = scaling.growth({side.label: side.runs for side in comparison.sides})
    caption = (
        "Runs whose recorded conditions differ in the number of clients alone are fitted together, "
        f"all others apart. {growth.METHOD}."
    )
    return ReportTable.of_objects(
        "compare-growth", "How figures grow with the clients", columns, found, caption
    )


def _runs(comparison: Comparison) -> ReportTable:
    sides = {run.run_id: side.label for side in comparison.sides for run in side.runs}
    columns = (
        (text("side", "Side"), lambda run: sides[run.run_id]),
        (text("run", "Run"), "run_id"),
        text("name", "Name"),
        (text("created_utc", "Made"), lambda run: f"{run.created_utc[:19].replace('T', ' ')} UTC"),
        Column("clients", "Clients"),
        (Column("warnings", "Warnings"), lambda run: len(run.warnings)),
    )
    return ReportTable.of_objects(
        "compare-runs", "Runs", columns, comparison.runs,
        f"{comparison.sides[0].label} is the baseline.",
    )  # fmt: skip


def _figures(comparison: Comparison) -> ReportTable:
    """Everything behind the verdicts in base units, for programs."""

    def raw(key: str, heading: str, digits: int = 4) -> Column:
        return Column(key, heading, digits=digits)

    columns = (
        text("where", "Test"),
        (text("figure", "Figure"), "figure.key"),
        text("side", "Side"),
        (raw("baseline", "Baseline"), "baseline.value"),
        (raw("baseline_se", "s.e."), "baseline.spread.error"),
        (raw("other", "Other"), "other.value"),
        (raw("other_se", "s.e."), "other.spread.error"),
        (raw("difference", "Difference"), "gap.difference"),
        (raw("low", "from"), "gap.low"),
        (raw("high", "to"), "gap.high"),
        (raw("degrees", "d.f.", 1), "gap.degrees"),
        (raw("baseline_runs", "Runs", 0), "baseline.runs"),
        (raw("other_runs", "Runs, other", 0), "other.runs"),
        (raw("p", "p", 5), "gap.p"),
        raw("p_holm", "p (Holm)", 5),
        text("verdict", "Verdict"),
        text("reason", "Reason"),
    )
    return ReportTable.of_objects(
        "compare-figures", "Figures in base units", columns, comparison.differences,
        f"{compare.METHOD}.",
    )  # fmt: skip
