"""Memory per connected client: the slope of the VPN's memory over the number of idle clients.

The straight line through the mean of each client count, least squares. Its slope is what one more client
costs, its value at no client what the process needs by itself, its libraries for example.

The interval is Student's t over the client counts, not over the blocks. Memory grows in steps, when a
table or an arena is doubled, so a count may lie off the line, and lies there in each of its blocks: they
repeat its deviation and are not independent of each other. Five counts say much more than three.

Source: Draper and Smith, Applied Regression Analysis (1998), section 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.answers.frame import counted
from perfkit.analysis.confidence import student_t

FIGURE = "vpn_rss_bytes"
LEAST_SIZES = 3
METHOD = (
    "Slope of the VPN's memory over idle clients: least squares through the mean of each client count, "
    "95 % interval by Student's t over the counts, whose blocks repeat how far memory that grows in steps lies "
    "off the line. Off the line: the largest such distance, of the memory there"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySlope:
    """What one more idle client costs.

    Attributes:
        per_client_bytes: With its 95 % interval, `low_bytes` to `high_bytes`.
        without_bytes: Where the line meets no client.
        blocks: How many it stands on.
        off_share: How far a size lies off the line at most, of its memory.
    """

    variant: str
    test: str
    sizes: tuple[int, ...]
    blocks: int
    per_client_bytes: float
    low_bytes: float
    high_bytes: float
    without_bytes: float
    off_share: float


def memory_slopes(frame: pd.DataFrame) -> list[MemorySlope]:
    """One for each variant and test of which the memory is known at three client counts or more.

    Args:
        frame: Of cells, see `perfkit.analysis.answers.frame`.
    """
    known = counted(frame)
    known = known[known[FIGURE].notna().to_numpy()]
    found = []
    for (variant, test), own in known.groupby(["variant", "test"], sort=False):
        means = own.groupby("clients")[FIGURE].mean()
        if len(means) >= LEAST_SIZES:
            sizes, values = (np.asarray(it, dtype=np.float64) for it in (means.index, means))
            found.append(_fit(str(variant), str(test), len(own), sizes, values))
    return found


def _fit(
    variant: str,
    test: str,
    blocks: int,
    sizes: NDArray[np.float64],
    values: NDArray[np.float64],
) -> MemorySlope:
    off = sizes - sizes.mean()
    spread = float(off @ off)
    slope = float(off @ values) / spread
    without = float(values.mean() - slope * sizes.mean())
    left = values - without - slope * sizes
    degrees = len(sizes) - 2
    half = student_t(degrees) * float(np.sqrt(left @ left / degrees / spread))
    return MemorySlope(
        variant=variant,
        test=test,
        sizes=tuple(int(size) for size in sizes),
        blocks=blocks,
        per_client_bytes=slope,
        low_bytes=slope - half,
        high_bytes=slope + half,
        without_bytes=without,
        off_share=float(np.max(np.abs(left) / values)),
    )
