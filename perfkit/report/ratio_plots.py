"""The picture of paired ratios: each variant over base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfkit.analysis.answers import pairs
from perfkit.analysis.answers.campaign_answer import CampaignAnswer
from perfkit.analysis.answers.frame import rows_of
from perfkit.report.columns import FIGURES
from perfkit.report.plots import BLUE, GREEN, INK, RED, Plot, drawn, log_axis
from perfkit.units import format_some

_WIDTH = 6.6  # inches
_MOST_PANELS = 3  # one for each figure; more are rows of one panel


@dataclass(frozen=True, slots=True)
class _Row:
    """What stands on one line of a panel: a size of a variant in a test, or one figure of it."""

    variant: str
    test: str
    clients: int
    figure: str | None = None

    def of(self, frame: pd.DataFrame, figure: str) -> pd.DataFrame:
        """The rows of a frame that belong here."""
        place = {"variant": self.variant, "test": self.test, "clients": self.clients}
        return rows_of(frame, **place, figure=figure)


def ratios(found: CampaignAnswer) -> Plot | None:
    """Variant over base: each pair a dot, its mean and interval, the margin shaded."""
    assert found.judged is not None
    judged = found.judged[found.judged["is_primary"]]
    if judged.empty:
        return None
    base, figures = found.design.variants[0], list(dict.fromkeys(judged["figure"]))
    dots = pairs.between_variants(found.frame, base, figures)
    dots = dots[np.isfinite(dots["log_ratio"]).to_numpy()]
    apart = len(figures) <= _MOST_PANELS
    columns = ["variant", "test", "clients"] + ([] if apart else ["figure"])
    places = judged[columns].drop_duplicates().sort_values(columns)
    rows = [_Row(*place) for place in places.itertuples(index=False)]
    several = judged["test"].nunique() > 1
    height = 1.1 + (0.45 if apart else 0.36) * len(rows)
    picture = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = picture.subplots(1, len(figures) if apart else 1, squeeze=False, sharey=True)[0]
    words = []
    for axis, own in zip(axes, figures if apart else [None], strict=True):
        words += _panel(axis, own, rows, judged, dots, found.design.margin)
        axis.set_title(FIGURES[own].heading if own else "", fontsize=10)
        axis.set_xlabel(f"over {base}")
    labels = [_label(row, several=several) for row in rows]
    axes[0].set_yticks(range(len(rows)), labels, fontsize=None if apart else 8.5)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    if not apart:
        # Ratios of many figures are far apart: a half and a double are equally far from 1.
        log_axis(axes[0])
    return drawn(
        picture,
        name="ratios",
        title=f"Each repetition's ratio to {base} (dots), mean with its 95 % interval; shaded: within "
        "the margin",
        alt=f"Paired ratios. {format_some(words, 12, '; ')}.",
    )


def _label(row: _Row, *, several: bool) -> str:
    where = f"{row.variant}, N = {row.clients}"
    if row.figure:
        return f"{where}\n{row.test}: {FIGURES[row.figure].heading}"
    return f"{where}\n{row.test}" if several else where


def _panel(
    axis: Axes,
    figure: str | None,
    rows: Sequence[_Row],
    judged: pd.DataFrame,
    dots: pd.DataFrame,
    margin: float,
) -> list[str]:
    """Draw rows: of one figure, or each of its own; what they say in words."""
    axis.axvspan(1 - margin, 1 + margin, color=GREEN, alpha=0.14, lw=0)
    axis.axvline(1.0, color=INK, lw=1)
    words = []
    for place, row in enumerate(rows):
        name = figure or str(row.figure)
        values = np.exp(row.of(dots, name)["log_ratio"])
        axis.plot(values, [place - 0.16] * len(values), "o", color=BLUE, ms=4, alpha=0.7, mew=0)
        for one in row.of(judged, name).to_dict("records"):
            axis.plot([one["low"], one["high"]], [place + 0.14] * 2, color=RED, lw=2)
            axis.plot([one["ratio"]], [place + 0.14], "D", color=RED, ms=5)
            words.append(
                f"{row.variant}, N = {row.clients}, {row.test}, {FIGURES[name].heading}: "
                f"{one['ratio']:.3f}, {one['verdict']}"
            )
    return words
