"""Observations collected one by one, for parsers of logs that hold samples: rows in, frame out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfkit.logs.arrow_text import text_categories
from perfkit.logs.timestamps import LATEST_EPOCH_S
from perfkit.units import NS_PER_S


@dataclass(slots=True)
class SampleRows:
    """Rows of a frame `samples`, in the order added."""

    _rows: list[tuple[float, str, float, str, int]] = field(default_factory=list)

    def add(self, epoch_s: float, quantity: str, value: float, note: str, line_no: int) -> None:
        """One observation; NaN as time: not known, NaN as value: it did not come."""
        self._rows.append((epoch_s, quantity, value, note, line_no))

    def __len__(self) -> int:
        return len(self._rows)

    def frame(self) -> pd.DataFrame:
        """The frame; times in microseconds, which is what a float of today's epoch resolves."""
        epoch, quantity, value, note, line_no = (
            zip(*self._rows, strict=True) if self._rows else ((),) * 5
        )
        moments = np.array(epoch, dtype=np.float64)
        known = (moments > 0) & (moments < LATEST_EPOCH_S)
        whole = np.round(np.where(known, moments, 0.0) * 1e6).astype(np.int64)
        stamps = np.where(known, whole * (NS_PER_S // 10**6), np.iinfo(np.int64).min)  # NaT
        return pd.DataFrame(
            {
                "t_utc": pd.DatetimeIndex(stamps.view("datetime64[ns]"), tz="UTC").as_unit("ns"),
                "quantity": text_categories(quantity),
                "value": np.array(value, dtype=np.float64),
                "note": text_categories(note),
                "line_no": np.array(line_no, dtype=np.int64),
            }
        )


def is_value(value: float) -> bool:
    """Whether a number can be what somebody observed."""
    return math.isfinite(value) and value >= 0
