"""How values stand in a panel of the picture: unit, range, labels, linear or logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from perfkit.analysis.rate_scale import floor_bps
from perfkit.analysis.timeline import Panel
from perfkit.logs.run_logs import SlotPlan
from perfkit.units import SI_PREFIXES

ROUND_STEPS = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True, slots=True)
class Axis:
    """How values stand in a panel.

    Attributes:
        unit: What the title says.
        factor: Values are divided by it; rates are in Mbit/s as in the report.
        top, floor: Of the axis, in the unit; a floor above 0 makes it logarithmic.
        marks: Values with a label, in the unit.
    """

    unit: str
    factor: float
    top: float
    floor: float
    marks: list[float]

    def height(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Part of the panel's height, from its bottom; NaN stays."""
        if not self.floor:
            return values / self.top
        above = np.log10(np.maximum(values, self.floor) / self.floor)
        return np.asarray(above / np.log10(self.top / self.floor))


def to_axis(
    panel: Panel, shown_s: tuple[float, float], most: float, slots: Sequence[SlotPlan]
) -> Axis:
    """The axis of a panel.

    Args:
        shown_s: Begin and end of what is drawn.
        most: The largest value there.
        slots: The tests; where they are far apart, a rate's axis is logarithmic.
    """
    if panel.unit != "bit/s":
        marks = MaxNLocator(3, steps=ROUND_STEPS, integer=not panel.unit).tick_values(0, most)
        shown = [float(mark) for mark in marks if 0 <= mark <= 1.06 * most]
        return Axis(panel.unit, 1.0, 1.06 * most, 0.0, shown)
    factor = float(SI_PREFIXES["M"])
    lines = [(series.t_s, series.values) for series in panel.series]
    floor = floor_bps(lines, slots, *shown_s) / factor
    if not floor:
        marks = MaxNLocator(3, steps=ROUND_STEPS).tick_values(0, most / factor)
        shown = [float(mark) for mark in marks if 0 <= mark * factor <= 1.06 * most]
        return Axis("Mbit/s", factor, 1.06 * most / factor, 0.0, shown)
    top = 1.3 * most / factor
    decades = np.arange(round(np.log10(floor)), np.floor(np.log10(top)) + 1)
    every = max(1, int(np.ceil(len(decades) / 4)))  # labels must not touch
    shown = [float(10.0**decade) for decade in decades[::every]]
    return Axis("Mbit/s, log scale", factor, top, floor, shown)
