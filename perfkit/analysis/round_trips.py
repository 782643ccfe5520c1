"""Round-trip times without load and under it: a test of the kind `latency`, from its samples.

Each client measures for half of the time alone, then beside a TCP stream of its own. Clients do not go
on to the second half at the same instant, so a phase is what all of them had alike: without load until
the first client begins to load, under load from when the last one has begun until the first has ended.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.logs.run_logs import NAMED, Finding
from perfkit.units import format_some

NOTABLE_LOST = 0.1
UNLOADED, LOADED = "unloaded", "loaded"  # notes of the samples
METHOD = (
    "Round-trip times of all clients that count together, those that did not come back in lost only: a "
    "share of what the clients that count sent; one without any answer does not count. Unloaded: "
    "until the first client begins to load; loaded: from when all clients load until the first has ended; "
    "added by load: the difference of the two medians. Load: the sum of what the clients' TCP streams carried"
)


def phases(samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Round trips of each phase; where no sample says its phase, all of them are unloaded.

    Args:
        samples: Rows of frame `samples` of the clients that count.
    """
    trips = samples[(samples["quantity"] == "rtt_s").to_numpy(dtype=bool)]
    is_loaded = (trips["note"] == LOADED).to_numpy(dtype=bool)
    is_free = trips["note"].isin([UNLOADED, ""]).to_numpy(dtype=bool)
    loaded, unloaded = trips[is_loaded], trips[is_free]
    if loaded.empty:
        return {UNLOADED: unloaded}
    spans = loaded.groupby("host", observed=True)["t_s"].agg(["min", "max"])
    begin_s, all_s, end_s = spans["min"].min(), spans["min"].max(), spans["max"].min()
    moments = loaded["t_s"].to_numpy(dtype=np.float64)
    return {  # samples without a time stay
        UNLOADED: unloaded[~(unloaded["t_s"] >= begin_s).to_numpy()],
        LOADED: loaded[~((moments < all_s) | (moments > end_s))],
    }


def figures(samples: pd.DataFrame) -> dict[str, float]:
    """Figures of a test: `rtt_*` and `load_bps`; NaN where nothing was observed."""
    found = phases(samples)
    free, busy = (_values(found[p]) if p in found else np.empty(0) for p in (UNLOADED, LOADED))
    together = pd.concat(list(found.values()))["value"]
    load = _loads(samples)["value"]
    if len(load) and not load.any():
        busy = np.empty(0)  # no client loaded
    return {
        "rtt_median_s": quantile(free, 0.5),
        "rtt_p99_s": quantile(free, 0.99),
        "rtt_loaded_median_s": quantile(busy, 0.5),
        "rtt_loaded_p99_s": quantile(busy, 0.99),
        "rtt_added_s": quantile(busy, 0.5) - quantile(free, 0.5),
        "rtt_lost_ratio": missing_ratio(together),
        "load_bps": float(load.sum()) if len(load) else np.nan,
    }


def findings(slot: str, samples: pd.DataFrame) -> list[Finding]:
    """Phases of which so much was lost that the times of the rest are no picture of it."""
    found = []
    for phase, rows in phases(samples).items():
        lost = missing_ratio(rows["value"])
        if lost > NOTABLE_LOST:
            when = "under load" if phase == LOADED else "without load"
            text = f"{lost:.0%} of the round trips {when} did not come back: the times are of the others"
            found.append(Finding(slot, text))
    loads = _loads(samples)
    without = sorted(loads.loc[(loads["value"] == 0).to_numpy(), "host"].astype("str"))
    if 0 < len(without) < len(loads):
        text = (
            f"the TCP streams of {len(without)} of {len(loads)} clients carried nothing "
            f"({format_some(without, NAMED)}): the round trips under load are beside what the others sent"
        )
        found.append(Finding(slot, text))
    elif without:
        text = (
            "no client's TCP stream carried anything, so there are no round trips under load: look whether "
            "the server's iperf runs, and its port is open"
        )
        found.append(Finding(slot, text))
    return found


def _loads(samples: pd.DataFrame) -> pd.DataFrame:
    return samples[(samples["quantity"] == "load_bps").to_numpy(dtype=bool)]


def _values(rows: pd.DataFrame) -> NDArray[np.float64]:
    values: NDArray[np.float64] = rows["value"].dropna().to_numpy(dtype=np.float64)
    return values


def quantile(values: NDArray[np.float64], share: float) -> float:
    """By linear interpolation (type 7); NaN of nothing."""
    return float(np.quantile(values, share)) if len(values) else float("nan")


def missing_ratio(values: pd.Series[float]) -> float:
    """Share of the observations that did not come; NaN of none."""
    return float(values.isna().mean()) if len(values) else float("nan")
