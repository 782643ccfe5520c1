"""How figures grow over runs of several sizes, and what was full in each.

Runs whose recorded conditions are the same but for the number of clients are a *series*, and each
series is fitted by itself: two versions of a program are two series, never one. They are no
repetitions of a campaign, so nothing is taken to be shared by some of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.growth import Growth, fit_growth
from perfkit.analysis.answers.resources import ONE_CORE
from perfkit.analysis.run_summary import Reduced, Test
from perfkit.runs.vpn_record import VpnRecord
from perfkit.units import format_some

FULL_CORE = 0.9  # of one core, by a program that works on one
FULL_CPU_PCT = 95.0
_NAMED = 6  # sides in the name of a series
GROWING = ("goodput_bps", "client_median_bps", "vpn_cores", "vpn_cpu_s_per_gbit")


def growth(runs: Mapping[str, Iterable[Reduced]]) -> list[Growth]:
    """Every growing figure of every test that runs of two sizes or more have, a series each.

    Args:
        runs: Of each side, under its label; a series is called by the labels of its sides.

    Returns:
        `variant` is the series. A size is the number of clients that count.
    """
    series: dict[frozenset[tuple[str, str]], dict[str, list[Reduced]]] = {}
    for label, ones in runs.items():
        for run in ones:
            alike = frozenset((k, v) for k, v in run.conditions.items() if k != "clients")
            series.setdefault(alike, {}).setdefault(label, []).append(run)
    found = []
    for labels in series.values():
        frame = _cells(
            format_some(list(labels), _NAMED), [run for ones in labels.values() for run in ones]
        )
        for _, rows in frame.groupby("test", sort=False):
            sizes = {name: rows.loc[rows[name].notna(), "clients"].nunique() for name in GROWING}
            found += [fit_growth(rows, name) for name, count in sizes.items() if count > 1]
    return found


def _cells(series: str, runs: Iterable[Reduced]) -> pd.DataFrame:
    return cells_frame(
        {
            "block": block,
            "repetition": 1,
            "clients": len(test.goodput_bps),
            "variant": series,
            "test": test.key,
            "path": str(test.figures.get("path")),
            "position": position,
            **{name: test.figure(name) for name in GROWING},
        }
        for block, run in enumerate(runs, start=1)
        for position, test in enumerate(run.tests, start=1)
        if test.goodput_bps
    )


def bottleneck(test: Test, vpn: VpnRecord, *, shared_cpu: bool) -> str:
    """What was full in a test, among what was watched; a link's own limit is not known here."""
    cores, busy = test.figure("vpn_cores"), test.figure("cpu_busy_pct")
    busiest = np.fmax(test.figure("busiest_core_pct"), test.figure("busiest_core_tick_pct"))
    full = []
    if vpn.single_core and FULL_CORE <= cores <= ONE_CORE:
        full.append(f"{vpn.title} used {cores:.2f} cores; its traffic is the work of one")
    if busiest >= FULL_CPU_PCT:
        full.append(f"one core was {busiest:.0f} % busy")
    if busy >= FULL_CPU_PCT:
        whose = "server, clients and generators share them" if shared_cpu else "the server's"
        full.append(f"the processors were {busy:.0f} % busy ({whose})")
    if full:
        return "; ".join(full)
    seen = [f"{vpn.title} {cores:.2f} cores"] if np.isfinite(cores) else []
    seen += [f"processors {busy:.0f} % busy"] if np.isfinite(busy) else []
    return f"nothing watched was full: {', '.join(seen)}" if seen else "nothing was watched"
