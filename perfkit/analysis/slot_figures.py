"""One slot reduced over one window: the figures that depend on where the window lies.

`prepare` does once what no window changes; `Prepared.figures` is then cheap enough to be asked
for many windows, as the sensitivity of each figure needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis import both_ways, impossible, rates
from perfkit.analysis import server_load as serverload
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import TestKind, Window
from perfkit.units import bytes_to_bits

QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
LEAST_CLIENTS = {"p5": 20, "p25": 4, "median": 1, "p75": 4, "p95": 20}
QUANTILES_METHOD = (
    "Quantiles interpolate linearly between order statistics (type 7); p5 and p95 from 20 clients "
    "on, p25 and p75 from 4"
)
COARSEST_S = 1.5  # intervals of this length and less show how a rate changed from second to second


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A slot's traffic, made ready.

    Attributes:
        counted: Clients that count.
        placed: All its lines.
        arrived: The lines that say what arrived; `side` says whose they are.
        intervals: `arrived` as intervals that hold every byte.
        is_sampled: Its clients print samples, which are its figures.
        resolution_s: How finely they are placed in time, see `rates.resolution_s`.
        impossible: See `perfkit.analysis.impossible.why_impossible`.
    """

    logs: RunLogs
    slot: SlotPlan
    counted: tuple[str, ...]
    placed: pd.DataFrame
    arrived: pd.DataFrame
    side: str
    intervals: pd.DataFrame
    resolution_s: float
    is_sampled: bool = False
    impossible: tuple[tuple[str, float], ...] = ()

    @property
    def is_void(self) -> bool:
        """Its logs say what cannot have happened: there is no goodput, and nothing made of it."""
        return impossible.is_void(self.impossible)

    @property
    def has_goodput(self) -> bool:
        """Whether its traffic makes a goodput: none where samples are the figures."""
        return self.slot.kind.has_traffic and not self.is_sampled

    @property
    def ways(self) -> both_ways.Ways:
        """The directions that each have a goodput: both, or whichever there is."""
        is_both = self.slot.kind is TestKind.TCP_BOTH or len(self._ways) > 1
        return both_ways.BOTH if is_both else both_ways.ONE

    @property
    def is_fine(self) -> bool:
        """Whether the log says what came in each second, not only a total of each stream."""
        return self.resolution_s <= COARSEST_S

    @property
    def is_whole(self) -> bool:
        """Whether the logs say all that arrived: none of several servers' is missing."""
        is_at_server = self.side == "receiver" and bool(self.arrived["up"].any())
        return not (
            is_at_server and self.slot.servers > 1 and self.logs.server_logs_lacking(self.slot)
        )

    def intervals_of(self, way: both_ways.Way) -> pd.DataFrame:
        """What arrived in a direction."""
        if way is both_ways.Way.ANY:
            return self.intervals
        up = self.intervals["up"].to_numpy(dtype=bool)
        own: pd.DataFrame = self.intervals[up == (way is both_ways.Way.UP)]
        return own

    def goodput_by_host(
        self, window: Window, way: both_ways.Way = both_ways.Way.ANY
    ) -> pd.Series[float]:
        """Goodput in bit/s of every host that moved something, counted or not."""
        got = rates.bytes_by_host(self.intervals_of(way), window)
        return got * (bytes_to_bits(1.0) / window.length_s)

    def by_second_bps(
        self, window: Window, way: both_ways.Way = both_ways.Way.ANY
    ) -> NDArray[np.float64]:
        """Goodput of the counted clients in each whole second; shape (clients, seconds).

        No seconds where the log does not say what came in each: spread evenly they would look
        alike, and nobody has seen that. None of a direction of which nobody says what arrived.
        """
        intervals = self.intervals_of(way)
        is_known = not intervals.empty or way is both_ways.Way.ANY
        if self.is_void or not self.has_goodput or not self.is_fine or not is_known:
            return np.zeros((len(self.counted), 0))
        return rates.per_second_bps(intervals, window, self.counted)

    def figures(self, window: Window) -> dict[str, float]:
        """Goodput, its distribution over clients, and the server's load over a window."""
        is_known = self.has_goodput and not self.is_void
        # What the server did is not divided by a part of what arrived there.
        intervals = self.intervals if is_known and self.is_whole else self.intervals.iloc[:0]
        load = serverload.server_load(self.logs, self.slot, window, intervals, self._ways)
        if not is_known:
            return load
        got = self.goodput_by_host(window)
        values = self._of_clients(got)
        if self.ways is both_ways.BOTH:
            each = {way: self.way_bps(window, way) for way in self.ways}
            received = {both_ways.name("received_bps", way): it.sum() for way, it in each.items()}
            of_clients = {way: self._of_clients(it) for way, it in each.items()}
            return load | received | both_ways.figures(of_clients)
        return {
            "goodput_bps": float(values.sum()) if len(values) else np.nan,
            "received_bps": float(got.sum()),
            **distribution(values),
            **load,
        }

    def way_bps(self, window: Window, way: both_ways.Way) -> pd.Series[float]:
        """The same as `goodput_by_host`; NaN of all clients where nobody says what arrived that way."""
        got = self.goodput_by_host(window, way)
        if not got.empty or way is both_ways.Way.ANY:
            return got
        return pd.Series(np.nan, index=pd.Index(list(self.counted), dtype="str"))

    def _of_clients(self, got: pd.Series[float]) -> NDArray[np.float64]:
        return np.asarray(got.reindex(list(self.counted), fill_value=0.0), dtype=np.float64)

    @property
    def _ways(self) -> tuple[str, ...]:
        return serverload.directions(self.arrived)


def prepare(logs: RunLogs, slot: SlotPlan, outcomes: pd.DataFrame) -> Prepared:
    """Take a slot's traffic out of a run's.

    Args:
        outcomes: The slot's rows of `perfkit.analysis.outcomes.outcomes`.
    """
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    arrived, side = rates.receiver_rows(placed, logs.server)
    intervals = rates.whole_intervals(arrived)
    return Prepared(
        logs=logs,
        slot=slot,
        counted=tuple(outcomes.loc[outcomes["ok"], "host"]),
        placed=placed,
        arrived=arrived,
        side=side,
        intervals=intervals,
        resolution_s=rates.resolution_s(intervals),
        is_sampled=bool((logs.samples["slot"] == slot.name).any()),
        impossible=tuple(impossible.why_impossible(logs, slot, arrived, intervals, side)),
    )


def distribution(values: NDArray[np.float64]) -> dict[str, float]:
    """Per-client figures; a client that got nothing is one of them."""
    if not len(values):
        return {}
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return {
        "client_mean_bps": mean,
        "client_sd_bps": sd,
        "client_cv": sd / mean if mean else np.nan,
        "client_min_bps": float(values.min()),
        "client_max_bps": float(values.max()),
        **{f"client_{name}_bps": value for name, value in quantiles(values).items()},
        "jain": rates.jain_index(values),
    }


def quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Those of `QUANTILES`, by name; NaN of too few values to have one.

    One of n values is a share of 1 / n: a quantile that leaves less than that beyond it is little
    but the smallest or the largest value under another name.
    """
    return {
        name: float(np.quantile(values, q)) if len(values) >= LEAST_CLIENTS[name] else np.nan
        for name, q in QUANTILES.items()
    }
