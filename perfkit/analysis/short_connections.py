"""Short TCP connections a second: a test of the kind `requests`, from its samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from perfkit.analysis.round_trips import missing_ratio, quantile
from perfkit.model import Window

METHOD = (
    "Connections with an answer that began in the steady window, per second of it, and their times; failed: "
    "the share of all that began in it, of the clients that count; one without any answer does not count"
)


def figures(samples: pd.DataFrame, window: Window) -> dict[str, float]:
    """Figures of a test: `requests_*` and `request_*`; NaN where nothing was observed.

    Args:
        samples: Rows of frame `samples` of the clients that count.
        window: The steady one.
    """
    made = samples[(samples["quantity"] == "request_s").to_numpy(dtype=bool)]
    inside = made[made["t_s"].between(window.start_s, window.end_s, inclusive="left").to_numpy()]
    values = inside["value"].dropna().to_numpy(dtype=np.float64)
    return {
        "requests_per_s": len(values) / window.length_s if len(inside) else np.nan,
        "requests_failed_ratio": missing_ratio(inside["value"]),
        "request_median_s": quantile(values, 0.5),
        "request_p99_s": quantile(values, 0.99),
    }
