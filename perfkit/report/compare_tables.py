"""The tables of a comparison, ready for every exporter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from perfkit import __version__
from perfkit.analysis import scaling
from perfkit.analysis.answers import growth
from perfkit.analysis.compare import Comparison
from perfkit.analysis.conditions import NOT_RECORDED
from perfkit.analysis.run_summary import Test
from perfkit.analysis.sides import Side
from perfkit.analysis.slot_figures import QUANTILES, QUANTILES_METHOD, quantiles
from perfkit.report.columns import mbps, text
from perfkit.report.compare_verdicts import SHOWN, figures_table, verdict_tables
from perfkit.report.tables import Column, ReportTable


def comparison_tables(comparison: Comparison) -> list[ReportTable]:
    """Most asked for first: verdicts, what differed, distributions, growth, runs, raw figures."""
    tables = [*verdict_tables(comparison), _conditions(comparison), _quantiles(comparison)]
    if len({run.clients for run in comparison.runs}) > 1:
        tables += [_sizes(comparison), _growth(comparison)]
    tables += [_runs(comparison), figures_table(comparison)]
    names = "; ".join(f"{side.label} {side.name}" for side in comparison.sides)
    line = f"Runs: {names}; perfkit {__version__}"
    return [table.with_provenance(line) for table in tables]


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
    cells = [(side, size) for side in comparison.sides for size in side.sizes]
    for key in dict.fromkeys(test.key for run in comparison.runs for test in run.tests):
        for side, size in cells:
            tests = side.tests(key, size)
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
        Column("runs", "Runs"),
        *(
            Column(key, SHOWN[key].heading, SHOWN[key].unit, digits=3, scale=SHOWN[key].scale)
            for key in costs
        ),
        text("full", "What was full"),
    )
    rows = [
        {
            "where": key,
            "clients": tests[0].clients,
            "side": side.label,
            "runs": len(tests),
            **{name: mean.figure(name) for name in costs},
            "full": scaling.bottleneck(mean, run.vpn, shared_cpu=run.shared_cpu),
        }
        for side in comparison.sides
        for size in side.sizes
        for run in side.of_size(size)[:1]
        for key in (test.key for test in run.tests)
        for tests in [side.tests(key, size)]
        for mean in [_mean(tests)]
    ]
    rows.sort(key=lambda row: (str(row["where"]), int(str(row["clients"]))))
    caption = (
        "Means over the runs of a side, and what was full at the server in the steady window. "
        "What a link can carry is not known to perfkit."
    )
    return ReportTable.from_records(
        "compare-sizes", "Where is the bottleneck", columns, rows, caption
    )


def _mean(tests: Sequence[Test]) -> Test:
    """A test whose numbers are the means of several."""
    frame = pd.DataFrame([test.figures for test in tests])
    return replace(tests[0], figures={**tests[0].figures, **frame.mean(numeric_only=True)})


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
