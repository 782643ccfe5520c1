"""The blocks of a campaign under one another: what each test carried over time, and its window."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from perfkit.analysis import campaign_cells, segments
from perfkit.analysis.campaign_cells import BlockRecord
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.slot_figures import prepare
from perfkit.logs.reader import read_run
from perfkit.model import Window
from perfkit.report.columns import MEGA
from perfkit.report.plots import BLUE, GREEN, INK, STYLE, Plot, drawn
from perfkit.runs.folder import Run
from perfkit.units import format_count

_ROW, _HEAD, _WIDTH = 0.3, 0.7, 9.6  # inches
_MARGIN_S = 2.0  # around a test


def draw_blocks(run: Run, blocks: Sequence[int] | None = None) -> Plot:
    """A row a block in the order run, a column a test; each test begins at its planned start.

    Reads the logs of every block that is drawn.

    Args:
        blocks: Numbers of those to draw; None: all that were run to their end.
    """
    records = [
        record
        for record in campaign_cells.finished_blocks(run)
        if blocks is None or record.block in blocks
    ]
    rows = [_of_block(run, record) for record in records]
    tests = list(dict.fromkeys(test for row in rows for test in row))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEAD + _ROW * len(rows)), layout="constrained")
        axes = figure.subplots(1, max(len(tests), 1), squeeze=False, sharey=True)[0]
        for axis, test in zip(axes, tests, strict=False):
            for place, row in enumerate(rows):
                if test in row:
                    _draw(axis, place, row[test])
            axis.set_title(test, fontsize=10)
            axis.set_xlabel("seconds after the planned start")
            axis.grid(visible=False)
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(rows)), [_label(record) for record in records])
        axes[0].tick_params(axis="y", labelsize=8)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        return drawn(
            figure,
            name="blocks",
            title="Goodput over time, each to its own scale, its most in Mbit/s beside it; shaded: the window "
            "that counts",
            alt=f"{len(rows)} blocks under one another, with the window of each test.",
        )


def _label(record: BlockRecord) -> str:
    void = " void" if record.void else ""
    variant = "" if record.variant == "base" else f" {record.variant}"
    return f"{record.block}: {format_count(record.clients, 'client')}{variant}{void}"


_Line = tuple[NDArray[np.float64], Window | None]  # a second a value, in bit/s; window


def _of_block(run: Run, record: BlockRecord) -> dict[str, _Line]:
    block = Run(run.root / record.folder)
    logs = read_run(block)
    found = outcomes(logs)
    windows = {s.slot: s.steady for s in segments.current(block, logs, found)}
    lines = {}
    for slot in logs.slots:
        prepared = prepare(logs, slot, found[(found["slot"] == slot.name).to_numpy()])
        window = windows.get(slot.name)
        moved = window and Window(
            start_s=window.start_s - slot.start_s, end_s=window.end_s - slot.start_s
        )
        around = Window(start_s=slot.start_s - _MARGIN_S, end_s=slot.end_s + _MARGIN_S)
        for way in prepared.ways:
            seconds = prepared.by_second_bps(around, way).sum(axis=0)
            lines[f"{slot.test} {way}".strip()] = (seconds, moved)
    return lines


def _draw(axis: Axes, place: int, line: _Line) -> None:
    seconds, window = line
    if window is not None:
        left, width = window.start_s, window.length_s
        axis.barh(place, width, left=left, height=0.84, color=GREEN, alpha=0.18, lw=0)
    top = float(np.nanmax(seconds)) if len(seconds) else 0.0
    if top > 0:
        heights = place + 0.4 - 0.8 * np.nan_to_num(seconds) / top
        edges = np.arange(len(seconds) + 1.0) - _MARGIN_S
        axis.stairs(heights, edges, baseline=place + 0.4, color=BLUE, lw=1.1)
        axis.annotate(
            f"{top / MEGA:.0f}", (edges[-1], place), fontsize=7, color=INK, va="center",
            xytext=(3, 0), textcoords="offset points",
        )  # fmt: skip
