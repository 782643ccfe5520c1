"""How much blocks of one cell differ, by the campaigns before: for what a new one could show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from perfkit.errors import PerfkitError
from perfkit.runs import campaign_folder, folder
from perfkit.settings.parameters import Settings

ASSUMED_SPREAD = 0.05  # of the blocks of a cell, where no earlier campaign tells
RUNS_TRIED = 20
LEAST_FREEDOM = 4  # of a spread: fewer blocks beyond the first of a cell say little


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpread:
    """How much blocks of one cell differ.

    Attributes:
        share: s.d. of the logarithm of goodput.
        source: The campaign it was seen in; empty: assumed.
    """

    share: float = ASSUMED_SPREAD
    source: str = ""

    def __str__(self) -> str:
        known = f"as in {self.source}" if self.source else "assumed, no earlier campaign tells"
        return f"If blocks of a cell spread by {100 * self.share:.1f} % ({known})"


def earlier_spread(chosen: Settings) -> BlockSpread:
    """That of the newest campaign of this provider and these tests with enough blocks."""
    try:
        runs = folder.list_runs(chosen.runs_dir)[-RUNS_TRIED:]
    except PerfkitError:
        return BlockSpread()
    for run in reversed(runs):
        cells = campaign_folder.cells_path(run)
        try:
            kept = run.manifest()["parameters"] if cells.exists() else {}
            is_like = kept.get("provider") == chosen.parameters.provider
            is_like = is_like and not kept.get("capacity")  # whose blocks differ in what they offer
            share = _spread_in(cells, {it.name for it in chosen.tests}) if is_like else 0.0
        except (PerfkitError, KeyError, ValueError, OSError):
            continue
        if share > 0:
            return BlockSpread(share=share, source=run.id)
    return BlockSpread()


def _spread_in(path: Path, tests: set[str]) -> float:
    """s.d. of log goodput inside the cells, pooled; 0 of other tests, or where too few blocks tell."""
    import numpy as np  # noqa: PLC0415 -- a run that is no campaign needs no pandas
    import pandas as pd  # noqa: PLC0415 -- as above

    frame = pd.read_parquet(path)
    frame = frame[(frame["void"] == "") & (frame["goodput_bps"] > 0)]
    if set(frame["test"]) != tests:
        return 0.0
    logs = np.log(frame["goodput_bps"]).groupby([frame[k] for k in ("clients", "variant", "test")])
    freedom = int((logs.count() - 1).sum())
    if freedom < LEAST_FREEDOM:
        return 0.0
    return math.sqrt(float((logs.var() * (logs.count() - 1)).sum()) / freedom)
