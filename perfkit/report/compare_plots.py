"""Pictures of a comparison: how goodput is spread over clients on each side, and how cost grows."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfkit.analysis.compare import Comparison
from perfkit.analysis.rate_scale import FAR_APART
from perfkit.analysis.scaling import growth
from perfkit.analysis.sides import Side
from perfkit.report import plots
from perfkit.report.columns import MEGA
from perfkit.report.plots import BLUE, GREEN, ORANGE, RED, Plot
from perfkit.units import format_count

_COLOURS, _DASHES, _SHAPES = (BLUE, RED, GREEN, ORANGE), ("-", "--", "-.", ":"), "os^Dv<>p"
_POINTS = 201  # of a distribution's curve: 1,000 clients are drawn by as many as 200
_COLUMNS = 2


def draw_comparison(comparison: Comparison) -> list[Plot]:
    """Every plot there is data for."""
    with mpl.rc_context(plots.STYLE):
        made = [_distributions(comparison)]
        if len({run.clients for run in comparison.runs}) > 1:
            made.append(_growth(comparison))
    return [plot for plot in made if plot is not None]


def _look(place: int) -> tuple[str, str, str]:
    """Colour, dash and shape of a side: they change together, so none is needed alone."""
    turn = place + place // len(_COLOURS)  # the fifth side has the first colour, another dash
    return _COLOURS[place % 4], _DASHES[turn % 4], _SHAPES[place % len(_SHAPES)]


def _plain_ticks(axis: Axes) -> None:
    """A logarithmic axis of clients or rates whose ticks are read as they stand."""
    plots.log_axis(axis)
    axis.minorticks_off()


def _distributions(comparison: Comparison) -> Plot | None:
    """One panel a test; a thin curve a run, its median marked by the side's shape."""
    keys = dict.fromkeys(test.key for run in comparison.runs for test in run.tests)
    shown = [key for key in keys if any(_known(side, key) for side in comparison.sides)]
    if not shown:
        return None
    axes, figure = _panels(len(shown))
    words = []
    for axis, key in zip(axes, shown, strict=False):
        for place, side in enumerate(comparison.sides):
            for number, values in enumerate(_known(side, key)):
                _curve(axis, values, place, label=f"{side.label}" if number == 0 else None)
                words.append(
                    f"{key}, {side.label}: {len(values)} clients, median {np.median(values):.3g}, "
                    f"{values[0]:.3g} to {values[-1]:.3g} Mbit/s"
                )
        medians = [np.median(v) for side in comparison.sides for v in _known(side, key)]
        if min(medians) > 0 and max(medians) > FAR_APART * min(medians):
            _plain_ticks(axis)
        axis.set_title(key, fontsize=10)
        axis.set_ylim(0, 1)
        axis.set_xlabel("goodput of a client (Mbit/s)")
    plots.legend_beside(axes[min(len(shown), _COLUMNS) - 1], fontsize=9, title="side")
    for place in range(0, len(shown), _COLUMNS):
        axes[place].set_ylabel("part of the clients with no more")
    return plots.drawn(
        figure,
        name="compare-clients",
        title="Goodput per client in the steady window, cumulative: further right is more; one "
        "curve a run, its median marked",
        alt=f"Cumulative distributions of goodput over clients. {'; '.join(words)}.",
    )


def _panels(count: int) -> tuple[list[Axes], Figure]:
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(9.6, 3.1 * rows + 0.2), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return axes, figure


def _known(side: Side, key: str) -> list[Any]:
    """Goodput of the clients in Mbit/s, ascending, a run each; runs without any are left out.

    Of a side of several client counts, the runs with the most.
    """
    found = [np.array(test.goodput_bps) / MEGA for test in side.tests(key, side.sizes[-1])]
    return [values for values in found if len(values) and np.isfinite(values).all()]


def _curve(axis: Axes, values: Any, place: int, *, label: str | None) -> None:
    colour, dash, shape = _look(place)
    if len(values) < _POINTS:
        x, y = np.append(values[:1], values), np.linspace(0, 1, len(values) + 1)
        axis.step(x, y, dash, where="post", color=colour, lw=1.3)
    else:
        y = np.linspace(0, 1, _POINTS)
        axis.plot(np.quantile(values, y), y, dash, color=colour, lw=1.3)
    axis.plot([np.median(values)], [0.5], shape, color=colour, ms=6)
    if label:
        axis.plot([], [], dash, marker=shape, color=colour, label=label)


def _growth(comparison: Comparison) -> Plot | None:
    """Total goodput and the VPN's processor time against the clients, each series by itself.

    A run is a point; the line is the law where there is one, and else joins the sizes' medians.
    """
    costs = (
        ("goodput_bps", "total goodput (Mbit/s)", MEGA),
        ("vpn_cpu_s_per_gbit", "VPN CPU (s/Gbit)", 1.0),
    )
    every = growth({side.label: side.runs for side in comparison.sides})
    names = list(dict.fromkeys((found.test, found.variant) for found in every))
    if not names:
        return None
    axes, figure = _panels(len(costs))
    words = []
    for axis, (cost, label, scale) in zip(axes, costs, strict=True):
        for found in (one for one in every if one.figure == cost):
            colour, dash, shape = _look(names.index((found.test, found.variant)))
            name = f"{found.test}, {found.variant}"
            x, y = found.points["clients"], found.points["value"] / scale
            axis.plot(x, y, shape, color=colour, ms=5)
            line = found.curve(np.geomspace(found.sizes[0], found.sizes[-1], _POINTS).tolist())
            if line.empty:
                medians = found.points.groupby("clients")["value"].median()
                line = medians.rename("fit").reset_index()
            axis.plot(line["clients"], line["fit"] / scale, dash, color=colour, lw=1)
            axis.plot([], [], dash, marker=shape, color=colour, label=name)
            words.append(f"{name}: {found.words}")
            words += [f"{format_count(n, 'client')}: {v:.3g}" for n, v in zip(x, y, strict=True)]
        _plain_ticks(axis)
        axis.margins(y=0.1)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("clients")
        axis.set_ylabel(label)
    plots.legend_beside(axes[-1], *axes[0].get_legend_handles_labels(), fontsize=9)
    return plots.drawn(
        figure,
        name="compare-growth",
        title="What changes with the number of clients (logarithmic)",
        alt=f"Figures against clients. {'; '.join(words)}.",
    )
