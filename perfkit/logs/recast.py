"""Numbers of 8 bytes made another type in their own memory: new memory takes longer than the work."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_floats(figures: NDArray[Any]) -> NDArray[np.float64]:
    """Whole numbers or floats of 8 bytes as floats; the array that is given is used up."""
    floats = figures.view(np.float64)
    if figures.dtype != floats.dtype:
        floats[:] = figures
    return floats


def to_whole(figures: NDArray[np.float64]) -> NDArray[np.int64]:
    """Floats as whole numbers, cut off at the point; the array that is given is used up."""
    whole = figures.view(np.int64)
    whole[:] = figures
    return whole
