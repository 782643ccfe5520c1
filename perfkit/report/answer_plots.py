"""Pictures of a campaign: what is carried over N or the paired ratios, costs, residuals.

Each repetition is a dot. Marks differ in shape as well as in colour.
"""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from perfkit.analysis.answers import resources
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.answers.frame import counted, rows_of
from perfkit.analysis.answers.growth import Growth
from perfkit.report import plots
from perfkit.report.capacity_plots import capacity_plots
from perfkit.report.columns import FIGURES
from perfkit.report.plots import Plot
from perfkit.report.ratio_plots import ratios
from perfkit.report.tables import Column
from perfkit.units import format_count

SHAPES = "osD^v<>P"
_CURVE_POINTS = 121
COST = "vpn_cpu_s_per_gbit"
_NAMES = {"goodput_bps": "goodput", COST: "cost"}
_WIDTH, _HEIGHT = 6.6, 3.5  # inches


def answer_plots(found: CampaignAnswer) -> list[Plot]:
    """The picture of the answer first; every plot there is data for."""
    if found.design.capacity is not None:
        return capacity_plots(found)
    draw = _over_clients if len(found.design.clients) > 1 else _in_order
    headlines = dict.fromkeys(f for test in found.primary_tests for f in found.headlines(test))
    with mpl.rc_context(plots.STYLE):
        made = [
            ratios(found) if found.judged is not None else None,
            *(draw(found, figure) for figure in headlines),
            draw(found, COST),
            _uses(found) if len(found.design.clients) > 1 else None,
            _residuals(found),
        ]
    return [plot for plot in made if plot is not None]


def _over_clients(found: CampaignAnswer, figure: str) -> Plot | None:
    """A figure of each primary test over the client count: dots, law with its band, knee."""
    rows = counted(found.frame)
    tests = [
        t for t in _drawn_for(found, figure) if rows.loc[rows["test"] == t, figure].notna().any()
    ]
    if not tests:
        return None
    column = FIGURES[figure]
    picture, axes = plots.stacked(
        len(tests), _WIDTH, 0.5 + (_HEIGHT - 0.5) * len(tests), sharex=True
    )
    words = []
    for axis, test in zip(axes, tests, strict=True):
        for place, variant in enumerate(found.design.variants):
            own = rows_of(rows, test=test, variant=variant)
            if own[figure].notna().any():
                grown = found.growth(variant, test, figure)
                _cells(axis, own, column, place, grown, several=len(found.design.variants) > 1)
                words.append(_said(found, test, variant, column, grown))
        plots.log_axis_at(axis, sorted(rows["clients"].unique()))
        top = rows.loc[rows["test"] == test, figure].max() / column.scale
        axis.set_ylim(0, 1.06 * top if top > 0 else 1)
        if figure != COST:
            _void(axis, rows_of(found.frame, test=test), column)
        name = f"{test}\n" if len(tests) > 1 else ""
        axis.set_ylabel(f"{name}{column.heading} ({column.unit})")
        plots.legend_above(axis, 6)
    axes[-1].set_xlabel("clients (logarithmic)")
    return plots.drawn(
        picture,
        name=_NAMES.get(figure, figure.replace("_", "-")),
        title=f"{column.heading} over clients"
        + (f" of {tests[0]}" if len(tests) == 1 else "")
        + (_cost_words(found) if figure == COST else ""),
        alt=f"{column.heading} against clients. {'; '.join(words)}.",
    )


def _drawn_for(found: CampaignAnswer, figure: str) -> list[str]:
    """The primary tests whose headline a figure is; of the cost, all."""
    return [t for t in found.primary_tests if figure in (COST, *found.headlines(t))]


