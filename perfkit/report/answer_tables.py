"""The tables of a campaign: five columns first, then everything that it stands on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from perfkit import __version__
from perfkit.analysis.answers import cells, growth, resources
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.segments import MACHINES
from perfkit.analysis.spent import HALF_WIDTH
from perfkit.report import link_tables
from perfkit.report.answer_capacity import capacity_tables
from perfkit.report.answer_memory import memory_table
from perfkit.report.answer_words import ends, phrase, share
from perfkit.report.columns import BESIDE, FIGURES, pct, text
from perfkit.report.tables import Column, ReportTable, filled
from perfkit.units import format_count, format_some

# Beside a headline figure, the first that are known; five columns are read at once.
_CARRIED = ("offered_bps", "loss_ratio", "vpn_cpu_s_per_gbit", "vs_direct", "client_median_bps")
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "goodput_bps": (*_CARRIED, "cpu_busy_pct"),
    "pps": ("vpn_cpu_us_per_packet", "loss_ratio", "cpu_busy_pct"),
    **BESIDE,
}
_TEST, _N, _VARIANT = text("test", "Test"), Column("clients", "Clients"), text("variant", "Variant")
_HALF = pct("half_width_pct", "±")
_RATIO, _LOW, _HIGH = (Column(end, end.title(), digits=3) for end in ("ratio", "low", "high"))
VERDICT_METHOD = (
    "Variant over base, paired: blocks of one repetition and client count, run one after the other in "
    "balanced order. Holm's procedure over the primary figures; worse or better where the adjusted "
    "interval excludes no change and the estimate is beyond the margin; same where the 90 % interval "
    "is inside the margin (two one-sided tests, Schuirmann 1987)."
)
PAIRED_METHOD = (
    "In-tunnel over out-of-tunnel goodput of the same block, mean of the logarithms, Student's t over "
    "repetitions: what changes from block to block falls out of the ratio."
)


def answer_tables(found: CampaignAnswer) -> list[ReportTable]:
    """Most asked for first; the first is the page's open one."""
    tables = capacity_tables(found) or _of_cells(found)
    tables += [*filled(link_tables.of_campaign(found.run)), _blocks(found), _cost(found)]
    line = provenance(found)
    return [table.with_provenance(line) for table in tables]


def _of_cells(found: CampaignAnswer) -> list[ReportTable]:
    first = _carried(found) if found.judged is None else _judged(found)
    tables = [first, _cells(found)]
    if found.judged is not None:
        tables.append(_explored(found))
    if len(found.in_tunnel):
        tables.append(_in_tunnel(found))
    return [*tables, *filled(memory_table(found), _laws(found), _uses(found))]


def provenance(found: CampaignAnswer) -> str:
    """Which campaign, which tool, on how many blocks, in one line."""
    design, manifest = found.design, found.run.manifest()
    lengths = sorted({round(length) for length in found.frame["window_s"].dropna()})
    windows = list(dict.fromkeys(lengths[:1] + lengths[-1:]))
    shown = " to ".join(f"{length} s" for length in windows)
    return "; ".join(
        [
            f"Campaign {found.run.id}",
            f"perfkit {__version__}",
            f"provider {manifest.get('parameters', {}).get('provider', 'not known')}",
            f"{format_count(found.blocks, 'block')}, {found.void} void",
            f"{', '.join(map(str, design.clients))} clients and 1 server",
            f"windows of {shown or 'n/a'}",
            *_carriers(found),
            f"seed {design.seed}",
        ]
    )


def _carriers(found: CampaignAnswer) -> list[str]:
    """What carried the VPN's packets on the server; of each variant, where they differ."""
    by_variant = {
        str(variant): " or ".join(sorted(set(own["vpn_implementation"]) - {""}))
        for variant, own in found.frame.groupby("variant", sort=False, observed=True)
    }
    said = {it for it in by_variant.values() if it}
    if len(said) < 2:
        return [f"packets carried by {it}" for it in said]
    each = ", ".join(f"{variant}: {it}" for variant, it in by_variant.items() if it)
    return [f"packets carried by {each}"]


