"""Pictures of the clients that connect at once: which share of them had connected after how long."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from perfkit.analysis import connecting
from perfkit.analysis.connecting import Connecting
from perfkit.logs.run_logs import RunLogs
from perfkit.model import TestKind
from perfkit.report.plots import BLUE, ORANGE, STYLE, Plot, drawn
from perfkit.units import format_count

_LINES = {
    "first": ("all at once", BLUE, "-"),
    "restart": ("after the server's restart", ORANGE, "--"),
}


def connect_plots(logs: RunLogs) -> list[Plot]:
    """One for each test of kind `connect-storm` of which anything is known."""
    plots = []
    with mpl.rc_context(STYLE):
        for slot in logs.slots:
            found = connecting.phases(logs, slot) if slot.kind is TestKind.CONNECT_STORM else []
            if found:
                plots.append(_distribution(slot.name, found))
    return plots


def _distribution(test: str, found: list[Connecting]) -> Plot:
    """Cumulative shares of all clients: a client that did not connect keeps its line below 100 %."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    axis = figure.subplots()
    times_s = np.concatenate([it.values[it.values > 0] for it in found])  # NaN is not
    ends = (float(times_s.min()), float(times_s.max())) if len(times_s) else (0.1, 1.0)
    for phase in found:
        _line(axis, phase, ends)
    axis.set_xscale("log")  # a restart takes seconds where a first start takes tenths
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(0, 102)
    axis.set_xlabel("time since the VPN's start (s, logarithmic)")
    axis.set_ylabel("clients connected (%)")
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return Plot(
        name=f"connect-{test}",
        title=f"{test}: share of the clients whose tunnel carries a ping",
        **drawn(figure),
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
