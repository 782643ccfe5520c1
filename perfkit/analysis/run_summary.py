"""A run reduced to what a comparison needs: figures, their spread, clients, conditions, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from perfkit.analysis import background_load, segments, uncertainty
from perfkit.analysis.answers.frame import OF_CONNECTING
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.conditions import conditions
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.server_load import shared_cpu
from perfkit.analysis.slot_figures import prepare
from perfkit.analysis.stats import Summary, summarise
from perfkit.analysis.uncertainty import Spread, together
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.model import Segment
from perfkit.runs.folder import Run
from perfkit.runs.vpn_record import VpnRecord

OVER_TIME = (*GOODPUT, "client_median_bps", "jain", "vpn_cpu_s_per_gbit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test of one run.

    Attributes:
        key: The test's name, and which time it ran where it ran more than once: `tunnel-tcp`,
            `tunnel-tcp (2)`. Runs are matched by it, not by the place in the timetable.
        figures: The row of `perfkit.analysis.stats.summarise`.
        goodput_bps: Of each counted client, ascending; empty where it has none, as both ways at once.
        spread: Standard error from within the run, by figure; see `perfkit.analysis.uncertainty`.
    """

    __test__ = False  # not a pytest class, whatever its name says

    key: str
    slot: str
    figures: Mapping[str, Any]
    goodput_bps: tuple[float, ...]
    spread: Mapping[str, Spread]

    @property
    def clients(self) -> int:
        """How many count."""
        return len(self.goodput_bps) or int(self.figures.get("clients_counted", 0))

    def figure(self, name: str) -> float:
        """A figure; NaN where there is none, infinite where it is beyond what was seen.

        As in `perfkit.analysis.answers.frame.figure_values`.
        """
        value = self.figures.get(name)
        known = float(value) if isinstance(value, int | float) else float("nan")
        if np.isnan(known) and name in OF_CONNECTING and self.figure(OF_CONNECTING[name]) > 0:
            return float("inf")
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOf:
    """What a block is in its campaign.

    Attributes:
        campaign: Its id.
        planned: Repetitions that were planned; None: as many as precision needs.
    """

    campaign: str
    repetition: int
    variant: str
    planned: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """One run.

    Attributes:
        clients: How many the run was to have.
        shared_cpu: All its hosts ran on the same processors.
        conditions: See `perfkit.analysis.conditions.conditions`.
        phases: Seconds by phase.
        warnings: What may change its figures.
        vpn: Which VPN it had.
        other_load: What else kept the server busy; empty: nothing that was seen.
        block: What it is in a campaign; None: a run by itself.
    """

    run_id: str
    name: str
    created_utc: str
    clients: int
    shared_cpu: bool
    tests: tuple[Test, ...]
    conditions: Mapping[str, str]
    phases: Mapping[str, float]
    warnings: tuple[Finding, ...]
    vpn: VpnRecord = field(default_factory=VpnRecord)
    other_load: str = ""
    block: BlockOf | None = None

    def find_test(self, key: str) -> Test | None:
        """A test by its key."""
        return next((test for test in self.tests if test.key == key), None)


def reduce_run(run: Run, *, phases: Sequence[tuple[str, float]] = ()) -> Reduced:
    """Read a run's logs and reduce them; writes segments.json if there is none.

    Args:
        phases: (name, seconds) of each phase.

    Raises:
        RunError: the run measured nothing. SegmentError: its segments.json is damaged.
    """
    logs = read_run(run)
    found = outcomes(logs)
    chosen = segments.current(run, logs, found)
    summary = summarise(logs, chosen, found)
    return Reduced(
        run_id=run.id,
        name=str(logs.manifest.get("name", "")),
        created_utc=str(logs.manifest.get("created_utc", "")),
        clients=len(logs.clients),
        shared_cpu=shared_cpu(logs),
        tests=_tests(logs, chosen, found, summary),
        conditions=conditions(run, logs),
        vpn=logs.vpn_record,
        phases=dict(phases),
        warnings=tuple(f for f in summary.findings if f.level == "warning"),
        other_load="; ".join(f.text for f in background_load.findings(logs, found)),
    )


def test_keys(slots: Sequence[SlotPlan]) -> dict[str, str]:
    """The key of each slot's test, see `Test`."""
    times: Counter[str] = Counter()
    keys = {}
    for slot in slots:
        times[slot.test] += 1
        keys[slot.name] = slot.test + (f" ({times[slot.test]})" if times[slot.test] > 1 else "")
    return keys


def _tests(
    logs: RunLogs, chosen: Sequence[Segment], found: pd.DataFrame, summary: Summary
) -> tuple[Test, ...]:
    clients = summary.clients
    windows = {segment.slot: segment.steady for segment in chosen}
    keys = test_keys(logs.slots)
    tests: dict[str, Test] = {}
    for slot, row in zip(logs.slots, summary.tests.to_dict("records"), strict=True):
        own = clients[((clients["slot"] == slot.name) & clients["ok"]).to_numpy()]
        window, spread = windows.get(slot.name), {}
        if window is not None:
            prepared = prepare(logs, slot, found[(found["slot"] == slot.name).to_numpy()])
            if not prepared.is_void and not row["not_steady"]:
                spread = _spread(
                    uncertainty.over_time(prepared, window, OVER_TIME),
                    uncertainty.over_clients(own),
                    row,
                )
        tests[slot.name] = Test(
            key=keys[slot.name],
            slot=slot.name,
            figures={str(name): value for name, value in row.items()},
            goodput_bps=tuple(np.sort(own["goodput_bps"].dropna().to_numpy(np.float64)).tolist()),
            spread=spread,
        )
    return tuple(_with_ratio(test, tests) for test in tests.values())


def _spread(
    time: Mapping[str, Spread], clients: Mapping[str, Spread], row: Mapping[Any, Any]
) -> dict[str, Spread]:
    """Both parts together; a figure that time has a part in has none without it."""
    found = {
        name: together(part, clients.get(name, Spread()))
        for name, part in time.items()
        if part.known
    }
    again, share = row.get("retransmits_per_gb"), clients.get("retransmits_per_gb")
    if share is not None and isinstance(again, float):
        found["retransmits_per_gb"] = replace(share, error=share.error * again)
    return found


def _with_ratio(test: Test, tests: Mapping[str, Test]) -> Test:
    """The ratio of two totals is as uncertain as both (first-order propagation, independent)."""
    direct, ratio = tests.get(str(test.figures.get("direct_slot"))), test.figure("vs_direct")
    if direct is None or not np.isfinite(ratio):
        return test
    parts = [
        Spread(ratio * spread.error / one.figure("goodput_bps"), spread.degrees)
        for one in (test, direct)
        if (spread := one.spread.get("goodput_bps"))
    ]
    if len(parts) < 2:
        return test
    return replace(test, spread={**test.spread, "vs_direct": together(*parts)})