def _carried(found: CampaignAnswer) -> ReportTable:
    """Primary tests: the headline figure with its interval, and what goes with it."""
    variant = found.design.variants[0]
    shown = [(test, figure) for test in found.primary_tests for figure in found.headlines(test)]
    figures = dict.fromkeys(figure for _, figure in shown)
    headline = next(iter(figures), "goodput_bps")
    beside = _BESIDE.get(headline, ()) if len(figures) < 2 else ()
    rows = []
    for test, figure in shown:
        column = FIGURES[figure]
        for clients in sorted(found.design.clients):
            mean = found.mean(clients, variant, test, column.key)
            rows.append(
                {
                    "test": test,
                    "clients": clients,
                    column.key: mean.get("mean"),
                    "what": column.label,
                    "value": column.show(mean["mean"]) if mean else None,
                    "half_width_pct": _pct(mean.get("half_width_share")),
                    **{
                        name: found.mean(clients, variant, test, name).get("mean")
                        for name in beside
                    },
                }
            )
    known = [name for name in beside if any(row[name] is not None for row in rows)]
    several = len(found.primary_tests) > 1
    columns = [_TEST] if several else []
    mixed = [text("what", "Figure"), text("value", "Mean")]
    columns += [_N, *(mixed if len(figures) > 1 else [FIGURES[headline]]), _HALF]
    columns += [FIGURES[name] for name in known[: 5 - len(columns)]]
    return ReportTable.from_records(
        "answer", "What is carried", columns, rows,
        "Mean of the repetitions; ±: half of its 95 % interval.", f"{cells.METHOD}.",
    )  # fmt: skip


def _pct(value: Any) -> float | None:
    return None if value is None else 100.0 * float(value)


def _ratio_rows(judged: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{str(k): v for k, v in row.items()},
            "what": f"{row['test']}: {phrase(row['figure'])}",
            "shown": f"{row['ratio']:.3f}{ends(row)}" if np.isfinite(row["ratio"]) else "n/a",
            "said": _verdict(row),
        }
        for row in judged.to_dict("records")
    ]


def _verdict(row: Mapping[Any, Any]) -> str:
    if row["verdict"] == "not judged":
        return f"not judged: {row['reason']}"
    more = float(row["more"])
    return f"{row['verdict']}: about {more:.0f} more" if np.isfinite(more) else str(row["verdict"])


def _judged(found: CampaignAnswer) -> ReportTable:
    assert found.judged is not None
    columns = [
        _VARIANT,
        _N,
        text("what", "Figure"),
        text("shown", "Ratio [95 %]"),
        text("said", "Verdict"),
    ]
    primary = found.judged[found.judged["is_primary"]]
    rows = _ratio_rows(primary.sort_values(["variant", "clients", "test", "figure"]))
    base = found.design.variants[0]
    return ReportTable.from_records(
        "answer", f"Against {base}", columns, rows,
        f"{base} = 1; a change counts from {share(found.design.margin)} on.", VERDICT_METHOD,
    )  # fmt: skip


def _explored(found: CampaignAnswer) -> ReportTable:
    assert found.judged is not None
    columns = [
        _VARIANT, _N, text("what", "Figure"), Column("pairs", "Pairs"), _RATIO, _LOW, _HIGH,
        Column("p", "p", digits=4),
        Column("p_adjusted", "p, adjusted", digits=4), text("said", "Verdict"),
    ]  # fmt: skip
    rows = _ratio_rows(found.judged[~found.judged["is_primary"]])
    return ReportTable.from_records(
        "explored", "Other figures, exploratory", columns, rows,
        "Not what the campaign was planned for: a hint where to look, no verdict.",
        "Adjusted together by Benjamini and Hochberg's procedure (1995)",
    )  # fmt: skip


