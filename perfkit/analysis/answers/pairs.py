"""Ratios of what ran together: in-tunnel over out-of-tunnel, variant over base.

What changes from block to block (another load, another host, another hour) is in both parts of a
pair and falls out of their ratio. The ratio is a logarithm until it is shown, so that its mean is
that of the ratio and of its inverse alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from perfkit.analysis.answers.contrasts import log_ratios, of_pairs
from perfkit.analysis.answers.frame import KEY, counted, figure_values
from perfkit.analysis.confidence import LEVEL

_PAIR = ["repetition", "clients", "test", "path"]


def in_tunnel(frame: pd.DataFrame) -> pd.DataFrame:
    """What the tunnel leaves of the goodput beside it, paired in the block.

    Args:
        frame: The cells frame; `vs_direct` is the ratio inside the block. Void rows do not count.

    Returns:
        One row a cell of a tunnel test that has such a ratio: `clients`, `variant`, `test`, `ratio`
        (geometric mean), `low`, `high` (95 %, Student's t on logarithms; NaN with one block), `pairs`.
    """
    known = counted(frame)
    known = known[((known["path"] == "tunnel") & known["vs_direct"].notna()).to_numpy()]
    rows = []
    for key, blocks in known.groupby(list(KEY), sort=False):
        ratios = blocks["vs_direct"].to_numpy(dtype=np.float64)
        found = of_pairs(log_ratios(np.ones(len(ratios)), ratios).tolist())
        low, high = found.ratios(LEVEL)
        rows.append((*key, found.ratio, low, high, found.runs[0]))
    return pd.DataFrame(rows, columns=[*KEY, "ratio", "low", "high", "pairs"])


def between_variants(frame: pd.DataFrame, base: str, figures: Sequence[str]) -> pd.DataFrame:
    """Log ratio of each variant over the base, paired by repetition and client count.

    Args:
        frame: The cells frame; void rows do not count, and of two blocks of one place the later does.
        base: The variant below the line.

    Returns:
        One row a (repetition, clients, test, variant, figure) that both have: `path`, `log_ratio`;
        NaN where one of the values is 0 or less, infinite where one is beyond what was seen.
    """
    known = counted(frame).drop_duplicates([*_PAIR, "variant"], keep="last")
    known = known.assign(**{name: figure_values(known, name) for name in figures})
    long = known.melt(
        id_vars=[*_PAIR, "variant"], value_vars=list(figures), var_name="figure"
    ).dropna(subset="value")
    is_base = (long["variant"] == base).to_numpy()
    below = long[is_base].drop(columns="variant")
    both = long[~is_base].merge(below, on=[*_PAIR, "figure"], suffixes=("", "_base"))
    value, value_base = (both[name].to_numpy(dtype=np.float64) for name in ("value", "value_base"))
    return both.drop(columns=["value", "value_base"]).assign(
        log_ratio=log_ratios(value_base, value)
    )
