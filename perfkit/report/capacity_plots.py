"""Pictures of searches for capacity: each trial's load against its loss, and the bounds."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from perfkit.analysis.answers import capacity
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.answers.capacity import Search
from perfkit.report import plots
from perfkit.report.answer_capacity import loss_words, range_words
from perfkit.report.columns import MEGA
from perfkit.report.plots import Plot
from perfkit.units import format_count, format_some

_SHAPES = "osD^"
_MOST_CELLS = 6  # drawn below each other
_LEAST_LOSS = 1e-5  # drawn apart from none: under it the axis is linear
_WIDTH, _HEIGHT = 6.6, 2.7  # inches, of a cell


def capacity_plots(found: CampaignAnswer) -> list[Plot]:
    """The trials of the cells; before them, where there are several client counts, the bounds over these."""
    if not found.searches:
        return []
    with mpl.rc_context(plots.STYLE):
        over = [_over_clients(found)] if len({it.clients for it in found.searches}) > 1 else []
        return [*over, _trials(found)]


def _trials(found: CampaignAnswer) -> Plot:
    cells = list(capacity.by_cell(found.searches))
    shown = cells[-_MOST_CELLS:]
    picture, axes = plots.stacked(len(shown), _WIDTH, 0.5 + _HEIGHT * len(shown))
    words = []
    for axis, ((clients, variant), own) in zip(axes, shown, strict=True):
        for place, search in enumerate(own):
            _draw_search(axis, search, place)
        goal = own[0].goal.loss_ratio
        axis.axhline(100 * goal, color=plots.INK, lw=0.8, ls=":")
        _loss_axis(axis, 100 * goal)
        loads = [it.trial.load_bps / MEGA for one in own for it in one.blocks]
        low, high = min(loads), max(loads)
        plots.log_axis_at(axis, np.geomspace(low, max(high, 1.01 * low), 6).tolist())
        axis.set_ylabel("lost (%)")
        name = format_count(clients, "client") + (
            f", {variant}" if len(found.design.variants) > 1 else ""
        )
        axis.set_title(name, fontsize=10, loc="right")
        plots.legend_above(axis, 4)
        words.append(f"{name}: {format_some([range_words(it.state) for it in own], 4)}")
    axes[-1].set_xlabel("load of all clients (Mbit/s of payload, logarithmic)")
    left = (
        f"; {len(cells) - len(shown)} more cells are in the table"
        if len(shown) < len(cells)
        else ""
    )
    return plots.drawn(
        picture,
        name="trials",
        title=f"Trials: load against loss; shaded: between the bounds; dotted: {loss_words(found.searches[0].goal.loss_ratio)}{left}",
        alt=f"Load against loss of each trial. {'; '.join(words)}.",
    )


def _loss_axis(axis: Axes, goal_pct: float) -> None:
    """Percent on a logarithmic axis that has a place for none."""
    least = max(goal_pct / 10, 100 * _LEAST_LOSS)
    ticks = [0.0, *(10.0**power for power in range(-3, 3) if 10.0**power >= 2 * least)]
    axis.set_yscale("symlog", linthresh=least)
    axis.set_ylim(-0.3 * least, 150)
    axis.yaxis.set_major_locator(FixedLocator(ticks))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _draw_search(axis: Axes, search: Search, place: int) -> None:
    colour, shape = plots.COLOURS[place % len(plots.COLOURS)], _SHAPES[place % len(_SHAPES)]
    known = [it.trial for it in search.blocks if not it.trial.limit]
    limited = [it.trial for it in search.blocks if it.trial.limit]
    axis.plot(
        [it.load_bps / MEGA for it in known], [100 * it.loss_ratio for it in known], shape,
        color=colour, ms=5, alpha=0.8, mew=0, label=f"repetition {search.repetition}",
    )  # fmt: skip
    if limited:
        loads = [it.load_bps / MEGA for it in limited]
        axis.plot(loads, [100.0] * len(loads), "x", color=colour, ms=6, label="not offered")
    low, high = search.state.lower_bps, search.state.upper_bps
    if low is not None and high is not None:
        axis.axvspan(low / MEGA, high / MEGA, color=colour, alpha=0.16, lw=0)


def _over_clients(found: CampaignAnswer) -> Plot:
    """A bar from bound to bound for each search; an arrow where there is none above."""
    picture, (axis,) = plots.stacked(1, _WIDTH, 3.5)
    words = []
    for place, variant in enumerate(found.design.variants):
        own = [it for it in found.searches if it.variant == variant and it.state.lower_bps]
        colour = plots.COLOURS[place % len(plots.COLOURS)]
        for search in own:
            low, high = search.state.lower_bps or 0.0, search.state.upper_bps
            aside = search.clients * 1.04 ** (search.repetition - 1)
            mark = "^" if high is None or search.limit else _SHAPES[place % len(_SHAPES)]
            axis.plot([aside] * 2, [low / MEGA, (high or low) / MEGA], color=colour, lw=2)
            axis.plot([aside], [low / MEGA], mark, color=colour, ms=4.5, mew=0)
            words.append(f"{search.clients} clients, {variant}: {range_words(search.state)}")
        if own:
            axis.plot([], [], color=colour, lw=2, label=variant)
    plots.log_axis_at(axis, sorted({it.clients for it in found.searches}))
    axis.set_ylim(bottom=0)
    axis.set_xlabel("clients (logarithmic)")
    axis.set_ylabel("capacity (Mbit/s)")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8.5, ncols=6)
    return plots.drawn(
        picture,
        name="capacity",
        title="Bounds of each search by clients; triangles: what lies above was not offered",
        alt=f"Bounds of capacity. {format_some(words, 12, '; ')}.",
    )