def _cells(found: CampaignAnswer) -> ReportTable:
    """One row a cell: mean and ± of every figure that is known somewhere."""
    known = [name for name in FIGURES if (found.means["figure"] == name).any()]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in found.means.to_dict("records"):
        key = (row["test"], row["variant"], row["clients"])
        own = rows.setdefault(key, dict(zip(("test", "variant", "clients"), key, strict=True)))
        own[row["figure"]], own[f"{row['figure']}_half_pct"] = (
            row["mean"],
            _pct(row["half_width_share"]),
        )
        if row["figure"] == found.headline(row["test"]) or "repetitions" not in own:
            own |= {name: row[name] for name in ("repetitions", "void", "note")}
    columns = [
        _TEST,
        _N,
        *_variants(found),
        Column("repetitions", "Repetitions"),
        Column("void", "Void"),
    ]
    for name in known:
        columns += [FIGURES[name], pct(f"{name}_half_pct", "±")]
    columns += [text("note", "Note")] if any(row.get("note") for row in rows.values()) else []
    return ReportTable.from_records(
        "cells", "Every cell", columns, [rows[key] for key in sorted(rows)],
        "±: half of the 95 % interval over repetitions, of the mean.",
    )  # fmt: skip


def _variants(found: CampaignAnswer) -> list[Column]:
    return [_VARIANT] if len(found.design.variants) > 1 else []


def _in_tunnel(found: CampaignAnswer) -> ReportTable:
    columns = [
        _TEST, _N, *_variants(found), Column("ratio", "In / out of tunnel", digits=3), _LOW, _HIGH,
        Column("pairs", "Blocks"),
    ]  # fmt: skip
    rows = found.in_tunnel.sort_values(["test", "variant", "clients"]).to_dict("records")
    return ReportTable.from_records(
        "in-tunnel", "In the tunnel over beside it", columns, rows,
        "Low and high: the 95 % interval, paired in the block.", PAIRED_METHOD,
    )  # fmt: skip


def _laws(found: CampaignAnswer) -> ReportTable:
    """Every law of every figure that grows; where there is none, the sentence says why."""
    rows = [
        {**_parameter(row, one.figure), "what": _grown(found, one)}
        for one in found.growths
        for row in one.parameters().to_dict("records")
    ]
    why = [f"{_grown(found, one)}: {one.words}." for one in found.growths]
    formulas = dict.fromkeys(
        f"{fit.law.name}: {fit.law.formula}" for g in found.growths for fit in g.laws
    )
    columns = [
        text("what", "Figure"), text("law", "Law"), text("standing", "Standing"),
        Column("aicc_above_best", "AICc above best", digits=1),
        Column("lack_of_fit_p", "Lack of fit, p", digits=3), text("parameter", "Parameter"), text("unit", "Unit"),
        Column("value", "Value", digits=3), _LOW, _HIGH,
    ]  # fmt: skip
    return ReportTable.from_records(
        "laws", "Laws of growth", columns, rows, format_some(why, 2, " "),
        f"{growth.METHOD}. {'; '.join(formulas)}.",
    )  # fmt: skip


_PARAMETER_UNITS = {"knee": "clients", "peak": "clients", "sigma": "", "kappa": ""}


def _parameter(row: Mapping[Any, Any], figure: str) -> dict[str, Any]:
    """A parameter in the unit of its figure; an end beyond the sizes measured is not known."""
    column, name = FIGURES[figure], str(row["parameter"])
    scale = 1.0 if name in _PARAMETER_UNITS else column.scale
    ends = {end: float(row[end]) / scale for end in ("value", "low", "high")}
    return {
        **{str(key): value for key, value in row.items()},
        **{end: value if math.isfinite(value) else None for end, value in ends.items()},
        "unit": _PARAMETER_UNITS.get(name, column.unit),
    }


def _grown(found: CampaignAnswer, one: growth.Growth) -> str:
    variant = f", {one.variant}" if len(found.design.variants) > 1 else ""
    return f"{one.test}{variant}: {phrase(one.figure)}"


