"""A figure of the tests of all runs over time: a point a run or block, a bar a campaign's interval.

Figures of different tests or numbers of clients are of different things, so each pair of them has a
panel of its own, and nothing is averaged over panels or over runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from perfkit.analysis.answers.frame import figure_values, rows_of
from perfkit.errors import StoreError, did_you_mean
from perfkit.report.columns import FIGURES
from perfkit.report.document import fill, standalone
from perfkit.report.plots import BLUE, GREEN, INK, ORANGE, RED, STYLE, Plot, drawn, stacked
from perfkit.settings.project import runs_folder
from perfkit.store.query import ask, write_as
from perfkit.store.schema import TABLES
from perfkit.units import format_count, format_some

PANELS = 6
CONDITIONS = ("vpn", "vpn_version", "cipher", "transport", "provider", "host_type", "variant")
LINES = 8  # values of `by` that are told apart
_COLOURS = (BLUE, RED, GREEN, ORANGE)
_MARKS = "os^D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """A picture over time.

    Attributes:
        frame: The points: a row a test of a run or block, as in the view `tests`.
        remarks: What is not shown, and why.
    """

    plot: Plot
    frame: pd.DataFrame
    remarks: tuple[str, ...]

    def _repr_html_(self) -> str:
        return fill(
            "cell",
            sentences=[self.plot.title],
            warnings=self.remarks,
            tables=[],
            plots=(self.plot,),
        )


def figure_over_time(
    figure: str = "goodput_bps",
    *,
    by: str = "vpn_version",
    path: str = "tunnel",
    where: str = "",
    runs_dir: str = "",
) -> Pictured:
    """Draw a figure of the tests of all runs that count, over the time they were started.

    Args:
        figure: A figure of the view `tests`: `goodput_bps`, `vpn_cpu_s_per_gbit`, …
        by: What colours tell apart: `vpn_version`, `cipher`, `variant`, … an attribute.
        path: Tests in the `tunnel` or `direct` ones; empty: all.
        where: More of a condition, in SQL: `started > now() - INTERVAL 1 YEAR AND clients = 10`.
        runs_dir: Where run folders are; empty: the project's `runs/`.

    Raises:
        StoreError: no such figure or attribute, the condition is wrong, or nothing is left.
    """
    texts = [column.name for column in TABLES["tests"] if column.kind in ("text", "int")]
    if figure not in FIGURES:
        raise StoreError(f"no figure {figure!r}; {did_you_mean(figure, FIGURES)}")
    if by not in texts:
        raise StoreError(
            f"nothing to tell tests apart by is called {by!r}; {did_you_mean(by, texts)}"
        )
    if path not in ("tunnel", "direct", ""):
        raise StoreError(f"no path {path!r}: tunnel, direct, or empty for both")
    condition = f"path = '{path}'" if path else "true"
    condition += f" AND ({where}\n)" if where else ""
    sql = f"SELECT * FROM tests WHERE {condition} ORDER BY started, run, block"  # noqa: S608 -- as below
    found = ask(sql, runs_folder(runs_dir))
    points, left_out = _drawable(found.frame, figure)
    if points.empty:
        raise StoreError(
            f"no test has {figure} ({condition}); perfkit runs query asks what there is"
        )
    of_figure = f"figure = '{figure}' AND low IS NOT NULL"
    sql = f"SELECT * FROM intervals WHERE {of_figure}"  # noqa: S608 -- it can only read
    bars = ask(sql, runs_folder(runs_dir)).frame
    plot, more = draw(points, bars, figure, by)
    return Pictured(plot=plot, frame=points, remarks=(*found.remarks, *left_out, *more))


def _drawable(tests: pd.DataFrame, figure: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that have a figure and a time, and how many have only one of them."""
    values = figure_values(tests, figure)
    known, dated = np.isfinite(values), tests["started"].notna()
    remarks = []
    if beyond := int(np.isinf(values).sum()):
        remarks.append(
            f"not drawn: {format_count(beyond, 'test')} in which too many clients failed for {figure}"
        )
    if undated := int((known & ~dated).sum()):
        remarks.append(f"not drawn: {format_count(undated, 'test')} without a time of start")
    return tests[known & dated], remarks