def _in_order(found: CampaignAnswer, figure: str) -> Plot | None:
    """A figure of each primary test by block, where there is one client count: a drift is a slope."""
    tests = _drawn_for(found, figure)
    own = found.frame[found.frame["test"].isin(tests).to_numpy()]
    own = own[own[figure].notna().to_numpy()]
    if own.empty:
        return None
    column, clients = FIGURES[figure], format_count(found.design.clients[0], "client")
    picture, (axis,) = plots.stacked(1, _WIDTH, _HEIGHT)
    several, words = len(tests) > 1, []
    known = rows_of(own, void="")
    keys = [(test, variant) for test in tests for variant in found.design.variants]
    for place, (test, variant) in enumerate(keys):
        rows = rows_of(known, test=test, variant=variant)
        if rows.empty:
            continue
        label = f"{test}, {variant}" if several else variant
        values, shape = rows[figure] / column.scale, SHAPES[place % len(SHAPES)]
        colour = plots.COLOURS[place % len(plots.COLOURS)]
        axis.plot(rows["block"], values, shape, color=colour, ms=4.5, alpha=0.8, mew=0, label=label)
        axis.axhline(values.mean(), color=colour, lw=1, ls=":")
        words.append(_said(found, test, variant, column, None))
    void = own[(own["void"] != "").to_numpy()]
    if len(void):
        axis.plot(
            void["block"], void[figure] / column.scale, "x", color=plots.INK, ms=5, label="void"
        )
    axis.set_ylim(0, 1.06 * float(own[figure].max()) / column.scale or 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("block, in the order run")
    axis.set_ylabel(f"{column.heading} ({column.unit})")
    plots.legend_above(axis, 3 if several else 6)
    return plots.drawn(
        picture,
        name=_NAMES.get(figure, figure.replace("_", "-")),
        title=f"{column.heading} of {clients}, each block in the order run; dotted: mean",
        alt=f"{column.heading} by block. {'; '.join(words)}.",
    )


def _cells(
    axis: Axes,
    own: pd.DataFrame,
    column: Column,
    place: int,
    grown: Growth | None,
    *,
    several: bool,
) -> None:
    colour, shape = plots.COLOURS[place % len(plots.COLOURS)], SHAPES[place % len(SHAPES)]
    variant = str(own["variant"].iloc[0])
    values = own[column.key].to_numpy() / column.scale
    label = variant if several else "a repetition"
    axis.plot(own["clients"], values, shape, color=colour, ms=4.5, alpha=0.75, mew=0, label=label)
    if grown is None or grown.best is None:
        means = own.groupby("clients")[column.key].mean() / column.scale
        line = ":", colour if several else plots.INK
        axis.plot(
            means.index, means, line[0], color=line[1], lw=1, label=None if several else "mean"
        )
        return
    sizes = np.geomspace(grown.sizes[0], grown.sizes[-1], _CURVE_POINTS)
    curve = grown.curve(sizes.tolist())
    law = plots.RED if not several else colour
    name = f"law: {grown.best.law.name}" if grown.asserted else f"{grown.best.law.name}, not surely"
    if grown.kind == "cost":
        name = "law"  # its name is that of the total's growth, which would mislead here
    axis.plot(
        curve["clients"],
        curve["fit"] / column.scale,
        color=law,
        lw=1.5,
        label=None if several else name,
    )
    axis.fill_between(
        curve["clients"], curve["low"] / column.scale, curve["high"] / column.scale,
        color=law, alpha=0.16, lw=0, label=None if several else "95 % band",
    )  # fmt: skip
    knee = grown.knee
    if grown.kind == "total" and knee is not None and math.isfinite(knee.value):
        low, high = max(knee.low, grown.sizes[0]), min(knee.high, grown.sizes[-1])
        axis.axvspan(low, high, color=plots.GREEN, alpha=0.16, lw=0)
        axis.axvline(
            knee.value, color=plots.GREEN, lw=1.2, ls="--", label="knee" if not several else None
        )


def _void(axis: Axes, own: pd.DataFrame, column: Column) -> None:
    """Blocks that count in nothing are shown all the same."""
    void = own[(own["void"] != "").to_numpy()]
    if void[column.key].notna().any():
        values = void[column.key] / column.scale
        axis.plot(void["clients"], values, "x", color=plots.INK, ms=5, alpha=0.6, label="void")


def _cost_words(found: CampaignAnswer) -> str:
    """How the cost grows, where it is known."""
    grown = [one.words for one in found.growths if one.figure == COST and one.best]
    return f": {grown[0]}" if len(grown) == 1 else ""


def _said(
    found: CampaignAnswer, test: str, variant: str, column: Column, grown: Growth | None
) -> str:
    means = [
        f"{n} clients {column.show(mean['mean'])}"
        for n in sorted(found.design.clients)
        if (mean := found.mean(n, variant, test, column.key))
    ]
    words = f", {grown.words}" if grown is not None else ""
    return f"{test}, {variant}: {', '.join(means)} {column.unit}{words}"


def _uses(found: CampaignAnswer) -> Plot | None:
    """Use of each resource over the client count, of the first variant and primary test."""
    test = next(iter(found.primary_tests), "")
    full = found.full(found.design.variants[0], test)
    if full is None or full.uses.empty:
        return None
    uses = full.uses[full.uses["resource"] != "drops"]
    picture, (axis,) = plots.stacked(1, _WIDTH, _HEIGHT)
    words = []
    for place, (name, own) in enumerate(uses.groupby("resource", sort=False)):
        colour, shape = plots.COLOURS[place % len(plots.COLOURS)], SHAPES[place % len(SHAPES)]
        error = 100 * np.nan_to_num(np.vstack([own["use"] - own["low"], own["high"] - own["use"]]))
        is_full = name in full.names
        axis.errorbar(
            own["clients"], 100 * own["use"], yerr=error, fmt=f"{shape}-", color=colour, ms=4.5,
            lw=1.8 if is_full else 1.0, elinewidth=0.8,
            label=f"{full.titles[str(name)]}{': full' if is_full else ''}",
        )  # fmt: skip
        last = own.iloc[-1]
        words.append(f"{full.titles[str(name)]} {last['use']:.0%} at {last['clients']:.0f} clients")
    axis.axhline(100 * resources.FULL, color=plots.INK, lw=0.8, ls=":")
    plots.log_axis_at(axis, sorted(uses["clients"].unique()))
    axis.set_ylim(0, max(105.0, 100 * float(uses["use"].max()) * 1.05))
    axis.set_ylabel("use (%)")
    axis.set_xlabel("clients (logarithmic)")
    plots.legend_above(axis, 2)
    return plots.drawn(
        picture,
        name="resources",
        title=f"Use of each resource that was watched in {test}; dotted: full from 90 % on",
        alt=f"Use of resources by clients: {'; '.join(words)}.",
    )


def _residuals(found: CampaignAnswer) -> Plot | None:
    """Goodput over the law, in the order of the blocks: a drift would be a slope."""
    grown = [one for one in found.growths if one.figure == "goodput_bps" and len(one.points)]
    if not grown:
        return None
    grown.sort(key=lambda one: found.design.variants.index(one.variant))  # colours as elsewhere
    picture, (axis,) = plots.stacked(1, _WIDTH, 2.7)
    several, largest = len(grown) > 1, 0.0
    for place, one in enumerate(grown):
        points = one.residuals().sort_values("block")
        shares = 100 * np.expm1(points["residual"])
        largest = max(largest, float(np.abs(shares).max()))
        label = f"{one.test}, {one.variant}" if several else None
        axis.plot(
            points["block"], shares, SHAPES[place % 8], color=plots.COLOURS[place % 4], ms=4.5,
            alpha=0.8, mew=0, label=label,
        )  # fmt: skip
    axis.axhline(0, color=plots.INK, lw=1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("block, in the order run")
    axis.set_ylabel("goodput off the law (%)" if grown[0].best else "goodput off the mean (%)")
    axis.set_ylim(-1.15 * largest or -1, 1.15 * largest or 1)
    if several:
        plots.legend_beside(axis, fontsize=8.5)
    return plots.drawn(
        picture,
        name="residuals",
        title=f"What {'the law leaves' if grown[0].best else 'the mean of each size leaves'}, in the "
        "order in which the blocks were run: a drift would be a slope",
        alt=f"Residuals of goodput by block, at most {largest:.1f} % off.",
    )
