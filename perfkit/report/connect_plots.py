"""Pictures of the clients that connect at once: which share of them had connected after how long."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from perfkit.analysis import connecting
from perfkit.analysis.connecting import Connecting
from perfkit.logs.run_logs import RunLogs
from perfkit.model import TestKind
from perfkit.report import plots
from perfkit.report.plots import Plot
from perfkit.units import format_count

_LINES = {
    "first": ("all at once", plots.BLUE, "-"),
    "restart": ("after the server's restart", plots.ORANGE, "--"),
}


def connect_plots(logs: RunLogs) -> list[Plot]:
    """One for each test of kind `connect-storm` of which anything is known."""
    made = []
    with mpl.rc_context(plots.STYLE):
        for slot in logs.slots:
            found = connecting.phases(logs, slot) if slot.kind is TestKind.CONNECT_STORM else []
            if found:
                made.append(_distribution(slot.name, found))
    return made


def _distribution(test: str, found: list[Connecting]) -> Plot:
    """Cumulative shares of all clients: a client that did not connect keeps its line below 100 %."""
    figure, (axis,) = plots.stacked(1, 9.6, 3.2)
    times_s = np.concatenate([it.values[it.values > 0] for it in found])  # NaN is not
    ends = (float(times_s.min()), float(times_s.max())) if len(times_s) else (0.1, 1.0)
    for phase in found:
        _line(axis, phase, ends)
    plots.log_axis(axis)  # a restart takes seconds where a first start takes tenths
    axis.set_ylim(0, 102)
    axis.set_xlabel("time since the VPN's start (s, logarithmic)")
    axis.set_ylabel("clients connected (%)")
    plots.legend_beside(axis)
    return plots.drawn(
        figure,
        name=f"connect-{test}",
        title=f"{test}: share of the clients whose tunnel carries a ping",
        alt=f"Share of connected clients over time. {'; '.join(map(_words, found))}.",
    )


def _line(axis: Axes, phase: Connecting, ends: tuple[float, float]) -> None:
    values = phase.values
    connected = values[np.isfinite(values)]
    label, colour, dash = _LINES[phase.phase]
    shares = np.arange(len(connected) + 1) / max(len(values), 1) * 100
    places = np.concatenate([[ends[0] / 1.5], connected, [ends[1] * 1.1]])
    axis.step(places, [*shares, shares[-1]], dash, where="post", color=colour, label=label)


def _words(phase: Connecting) -> str:
    figures, count = phase.figures(), format_count(len(phase.wait_s), "client")
    median = figures["median_s"]
    shown = f"median {median:.3f} s" if np.isfinite(median) else "no median"
    return f"{_LINES[phase.phase][0]}: {count}, {shown}, {int(figures['failed'])} did not connect"
