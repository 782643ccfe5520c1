"""A run over time, ready to be drawn: the server's NIC, tunnel and CPU, and the clients active.

Logs in, panels of series out, all on the run's time line; beside them what a window may snap to:
the monitor's ticks, and the moments at which something changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfkit.analysis import counters
from perfkit.analysis.blocks import BASE_BPS, STEP_CELLS, steps
from perfkit.analysis.decimation import Floats
from perfkit.analysis.interfaces import rate_columns
from perfkit.logs.run_logs import RunLogs, SlotPlan

_WAYS = {"recv": "received", "send": "sent"}
_SHARES = {"cpu_busy_pct": "busy", "cpu_system_pct": "system", "cpu_user_pct": "user"}
AWAY_TICKS = 5.0  # a monitor that was away for so many of its ticks leaves a gap in the line
LEAST_STEP = 0.3  # decades: the rate doubles or halves


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: values that hold over the time before each moment, or after it.

    Attributes:
        t_s: Ascending, seconds from T0.
        holds: `before` a moment, as a counter's sample does, or `after` it, as a count of events.
    """

    name: str
    t_s: Floats
    values: Floats
    holds: str = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Lines of one quantity; `unit` is `bit/s`, `%` or empty for a count."""

    name: str
    unit: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A run over time.

    Attributes:
        panels: Those there is data for, in their fixed order.
        slots: What the timetable planned.
        samples_s: The monitor's ticks: where one sample ends and the next begins.
        changes_s: Where the load changed or a client's record begins or ends, ascending.
        begin_s, end_s: What a picture of everything shows: all samples and all planned slots.
        data_s: From the first to the last moment something was measured; None: nothing was.
    """

    panels: tuple[Panel, ...]
    slots: tuple[SlotPlan, ...]
    samples_s: Floats
    changes_s: Floats
    begin_s: float
    end_s: float
    data_s: tuple[float, float] | None


def timeline(logs: RunLogs, outcomes: pd.DataFrame) -> Timeline:
    """Put a run's logs on panels.

    Args:
        outcomes: As `perfkit.analysis.outcomes.outcomes` makes it.
    """
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    monitor = monitor[monitor["t_s"].notna().to_numpy()].sort_values("t_s", kind="stable")
    active = clients_active(outcomes)
    device = logs.vpn_record.device
    nic = _interfaces(monitor, device, tunnel=False)
    tunnel = _interfaces(monitor, device, tunnel=True)
    shares = {name: column for column, name in _SHARES.items() if column in monitor}
    panels = (
        Panel(name="NIC", unit="bit/s", series=_lines(monitor, nic)),
        Panel(name="Tunnel", unit="bit/s", series=_lines(monitor, tunnel)),
        Panel(name="CPU", unit="%", series=_lines(monitor, shares)),
        Panel(name="Clients active", unit="", series=(active,) if len(active.t_s) else ()),
    )
    ticks = monitor["t_s"].to_numpy(dtype=np.float64)
    measured = [*ticks[:1], *ticks[-1:], *active.t_s[:1], *active.t_s[-1:]]
    planned = [moment for slot in logs.slots for moment in (slot.start_s, slot.end_s)]
    shown = [*measured, *planned] or [0.0, 1.0]
    margin_s = max(0.01 * (max(shown) - min(shown)), 0.5)
    return Timeline(
        panels=tuple(panel for panel in panels if panel.series),
        slots=logs.slots,
        samples_s=np.unique(ticks),
        changes_s=np.unique(np.concatenate([active.t_s, _steps(monitor, nic)])),
        begin_s=float(min(shown) - margin_s),
        end_s=float(max(shown) + margin_s),
        data_s=(float(min(measured)), float(max(measured))) if measured else None,
    )


def clients_active(outcomes: pd.DataFrame) -> Series:
    """How many of the clients that count were active, from their recorded starts and ends."""
    counted = outcomes[outcomes["ok"].to_numpy(dtype=bool)]
    starts = counted["start_s"].dropna().to_numpy(dtype=np.float64)
    ends = counted["end_s"].dropna().to_numpy(dtype=np.float64)
    moments = np.concatenate([starts, ends])
    change = np.concatenate([np.ones(len(starts)), -np.ones(len(ends))])
    t_s, place = np.unique(moments, return_inverse=True)
    at_each = np.bincount(place, weights=change, minlength=len(t_s))
    values = np.cumsum(at_each, dtype=np.float64)
    return Series(name="counted clients", t_s=t_s, values=values, holds="after")


def _interfaces(monitor: pd.DataFrame, device: str, *, tunnel: bool) -> dict[str, str]:
    """Columns of the interfaces on one side of the tunnel, by what their lines are called.

    Loopback counts where it is the only one: hosts without a network of their own use it.
    """
    wanted = [column for column in rate_columns(monitor, device) if column.is_tunnel == tunnel]
    wanted = [column for column in wanted if column.nic != "lo"] or wanted
    several = len({column.nic for column in wanted}) > 1
    return {
        f"{column.nic} {_WAYS[column.way]}" if several else _WAYS[column.way]: column.name
        for column in wanted
    }


def _lines(monitor: pd.DataFrame, columns: Mapping[str, str]) -> tuple[Series, ...]:
    """One line a column; where the monitor was away for long the line has a gap."""
    if monitor.empty or not columns:
        return ()
    begins, t_s = counters.spans(monitor)
    away = begins[1:] - t_s[:-1] > AWAY_TICKS * np.nanmedian(monitor["dt_s"])
    gaps = np.flatnonzero(away) + 1
    broken = np.insert(t_s, gaps, begins[gaps])
    return tuple(
        Series(
            name=name,
            t_s=broken,
            values=np.insert(monitor[column].to_numpy(dtype=np.float64), gaps, np.nan),
        )
        for name, column in columns.items()
    )


def _steps(monitor: pd.DataFrame, nic: Mapping[str, str]) -> Floats:
    """Moments at which the NIC's rate doubled or halved and stayed so for some samples."""
    if len(monitor) < 2 * STEP_CELLS or not nic:
        return np.empty(0)
    rate = np.nan_to_num(monitor[list(nic.values())].sum(axis=1).to_numpy(dtype=np.float64))
    step = steps(np.log10(np.maximum(rate, 0.0) + BASE_BPS))
    around = pd.Series(step).rolling(2 * STEP_CELLS - 1, center=True, min_periods=1).max()
    places = np.flatnonzero((step >= LEAST_STEP) & (step == around.to_numpy())) + STEP_CELLS
    return np.asarray(counters.spans(monitor)[0][places])
