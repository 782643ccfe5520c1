"""What of a trial's datagrams was lost after its start, counted by the numbers that they bear.

The first third of a trial does not count: all clients begin at the same instant, queues fill, and of
1,000 clients all loss may lie in the first seconds. It is the most that is cut off any window
(`perfkit.analysis.steady_state.most_cut_s`), and always the same, so that the figure of one trial
does not hang on how long that trial warmed up.

Of each client the lines of the seconds from there to the window's end count. To them comes what it
says that it sent and no line counts, neither as arrived nor as lost, where that is more than a
second's worth: so a client of which nothing arrives any more has lost the rest. Less than that was
still on its way when the receiver ended. The receiver's reports of whole streams say only what
arrived, since their loss is wrong both ways in iperf 2.1.8: the last datagram, sent again, may be
counted as one far ahead, and what is read of other clients when all begin at once is taken off what was
lost as out of order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from perfkit.analysis import offered, rates, segments, steady_state
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import Window


@dataclass(frozen=True, slots=True)
class TrialLoss:
    """Datagrams of the clients that count, after the start of a trial; `lost` of `sent`."""

    lost: int
    sent: int


def counted_window(logs: RunLogs, found: pd.DataFrame, slot: SlotPlan) -> Window | None:
    """Where all clients are active, less its first third; None: they never were.

    Args:
        found: See `perfkit.analysis.outcomes.outcomes`.
    """
    chosen = [it for it in segments.from_events(logs, found) if it.slot == slot.name]
    steady = chosen[0].steady if chosen else None
    if steady is None:
        return None
    return segments.cut(chosen[0], steady_state.most_cut_s(steady.length_s)).steady


def trial_loss(logs: RunLogs, found: pd.DataFrame, slot: SlotPlan) -> TrialLoss | None:
    """Count a trial's datagrams; None: what was lost of some client is not known.

    Args:
        found: See `perfkit.analysis.outcomes.outcomes`.
    """
    window = counted_window(logs, found, slot)
    counted = set(found.loc[(found["slot"] == slot.name) & found["ok"], "host"].astype("str"))
    if window is None or not counted:
        return None
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    arrived, side = rates.receiver_rows(placed, logs.server)
    if side != "receiver" or not {"lost", "datagrams"} <= set(arrived.columns):
        return None
    arrived = arrived[arrived["datagrams"].notna().to_numpy()]
    if not (arrived["kind"] == "interval").any():
        return None  # nobody knows what was lost in which part
    hosts = sorted(counted)
    inside = _between(arrived, window.start_s, window.end_s).reindex(hosts, fill_value=0.0)
    gone = _gone(arrived, placed, window, slot).reindex(hosts)
    if gone.isna().any():
        return None
    lost, sent = (round(float((inside[name] + gone).sum())) for name in ("lost", "datagrams"))
    return TrialLoss(min(lost, sent), sent) if sent else None


def _gone(
    arrived: pd.DataFrame, placed: pd.DataFrame, window: Window, slot: SlotPlan
) -> pd.Series[float]:
    """Datagrams of each client that no line before the window's end counts, and that never arrived.

    Up to a second's worth of them is none: it was on its way. NaN: not known.
    """
    lines = arrived.assign(
        ends=(arrived["kind"] == "summary").to_numpy(), host=arrived["host"].astype("str")
    )
    ended = lines.groupby(rates.STREAM, observed=True)["ends"].transform("any")
    used = lines[(lines["ends"] | ~ended).to_numpy()]
    found = used.groupby("host")[["lost", "datagrams"]].sum()
    is_whole = used.groupby("host")["ends"].all()
    sent = offered.datagrams_sent(placed, arrived).reindex(found.index)
    sent = sent.fillna(found["datagrams"].where(is_whole))
    heard = found["datagrams"] - found["lost"]
    known = _between(arrived, -math.inf, window.end_s)["lost"].reindex(found.index, fill_value=0.0)
    missing = (sent - heard - known).clip(lower=0.0)
    return missing.mask(missing <= sent / slot.duration_s, 0.0)


def _between(arrived: pd.DataFrame, start_s: float, end_s: float) -> pd.DataFrame:
    """Lost and sent of the intervals whose larger part is between two moments, by host."""
    middle = (arrived["t_start_s"] + arrived["t_end_s"]) / 2
    chosen = (arrived["kind"] == "interval") & (middle >= start_s) & (middle < end_s)
    own = arrived[chosen.to_numpy()]
    return own.groupby(own["host"].astype("str"))[["lost", "datagrams"]].sum()
