"""Did it regress? A campaign held against one that was kept, cell by cell.

Blocks of two campaigns are no pairs: they ran on other days, perhaps on other machines. Their
figures are held against each other as two sides, with the verdicts of `verdicts`. The number of
repetitions is fixed before: a check that is repeated until it passes says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from perfkit.analysis.answers import verdicts
from perfkit.analysis.answers.contrasts import geometric_mean, of_sides
from perfkit.analysis.answers.frame import KEY, counted, figure_values
from perfkit.analysis.answers.headline import kind_of
from perfkit.analysis.answers.verdicts import BETTER, MARGIN, PLACE, PRIMARY, SAID, Case
from perfkit.units import format_count

Outcome = Literal["worse", "same or better", "not enough data"]
_FINE = ("same", "better", "same or better")
_Key = tuple[int, str, str, str]  # clients, variant, test, path
_NAMED = 3  # figures in a sentence
_WORDS = {"goodput_bps": "goodput", "vpn_cpu_s_per_gbit": "VPN CPU s/Gbit"}  # others by their name


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of it.

    Attributes:
        rows: One a (clients, variant, test, figure) that either side has, the primary ones first:
            `path`, `is_primary`, `runs_baseline`, `runs`, `baseline` and `value` (means of those that
            count), `ratio`, `low`, `high` (95 %, not adjusted), `p`, `p_adjusted`, `verdict`, `more`,
            `reason`, `text` (verdict in words).
        margin: Share of the baseline by which a figure must differ to be worse.
    """

    rows: pd.DataFrame
    margin: float

    @property
    def outcome(self) -> Outcome:
        """Of the primary figures: worse if any is, same or better if all are."""
        found = self._primary["verdict"]
        if (found == "worse").any():
            return "worse"
        return "same or better" if len(found) and found.isin(_FINE).all() else "not enough data"

    @property
    def _primary(self) -> pd.DataFrame:
        return self.rows[self.rows["is_primary"].to_numpy(dtype=bool)]

    @property
    def sentence(self) -> str:
        """The answer first, then the figures that make it."""
        rows, outcome = self._primary, self.outcome
        count = f"{len(rows)} primary figure{'s' * (len(rows) != 1)}"
        if outcome == "same or better":
            better = int((rows["verdict"] == "better").sum())
            more = f", {better} better" if better else ""
            return f"Same or better: none of {count} is worse by {100 * self.margin:g} %{more}."
        if outcome == "worse":
            names = _named(rows[rows["verdict"] == "worse"], with_verdict=False)
            return f"Worse: {names} ({count} judged)."
        open_ = rows[~rows["verdict"].isin(_FINE)]
        if not len(rows):
            return "Not enough data: no primary figure is on both sides."
        fine = f"; {len(rows) - len(open_)} of {count} are same or better" if len(rows) > 1 else ""
        return f"Not enough data: {_named(open_, with_verdict=True)}{fine}."


def _named(rows: pd.DataFrame, *, with_verdict: bool) -> str:
    words = []
    for row in rows.head(_NAMED).to_dict("records"):
        change = f"{100 * (row['ratio'] - 1):+.1f} %" if np.isfinite(row["ratio"]) else "n/a"
        if np.isfinite(row["high"]):
            change += f" [{100 * (row['low'] - 1):+.1f}, {100 * (row['high'] - 1):+.1f}]"
        where = f"{_WORDS.get(row['figure'], row['figure'])} of {row['test']} at {format_count(row['clients'], 'client')}"
        sides = f"{row['runs_baseline']} against {row['runs']} runs"
        words.append(
            f"{where} {change}, {row['text'].removeprefix('not enough data: ')}, {sides}"
            if with_verdict
            else f"{where} {change}"
        )
    more = len(rows) - _NAMED
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")


def check(
    frame: pd.DataFrame,
    baseline: pd.DataFrame,
    margin: float = MARGIN,
    *,
    primary: Sequence[str] = PRIMARY,
) -> Check:
    """Judge each figure of each cell against the baseline's.

    A cell that only one side has counts as not enough data; whether the two may be compared at all
    (tests, client counts) is for the caller to say.

    Args:
        frame, baseline: Cells frames; void rows do not count.
        primary: Figures that the outcome is about, of the tunnel tests; of the direct ones where
            neither side has a tunnel test.
    """
    sides = [_by_cell(baseline), _by_cell(frame)]
    keys = dict.fromkeys(key for side in sides for key in side)
    has_tunnel = any(path == "tunnel" for *_, path in keys)
    places: list[dict[str, Any]] = []
    cases: list[Case] = []
    for key in keys:
        for figure, better in BETTER.items():
            values = [side.get(key, {}).get(figure, []) for side in sides]
            if not any(values):
                continue
            kind = kind_of(frame if key in sides[1] else baseline, key[2])
            first = verdicts.is_primary(figure, key[3], primary, kind, has_tunnel=has_tunnel)
            places.append(
                {
                    **dict(zip(PLACE, (*key, figure, first), strict=True)),
                    "runs_baseline": len(values[0]),
                    "runs": len(values[1]),
                    "baseline": geometric_mean(values[0]),
                    "value": geometric_mean(values[1]),
                }
            )
            cases.append(Case(contrast=of_sides(*values), better=better, is_primary=first))
    columns = (*PLACE, "runs_baseline", "runs", "baseline", "value", *SAID, "text")
    return Check(rows=verdicts.judged_rows(places, cases, margin, columns), margin=margin)


def _by_cell(side: pd.DataFrame) -> dict[_Key, dict[str, list[float]]]:
    """What is known of each figure, a value a block."""
    found: dict[_Key, dict[str, list[float]]] = {}
    known = counted(side)
    values = np.column_stack([figure_values(known, figure) for figure in BETTER])
    keys = known[[*KEY, "path"]].itertuples(index=False, name=None)
    for key, row in zip(keys, values, strict=True):
        cell = found.setdefault(key, {figure: [] for figure in BETTER})
        for figure, value in zip(BETTER, row.tolist(), strict=True):
            if not np.isnan(value):
                cell[figure].append(value)
    return found
