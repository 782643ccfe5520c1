"""How much each figure depends on where someone drew the window's edges.

Each edge alone, and both, are moved by k samples, towards and away from each other and together;
what counts is the largest change of a figure, relative to its value over the window itself. Moves
inwards stay where every client is active and show how steady the test was; moves outwards take in
its ramps, so they show what a carelessly drawn window would have cost.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.slot_figures import Prepared
from perfkit.model import SHORTEST_WINDOW_S, Window

FIGURES = (
    *GOODPUT,
    "client_mean_bps",
    "client_median_bps",
    "jain",
    "nic_bps",
    "cpu_busy_pct",
    "vpn_cpu_s_per_gbit",
)
OF_SERVER = ("nic_bps", "cpu_busy_pct")  # the monitor's, whatever the traffic's log says
SAMPLES = (1, 2)
SAMPLE_S = 1.0  # the tools and the monitor print once a second
NOTABLE_PCT = 5.0


def moved_windows(window: Window, by_s: float, *, inwards: bool) -> list[Window]:
    """The window with one edge or both moved by so many seconds.

    Args:
        inwards: Only moves that stay inside the window: three of the eight.

    Returns:
        Those that are at least a second long.
    """
    starts = (0.0, by_s) if inwards else (-by_s, 0.0, by_s)
    ends = (-by_s, 0.0) if inwards else (-by_s, 0.0, by_s)
    return [
        Window(start_s=window.start_s + start, end_s=window.end_s + end)
        for start, end in product(starts, ends)
        if (start, end) != (0.0, 0.0) and window.length_s - start + end >= SHORTEST_WINDOW_S
    ]


def sensitivity(
    prepared: Prepared, window: Window, samples: Sequence[int] = SAMPLES
) -> pd.DataFrame:
    """The largest change of each figure when the window's edges move.

    Args:
        samples: By how many samples, that is seconds.

    Returns:
        Two rows a number of samples: `slot`, `moved_s`, `moves` (`inwards` or `any`), `windows`
        (how many were tried), and `<figure>_change_pct` of each of `FIGURES`, absolute; NaN where
        the figure is not known, no window was left, or the log has no bytes by the second.
    """
    rows = []
    own = prepared.figures(window)
    figures = functools.cache(prepared.figures)  # moves inwards are some of all moves
    for count, inwards in product(samples, (True, False)):
        tried = moved_windows(window, count * SAMPLE_S, inwards=inwards)
        moved = [figures(other) for other in tried]
        rows.append(
            {
                "slot": prepared.slot.name,
                "moved_s": count * SAMPLE_S,
                "moves": "inwards" if inwards else "any",
                "windows": len(tried),
                **{
                    f"{name}_change_pct": _largest_change_pct(name, own, moved)
                    if prepared.is_fine or name in OF_SERVER
                    else np.nan
                    for name in FIGURES
                },
            }
        )
    return pd.DataFrame(rows)


def inwards_change_pct(moved: pd.DataFrame, *figures: str) -> float:
    """The largest change of one of several figures of one slot when its edges move inwards, in percent.

    What is said of a window in a word is this: outwards, a window of ten seconds takes in seconds
    without traffic, which is no fault of where it lies.

    Args:
        moved: What `sensitivity` returns.
        figures: Of `FIGURES`.

    Returns:
        NaN where it is not known.
    """
    columns = [f"{figure}_change_pct" for figure in figures]
    return float(moved.loc[moved["moves"] == "inwards", columns].max().max())


def _largest_change_pct(
    name: str, own: Mapping[str, float], moved: Sequence[Mapping[str, float]]
) -> float:
    value = own.get(name, np.nan)
    changes = np.array([other.get(name, np.nan) for other in moved]) - value
    changes = changes[np.isfinite(changes)]
    if not len(changes) or not value:
        return float("nan")
    return float(100.0 * np.abs(changes / value).max())
