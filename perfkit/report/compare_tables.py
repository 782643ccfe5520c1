"""The tables of a comparison, ready for every exporter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfkit import __version__
from perfkit.analysis import compare, scaling
from perfkit.analysis.compare import Comparison, Difference, Side
from perfkit.analysis.conditions import NOT_RECORDED
from perfkit.analysis.run_summary import Reduced
from perfkit.analysis.slot_figures import QUANTILES, QUANTILES_METHOD, quantiles
from perfkit.report.tables import Column, ReportTable
from perfkit.units import MS_PER_S, SI_PREFIXES

MEGA = float(SI_PREFIXES["M"])
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
        Column("openvpn_cores", "OpenVPN CPU", "cores"),
        Column("openvpn_cpu_s_per_gbit", "OpenVPN CPU", "s/Gbit"),
        Column("retransmits_per_gb", "Retransmits", "/GB"),
        Column("udp_loss_pct", "UDP loss", "%"),
        Column("jitter_median_s", "Jitter median", "ms", scale=1.0 / MS_PER_S),
        Column("elapsed_s", "Time", "s"),
    )
}


def comparison_tables(comparison: Comparison) -> list[ReportTable]:
    """Most asked for first: verdicts, what differed, distributions, growth, runs, raw figures."""
    tables = [_verdicts(comparison), _conditions(comparison), _quantiles(comparison)]
    if len({run.clients for run in comparison.runs}) > 1:
        tables += [_sizes(comparison), _growth(comparison.runs)]
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


def _text(key: str, heading: str) -> Column:
    return Column(key, heading, kind="text")


def _pct(key: str, heading: str) -> Column:
    return Column(key, heading, "%", digits=1)


def _verdicts(comparison: Comparison) -> ReportTable:
    first, *others = comparison.sides
    several = len(others) > 1
    columns = (
        _text("where", "Test"),
        _text("figure", "Figure"),
        *([_text("side", "Side")] if several else []),
        _text("baseline", first.label),
        _text("other", "Other" if several else others[0].label),
        _text("difference", "Difference"),
        _pct("change_pct", "Change"),
        _pct("low_pct", "from"),
        _pct("high_pct", "to"),
        _text("verdict", "Verdict"),
        _text("p_shown", "p (Holm)"),
        _text("clients", "Clients"),
    )
    rows = [_verdict(f, comparison) for f in comparison.differences if not f.other_size]
    if not rows:
        text = f"{_against(first, others)}. No side can be judged against {first.label}."
        return ReportTable.from_records("compare", "Verdicts", columns, [], text)
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
    columns = (
        _text("condition", "Condition"),
        *(_text(s.label, s.label) for s in comparison.sides),
    )
    rows = [
        {
            "condition": name,
            **{side.label: _condition(side, name) for side in comparison.sides},
        }
        for name in comparison.differing
    ]
    every = {name for run in comparison.runs for name in run.conditions}
    caption = (
        f"{len(rows)} of {len(every)} recorded conditions differ; the others are the same in all "
        "runs. From the manifest, the hosts' own facts, and the copies of config/ and resources/ "
        "that each run keeps."
    )
    return ReportTable.from_records(
        "compare-conditions", "What was different", columns, rows, caption
    )


def _condition(side: Side, name: str) -> str:
    values = dict.fromkeys(run.conditions.get(name, NOT_RECORDED) for run in side.runs)
    return " | ".join(values)


def _quantiles(comparison: Comparison) -> ReportTable:
    columns = (
        _text("where", "Test"),
        _text("side", "Side"),
        Column("runs", "Runs"),
        Column("clients", "Clients"),
        Column("mean_bps", "Mean", "Mbit/s", digits=3, scale=MEGA),
        *(
            Column(f"{name}_bps", name, "Mbit/s", digits=3, scale=MEGA)
            for name in ("min", *QUANTILES, "max")
        ),
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
    costs = ("goodput_bps", "client_median_bps", "openvpn_cpu_s_per_gbit", "openvpn_cores")
    columns = (
        _text("where", "Test"),
        Column("clients", "Clients"),
        _text("side", "Side"),
        *(
            Column(key, SHOWN[key].heading, SHOWN[key].unit, digits=3, scale=SHOWN[key].scale)
            for key in costs
        ),
        _text("full", "What was full"),
    )
    rows = [
        {
            "where": test.key,
            "clients": len(test.goodput_bps),
            "side": side.label,
            **{key: test.figure(key) for key in costs},
            "full": scaling.bottleneck(test, shared_cpu=run.shared_cpu),
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


def _growth(runs: Sequence[Reduced]) -> ReportTable:
    columns = (
        _text("where", "Test"),
        _text("cost", "What"),
        Column("runs", "Runs"),
        _text("sizes", "Clients"),
        Column("exponent", "Exponent b", digits=2),
        Column("low", "from", digits=2),
        Column("high", "to", digits=2),
        _text("reading", "Reading"),
    )
    rows = [
        {
            "where": found.where,
            "cost": SHOWN[found.cost].label,
            "runs": found.law.runs,
            "sizes": ", ".join(map(str, found.law.sizes)),
            "exponent": found.law.exponent,
            "low": found.law.low,
            "high": found.law.high,
            "reading": found.reading,
        }
        for found in scaling.growth(runs)
    ]
    need = "" if rows else f" None: it takes {scaling.LEAST_RUNS} runs."
    return ReportTable.from_records(
        "compare-growth", "Does cost grow faster than the clients", columns, rows,
        f"{scaling.METHOD}.{need}",
    )  # fmt: skip


def _runs(comparison: Comparison) -> ReportTable:
    columns = (
        _text("side", "Side"),
        _text("run", "Run"),
        _text("name", "Name"),
        _text("created_utc", "Made"),
        Column("clients", "Clients"),
        Column("warnings", "Warnings"),
    )
    rows = [
        {
            "side": side.label,
            "run": run.run_id,
            "name": run.name,
            "created_utc": run.created_utc[:19].replace("T", " ") + " UTC",
            "clients": run.clients,
            "warnings": len(run.warnings),
        }
        for side in comparison.sides
        for run in side.runs
    ]
    return ReportTable.from_records(
        "compare-runs", "Runs", columns, rows, f"{comparison.sides[0].label} is the baseline."
    )


def _figures(comparison: Comparison) -> ReportTable:
    """Everything behind the verdicts in base units, for programs."""
    columns = (
        _text("where", "Test"),
        _text("figure", "Figure"),
        _text("side", "Side"),
        Column("baseline", "Baseline", digits=4),
        Column("baseline_se", "s.e.", digits=4),
        Column("other", "Other", digits=4),
        Column("other_se", "s.e.", digits=4),
        Column("difference", "Difference", digits=4),
        Column("low", "from", digits=4),
        Column("high", "to", digits=4),
        Column("degrees", "d.f.", digits=1),
        Column("baseline_runs", "Runs"),
        Column("other_runs", "Runs, other"),
        Column("p", "p", digits=5),
        Column("p_holm", "p (Holm)", digits=5),
        _text("verdict", "Verdict"),
        _text("reason", "Reason"),
    )
    rows = [
        {
            "where": found.where,
            "figure": found.figure.key,
            "side": found.side,
            "baseline": found.baseline.value,
            "baseline_se": found.baseline.spread.error,
            "other": found.other.value,
            "other_se": found.other.spread.error,
            "difference": found.gap.difference,
            "low": found.gap.low,
            "high": found.gap.high,
            "degrees": found.gap.degrees,
            "baseline_runs": found.baseline.runs,
            "other_runs": found.other.runs,
            "p": found.gap.p,
            "p_holm": found.p_holm,
            "verdict": found.verdict,
            "reason": found.reason,
        }
        for found in comparison.differences
    ]
    return ReportTable.from_records(
        "compare-figures", "Figures in base units", columns, rows, f"{compare.METHOD}."
    )
