"""Plots of a run as SVG text and PNG, drawn without a display and without global state.

Colours are Okabe and Ito's, which stay apart for colour-blind readers; line styles differ too.
Text takes the colour of the page it is put in (`currentColor`), so one plot fits light and dark.

Source of the colours: Okabe, Ito, Color Universal Design (2008).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from perfkit.analysis.rate_scale import FAR_APART, floor_bps
from perfkit.analysis.server_load import outside_nic
from perfkit.analysis.slot_figures import LEAST_CLIENTS, quantiles
from perfkit.analysis.stats import Summary
from perfkit.logs.run_logs import RunLogs
from perfkit.model import Segment
from perfkit.report.columns import MEGA
from perfkit.report.kind_tables import GOODPUT_WORDS, Times, observed_times

INK = "#010203"  # stands for the page's own text colour until the SVG is written
_COLOURS = {"blue": "#0072b2", "orange": "#e69f00", "green": "#009e73", "red": "#d55e00"}
BLUE, ORANGE, GREEN, RED = COLOURS = tuple(_COLOURS.values())
_PNG_DPI = 150
_LETTERS_ACROSS = 130  # of the smallest text, across the server's plot
_POINTS = 500  # of a distribution; a picture shows no more
_DASHES = ("-", "--", ":")
_MANY = 40  # above this many clients dots say less than a distribution
STYLE: Any = {  # Any: only Matplotlib 3.11 and later types the keys
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "perfkit",  # the same run draws the same bytes
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a dollar in a test's name is a dollar
    **dict.fromkeys(
        [
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
            "grid.color",
        ],
        INK,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawn plot: its file name without suffix, its title, the SVG, and its words.

    Attributes:
        alt: What the plot shows, for those who cannot see it.
        png: The same on white, for places that show no SVG.
    """

    name: str
    title: str
    svg: str
    alt: str
    png: bytes


def draw_plots(logs: RunLogs, segments: Sequence[Segment], summary: Summary) -> list[Plot]:
    """Every plot there is data for: the server over time, and goodput per client."""
    plots = []
    with mpl.rc_context(STYLE):
        server = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
        if len(server):
            plots.append(_server_over_time(server, segments, logs))
        if len(_counted(summary)):
            plots.append(_per_client(summary))
        times = observed_times(logs, summary)
        if times:
            plots.append(_observed(times))
    return plots


def _observed(times: Mapping[str, Times]) -> Plot:
    """The share of the observations that took at most so long, a line a test and phase.

    What did not come took longer than all that is shown, so its line ends below 100 %.
    """
    figure, (axis,) = stacked(1, 9.6, 3.6)
    words = []
    for place, (name, seen) in enumerate(times.items()):
        shares = np.linspace(0, 1, min(len(seen.values_ms), _POINTS))
        values = np.quantile(seen.values_ms, shares)
        colour = COLOURS[place % len(COLOURS)]
        came = len(seen.values_ms) / seen.count
        axis.step(
            values, 100 * came * shares, _DASHES[place % 3], where="post", color=colour, label=name
        )
        half, most = np.quantile(seen.values_ms, [0.5, 0.99])
        words.append(
            f"{name}: {seen.count}, {1 - came:.1%} did not come, median {half:.3g} ms, "
            f"p99 {most:.3g} ms"
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlabel("ms, logarithmic")
    axis.set_ylabel("at most so long (%)")
    axis.set_ylim(0, 102)
    legend_beside(axis)
    return drawn(
        figure,
        name="times",
        title="What the clients that count waited for: share of all that took at most so long",
        alt=f"Cumulative distributions. {'; '.join(words)}.",
    )


def _server_over_time(monitor: pd.DataFrame, segments: Sequence[Segment], logs: RunLogs) -> Plot:
    panels = [
        ("NIC", _nic_lines(monitor, outside_nic(monitor, logs.vpn_record.device))),
        ("Tunnel", _nic_lines(monitor, logs.vpn_record.device)),
        ("CPU", _cpu_lines(monitor)),
    ]
    panels = [(label, lines) for label, lines in panels if lines]
    figure, axes = stacked(len(panels), 9.6, 1.0 + 1.6 * len(panels), sharex=True)
    gaps = _gaps(monitor)
    broken = np.insert(monitor["t_s"].to_numpy(), gaps, np.nan)
    moments = monitor["t_s"].to_numpy(dtype=np.float64)
    for place, (axis, (label, lines)) in enumerate(zip(axes, panels, strict=True)):
        rates = [(moments, values * MEGA) for values in lines.values()] if label != "CPU" else []
        floor = floor_bps(rates, logs.slots) / MEGA
        for (name, values), (colour, dash) in zip(
            lines.items(), ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":")), strict=False
        ):
            drawn_values = np.insert(np.maximum(values, floor), gaps, np.nan)
            axis.step(broken, drawn_values, dash, where="pre", color=colour, label=name)
        unit = "%" if label == "CPU" else "Mbit/s, log" if floor else "Mbit/s"
        axis.set_ylabel(f"{label}\n({unit})")
        if floor:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(_log_label(floor))
            axis.yaxis.set_minor_locator(NullLocator())
        axis.set_ylim(bottom=floor)
        _shade(axis, segments, named=place == 0, whole_s=float(np.ptp(moments)))
        if len(lines) > 1:
            legend_beside(axis)
    axes[-1].set_xlabel("seconds after T0")
    first = min((slot.start_s for slot in logs.slots), default=0.0)
    last = max((slot.end_s for slot in logs.slots), default=0.0)
    inside = monitor["t_s"].between(first - 10, last + 10)
    if inside.any():
        axes[-1].set_xlim(monitor.loc[inside, "t_s"].min(), monitor.loc[inside, "t_s"].max())
    named = ", ".join(
        f"{s.slot} from {s.outer.start_s:.0f} to {s.outer.end_s:.0f} s" for s in segments
    )
    return drawn(
        figure,
        name="server-over-time",
        title="Server over time; dark bands are the steady windows, light ones the outer windows",
        alt=f"Line plots of the server's network and CPU load by second. Tests: {named or 'none'}.",
    )