def _uses(found: CampaignAnswer) -> ReportTable:
    """Each resource that was watched, by client count."""
    rows: list[dict[str, Any]] = []
    for variant in found.design.variants:
        for test in found.primary_tests:
            full = found.full(variant, test)
            if full is None:
                continue
            for row in full.uses.to_dict("records"):
                known = {str(name): value for name, value in row.items()}
                called = full.titles.get(known["resource"], known["resource"])
                rows.append({**known, "test": test, "variant": variant, "resource": called})
    columns = [
        _TEST, *_variants(found), text("resource", "Resource"), _N,
        Column("use", "Use", digits=3), _LOW, _HIGH,
        Column("repetitions", "Repetitions"),
    ]  # fmt: skip
    return ReportTable.from_records(
        "resources", "Use of each resource", columns, rows,
        "Shares of all there is of it; queue drops are packets a block.", f"{resources.METHOD}.",
    )  # fmt: skip


def _blocks(found: CampaignAnswer) -> ReportTable:
    """One row a block in the order run; the figures of its tests beside each other."""
    rows: dict[int, dict[str, Any]] = {}
    for row in found.frame.to_dict("records"):
        own = rows.setdefault(
            int(row["block"]),
            {**{str(name): v for name, v in row.items()}, "warnings": 0, "not_steady": []},
        )
        own["warnings"] += int(row["warnings"])
        own[f"{row['test']}_value"] = row[found.headline(str(row["test"]))]
        own["not_steady"] += [str(row["test"])] if row["not_steady"] else []
    tests = [test for test in found.design.tests if (found.frame["test"] == test).any()]
    columns = [
        Column("block", "Block"), text("folder", "Run"), Column("repetition", "Repetition"),
        Column("attempt", "Attempt"), _N, *_variants(found),
        Column("started_s", "Began", "s", digits=0),
        *(replace(FIGURES[found.headline(t)], key=f"{t}_value", heading=t) for t in tests),
        Column("warnings", "Warnings"), text("not_steady", "Not steady"), text("void", "Void"),
    ]  # fmt: skip
    shown = [{**row, "not_steady": ", ".join(row["not_steady"])} for row in rows.values()]
    return ReportTable.from_records(
        "blocks", "Blocks in the order run", columns, shown,
        "Each block is a run: perfkit report and 05_segments open it by campaign/number.",
    )  # fmt: skip


def _cost(found: CampaignAnswer) -> ReportTable:
    """What the answer cost, and what half the width would cost on top."""
    spent = found.spent
    more = (HALF_WIDTH - 1) * (spent.blocks - spent.void)
    more_s = (HALF_WIDTH - 1) * spent.blocks_s
    rows = [
        {
            "what": "this answer", "blocks": spent.blocks, "elapsed_s": spent.elapsed_s,
            "host_s": spent.host_s, "usd": spent.usd,
        },
        {
            "what": "half the width, on top", "blocks": more, "elapsed_s": more_s,
            "host_s": spent.hosts * more_s, "usd": spent.usd_per_h * more_s / 3600,
        },
    ]  # fmt: skip
    columns = [
        text("what", "Answer"), Column("blocks", "Blocks"),
        Column("elapsed_s", "Time", "min", scale=60.0, digits=1),
        Column("host_s", "Hosts", "h", digits=2, scale=3600.0), Column("usd", "Cost", "USD", digits=2),
    ]  # fmt: skip
    caption = (
        f"Half the width takes {HALF_WIDTH} times the repetitions, if the spread stays as it is."
    )
    if found.design.capacity is not None:  # whose bounds are as near as their width says
        rows, caption = rows[:1], ""
    return ReportTable.from_records("cost", "What the answer cost", columns, rows, caption)


def windows(frame: pd.DataFrame) -> ReportTable:
    """The windows that a campaign's cells stand on, a row a block and test."""
    columns = [
        Column("block", "Block"), text("folder", "Run"), _N, _VARIANT, _TEST,
        Column("window_s", "Window", "s", digits=1), Column("warm_up_s", "Warm-up cut", "s", digits=1),
        text("chosen_by", "Chosen by"), text("not_steady", "Not steady"), text("void", "Void"),
    ]  # fmt: skip
    by_hand = frame[~frame["chosen_by"].isin(["", *MACHINES])]
    caption = f"{format_count(len(by_hand), 'window')} of {len(frame)} were chosen by a person."
    return ReportTable.from_records(
        "windows", "Windows of the blocks", columns, frame.to_dict("records"), caption
    )