def draw(points: pd.DataFrame, bars: pd.DataFrame, figure: str, by: str) -> tuple[Plot, list[str]]:
    """Draw points and intervals.

    Args:
        points: Rows of the view `tests`.
        bars: Rows of the view `intervals`, of one figure; those of runs without a point are not drawn.

    Returns:
        The plot, and what is not in it.
    """
    cells = points.groupby(["test", "clients"], sort=False).size().sort_values(ascending=False)
    shown = sorted(list(cells.index)[:PANELS])
    remarks = []
    if len(cells) > len(shown):
        rest = [f"{test} at {n} clients" for test, n in list(cells.index)[PANELS:]]
        remarks.append(f"not drawn, {PANELS} panels are the most: {format_some(rest, 3)}")
    remarks += _other_conditions(points, by)
    named: pd.Series[str] = points[by].astype("str").replace("", "not recorded")
    values = list(named.value_counts().index)
    if len(values) > LINES:
        remarks.append(f"drawn alike as others: {by} {format_some(values[LINES - 1 :], 3)}")
        values = [*values[: LINES - 1], "others"]
        named = named.where(named.isin(values), "others")
    points = points.assign(_by=named)
    styles = {
        value: place for place, value in enumerate(v for v in dict.fromkeys(named) if v in values)
    }
    column = FIGURES[figure]
    with mpl.rc_context({**STYLE, "date.converter": "concise"}):
        picture, axes = stacked(len(shown), 9.6, 0.9 + 2.1 * len(shown), sharex=True)
        for axis, (test, clients) in zip(axes, shown, strict=True):
            own = rows_of(points, test=test, clients=clients)
            of_cell = rows_of(bars, test=test, clients=clients)
            _draw_cell(axis, own, of_cell, figure, styles)
            axis.set_title(f"{test}, {format_count(int(clients), 'client')}", loc="left")
            axis.set_ylabel(column.label)
        _finish(picture, axes[-1], styles, by)
        plot = drawn(
            picture,
            name=f"{figure.replace('_', '-')}-over-time",
            title=f"{column.heading} of each run and block over time, by {by}",
            alt=f"{column.heading}: {format_count(len(points), 'point')}, {', '.join(styles)}",
        )
    return plot, remarks


def _other_conditions(points: pd.DataFrame, by: str) -> list[str]:
    """Conditions in which points differ that no colour shows: they may be all that makes a change."""
    found = []
    for name in CONDITIONS:
        values = sorted({str(value) or "not recorded" for value in points[name]})
        if name != by and len(values) > 1:
            found.append(f"{name} ({format_some(values, 3)})")
    return [f"the points differ in other conditions, too: {', '.join(found)}"] if found else []


def _draw_cell(
    axis: Axes, own: pd.DataFrame, bars: pd.DataFrame, figure: str, styles: Mapping[str, int]
) -> None:
    """Points of one test and number of clients, and the intervals of the campaigns among them."""
    scale = FIGURES[figure].scale
    for value, place in styles.items():
        rows = rows_of(own, _by=value)
        colour, mark = _style(place)
        axis.plot(
            rows["started"], rows[figure] / scale, mark, color=colour, ms=4, mew=0, alpha=0.55
        )
    for bar in bars.to_dict("records"):
        of_run = rows_of(own, run=bar["run"], variant=bar["variant"])
        if of_run.empty:
            continue
        middle = of_run["started"].mean()
        kinds = list(of_run["_by"].unique())
        colour = _style(styles[str(kinds[0])])[0] if len(kinds) == 1 else INK
        mean, low, high = (float(bar[name]) / scale for name in ("mean", "low", "high"))
        axis.errorbar(
            [middle], [mean], yerr=[[mean - low], [high - mean]], fmt="_", color=colour, ms=9,
            capsize=4, lw=1.6,
        )  # fmt: skip
    axis.set_ylim(0, 1.12 * max(float(own[figure].max()) / scale, 1e-12))


def _style(place: int) -> tuple[str, str]:
    return _COLOURS[place % len(_COLOURS)], _MARKS[place // len(_COLOURS) % len(_MARKS)]


def _finish(picture: Figure, last: Axes, styles: Mapping[str, int], by: str) -> None:
    last.set_xlabel(
        "started (UTC); a point is a run or block, a bar the 95 % interval of a campaign"
    )
    lines = [
        Line2D([], [], color=_style(place)[0], marker=_style(place)[1], ls="", label=value)
        for value, place in styles.items()
    ]
    picture.legend(handles=lines, loc="outside right upper", title=by, frameon=False, fontsize=8)


def save(plot: Plot, target: Path) -> None:
    """Write a plot as the PNG or SVG that the file's name asks for.

    Raises:
        StoreError: it asks for neither, or cannot be written.
    """
    makers = {".png": lambda: plot.png, ".svg": lambda: standalone(plot.svg).encode()}
    write_as(target, makers, "a picture is a .png or an .svg")
