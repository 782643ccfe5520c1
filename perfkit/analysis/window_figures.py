"""What one window decides, at once: goodput, clients active, CPU, and what a moved edge costs.

Figures are those of `perfkit.analysis.stats`, over the same bytes; only what they need of the
server's counters is looked at, so that a log of a million samples answers as fast as a short one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from perfkit.analysis import kind_figures
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.sensitivity import SAMPLES, inwards_change_pct, sensitivity
from perfkit.analysis.slot_figures import Prepared, prepare
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import Window
from perfkit.units import format_mbps

NEAR_S = 30.0  # of counters before and after a window: enough for every edge that is moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """Figures over one window.

    Attributes:
        goodput_bps: Of all counted clients together, at the receiver; NaN of traffic both ways.
        goodput_up_bps, goodput_down_bps: Of each direction, of traffic both ways only.
        clients: How many count.
        active_least: The least number of them that is active at any moment of the window.
        cpu_busy_pct: Of the server, all cores.
        goodput_change_pct, cpu_change_pct: The largest change when the window's edges move inwards
            by up to two samples; NaN: not asked for, or not known.
        observed: Of a test whose figures are samples: those of its kind, see
            `perfkit.analysis.kind_figures`; only those of requests depend on the window.
        void: Why there is no goodput: its logs say what cannot have happened; else empty.
    """

    window: Window
    goodput_bps: float
    clients: int
    active_least: int
    cpu_busy_pct: float
    goodput_change_pct: float = np.nan
    cpu_change_pct: float = np.nan
    void: str = ""
    goodput_up_bps: float = np.nan
    goodput_down_bps: float = np.nan
    observed: Mapping[str, float] = field(default_factory=dict)

    @property
    def goodput(self) -> str:
        """The goodput in words; of a test that went both ways, of each."""
        if self.void:
            return f"VOID ({self.void})"
        ways = [("up", self.goodput_up_bps), ("down", self.goodput_down_bps)]
        each = [f"{format_mbps(bps)} {way}" for way, bps in ways if np.isfinite(bps)]
        return ", ".join(each) or format_mbps(self.goodput_bps)

    def __str__(self) -> str:
        clients = f"{self.active_least} of {self.clients} clients active throughout"
        cpu = f"CPU {self.cpu_busy_pct:.1f} %" if np.isfinite(self.cpu_busy_pct) else "CPU n/a"
        return f"{self.goodput}, {clients}, {cpu}"


class Readings:
    """Read-outs of a run's slots; what a slot's windows share is prepared once."""

    def __init__(self, logs: RunLogs, outcomes: pd.DataFrame) -> None:
        self._logs, self._outcomes = logs, outcomes
        self._slots = {slot.name: slot for slot in logs.slots}
        self._prepared: dict[str, tuple[Window, Prepared]] = {}
        self._server = (logs.monitor["host"] == logs.server).to_numpy()
        self._moments = logs.monitor["t_s"].to_numpy(dtype=np.float64)

    def read(self, slot: str, window: Window, *, edges: bool) -> Readout:
        """The figures of a slot over a window.

        Args:
            edges: Also what a moved edge costs, which takes some twenty times as long.
        """
        known = self._slots[slot]
        prepared = self._prepare(known, window)
        figures = prepared.figures(window)
        clients, active_least = self._active(slot, window)
        found = Readout(
            window=window,
            observed={}
            if prepared.has_goodput
            else kind_figures.figures(self._logs, known, prepared.counted, window),
            **{name: figures.get(name, np.nan) for name in GOODPUT},
            void="; ".join(text for text, _ in prepared.impossible) if prepared.is_void else "",
            clients=clients,
            active_least=active_least,
            cpu_busy_pct=figures.get("cpu_busy_pct", np.nan),
        )
        if not edges:
            return found
        moved = sensitivity(prepared, window, SAMPLES)
        return replace(
            found,
            goodput_change_pct=inwards_change_pct(moved, *GOODPUT),
            cpu_change_pct=inwards_change_pct(moved, "cpu_busy_pct"),
        )

    def _prepare(self, slot: SlotPlan, window: Window) -> Prepared:
        known = self._prepared.get(slot.name)
        if known and known[0].start_s <= window.start_s and window.end_s <= known[0].end_s:
            return known[1]
        near = Window(
            start_s=min(window.start_s, slot.start_s) - NEAR_S,
            end_s=max(window.end_s, slot.end_s) + NEAR_S,
        )
        inside = (self._moments >= near.start_s - NEAR_S) & (self._moments <= near.end_s + NEAR_S)
        logs = replace(self._logs, monitor=self._logs.monitor[self._server & inside])
        own = self._outcomes[(self._outcomes["slot"] == slot.name).to_numpy()]
        prepared = prepare(logs, slot, own)
        self._prepared[slot.name] = near, prepared
        return prepared

    def _active(self, slot: str, window: Window) -> tuple[int, int]:
        """Counted clients, and the least number of them active at one moment of the window."""
        own = self._outcomes[(self._outcomes["slot"] == slot).to_numpy()]
        own = own[own["ok"].to_numpy(dtype=bool)]
        start, end = (own[name].to_numpy(dtype=np.float64) for name in ("start_s", "end_s"))
        # The count can only be least where the window begins or behind a client's end.
        moments = np.concatenate([[window.start_s], end[(end >= window.start_s)]])
        moments = moments[moments < window.end_s]
        active = (start[:, None] <= moments) & (moments < end[:, None])
        return len(own), int(active.sum(axis=0).min()) if len(own) else 0