def _log_label(floor: float) -> Callable[[float, int], str]:
    """Labels of a logarithmic axis; what is below its floor is drawn there."""
    return lambda value, _place: f"{'≤' if np.isclose(value, floor) else ''}{value:,.10g}"


def _nic_lines(monitor: pd.DataFrame, nic: str) -> dict[str, Any]:
    ways = {"received": f"net_{nic}_recv_bps", "sent": f"net_{nic}_send_bps"}
    return {n: monitor[c].to_numpy() / MEGA for n, c in ways.items() if c in monitor}


def _cpu_lines(monitor: pd.DataFrame) -> dict[str, Any]:
    shares = {"total": "cpu_busy_pct", "sys": "cpu_system_pct", "usr": "cpu_user_pct"}
    return {n: monitor[c].to_numpy() for n, c in shares.items() if c in monitor}


def _gaps(monitor: pd.DataFrame) -> Any:
    """Rows before which the monitor was away for long: the line breaks there."""
    dt = monitor["dt_s"].to_numpy()
    typical = np.nanmedian(dt) if len(dt) else np.nan
    return np.flatnonzero(np.diff(monitor["t_s"].to_numpy()) > 5 * typical) + 1


def _shade(axis: Axes, segments: Sequence[Segment], *, named: bool, whole_s: float) -> None:
    """Bands of the windows; narrow ones have the number of their test, which its name begins with."""
    for segment in segments:
        room = _LETTERS_ACROSS * segment.outer.length_s / max(whole_s, 1.0)
        name = segment.slot if len(segment.slot) <= room else segment.slot.partition("-")[0]
        axis.axvspan(segment.outer.start_s, segment.outer.end_s, color=GREEN, alpha=0.10, lw=0)
        if segment.steady:
            axis.axvspan(
                segment.steady.start_s, segment.steady.end_s, color=GREEN, alpha=0.16, lw=0
            )
        if named:
            middle = (segment.outer.start_s + segment.outer.end_s) / 2
            axis.annotate(
                name,
                (middle, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )


def _per_client(summary: Summary) -> Plot:
    """One row a test: every client up to forty, else the distribution; the box is p25 to p75.

    Tests that are far apart get an axis each: on a common one the slow test would be a dot.
    """
    counted = _counted(summary)
    tests = {
        f"{slot}{words}": np.sort(own[figure].to_numpy() / MEGA)
        for slot in summary.tests["slot"]
        for figure, words in GOODPUT_WORDS.items()
        if figure in counted
        and len(own := counted[((counted["slot"] == slot) & counted[figure].notna()).to_numpy()])
    }
    largest = [float(values[-1]) for values in tests.values()]
    apart = max(largest) > FAR_APART * min(largest)
    height = 0.6 + (0.95 if apart else 0.7) * len(tests)
    figure, axes = stacked(len(tests), 9.6, height, sharex=not apart)
    for axis, (slot, values) in zip(axes, tests.items(), strict=True):
        _distribution(axis, values)
        axis.set_yticks([0], [slot])
        axis.set_ylim(-0.5, 0.5)
        axis.set_xlim(left=0)
        axis.grid(visible=False, axis="y")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[-1].set_xlabel("goodput of a client in the steady window (Mbit/s)")
    words = "; ".join(
        f"{slot}: {len(values)} clients, median {np.median(values):.2f}, "
        f"{values[0]:.2f} to {values[-1]:.2f} Mbit/s"
        for slot, values in tests.items()
    )
    scales = "; each test has its own scale" if apart else ""
    counts = [len(values) for values in tests.values()]
    return drawn(
        figure,
        name="per-client",
        title=f"Goodput per client: {_box(min(counts), max(counts))}, line the median{scales}",
        alt=f"Distribution of goodput over clients. {words}.",
    )


def _box(fewest: int, most: int) -> str:
    """What box and whiskers are, in words: few clients have no p5, very few no p25."""
    least = LEAST_CLIENTS["p5"]
    ends = "p5 to p95" if most >= least else "smallest to largest"
    if fewest < least <= most:
        ends += f" (of fewer than {least} clients: smallest to largest)"
    return f"{'box p25 to p75, ' if most >= LEAST_CLIENTS['p25'] else ''}whiskers {ends}"


def _counted(summary: Summary) -> pd.DataFrame:
    """Clients that count in a test with goodput: one of another kind, or without a window, has none."""
    tests, clients = summary.tests, summary.clients
    known = [figure for figure in GOODPUT_WORDS if figure in tests and figure in clients]
    has_goodput = tests.loc[tests[known].notna().any(axis=1), "slot"]
    clients = clients[(clients["slot"].isin(has_goodput) & clients["ok"]).to_numpy()]
    return clients[clients[known].notna().any(axis=1).to_numpy()]


def _distribution(axis: Axes, values: Any) -> None:
    p5, p25, p50, p75, p95 = quantiles(values).values()
    axis.plot(values[[0, -1]] if np.isnan(p5) else [p5, p95], [0, 0], color=INK, lw=1)
    if not np.isnan(p25):
        axis.barh(0, p75 - p25, left=p25, height=0.34, color=BLUE, alpha=0.35, lw=0)
    axis.plot([p50, p50], [-0.2, 0.2], color=RED, lw=2)
    if len(values) <= _MANY:
        # The golden ratio spreads dots evenly without chance: the same run, the same picture.
        height = 0.12 * (2 * (np.arange(len(values)) * 0.618 % 1) - 1)
        axis.plot(values, height, "o", color=BLUE, ms=3.5, alpha=0.8, mew=0)
        return
    counts, edges = np.histogram(values, bins=int(2 * np.sqrt(len(values))))
    shape = counts / counts.max() * 0.32
    axis.fill_between(
        (edges[:-1] + edges[1:]) / 2,
        0.06,
        0.06 + shape,
        step="mid",
        color=BLUE,
        alpha=0.5,
        lw=0,
    )
    outside = values[(values < p5) | (values > p95)]
    axis.plot(outside, np.full(len(outside), -0.12), "|", color=BLUE, ms=5, alpha=0.7)


def stacked(count: int, width: float, height: float, **more: Any) -> tuple[Figure, list[Any]]:
    """A figure of so many panels below each other; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(count, 1, squeeze=False, **more)[:, 0])


def legend_beside(axis: Axes, *handles: Any, fontsize: float = 8, **more: Any) -> None:
    """Names at the right of a panel, from its top down."""
    place: Any = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    axis.legend(*handles, **place, frameon=False, fontsize=fontsize, **more)


def legend_above(axis: Axes, ncols: int) -> None:
    """Names above a panel, from its left edge on, so many beside each other."""
    axis.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8.5, ncols=ncols,
        borderaxespad=0.1, handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip


def log_axis(axis: Axes) -> None:
    """A logarithmic axis whose ticks, at 1, 2 and 5 of each decade, are read as they stand."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def log_axis_at(axis: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with a tick at each of these values, as people write it."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator([float(value) for value in values]))
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0f}" if value >= 100 else f"{value:.3g}")
    )
    axis.xaxis.set_minor_locator(NullLocator())


def drawn(figure: Figure, *, name: str, title: str, alt: str) -> Plot:
    """A figure as a plot, laid out once."""
    svg = _to_svg(figure)
    figure.set_layout_engine("none")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None})
    return Plot(name=name, title=title, svg=svg, alt=alt, png=out.getvalue())


def _to_svg(figure: Figure) -> str:
    """The figure as an SVG element that fits its column and takes the page's text colour."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode("utf-8")
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for name, colour in _COLOURS.items():  # a page may set lighter ones for its dark theme
        text = text.replace(colour, f"var(--plot-{name}, {colour})")
    # The size in points would not shrink on a phone; the viewBox keeps the shape.
    return re.sub(r'<svg ([^>]*?)width="[^"]*"([^>]*?)height="[^"]*"', r"<svg \1\2", text, count=1)
