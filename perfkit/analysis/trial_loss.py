"""What of a trial's datagrams was lost after its start, see `perfkit.analysis.datagram_loss`.

The first third of a trial does not count: all clients begin at the same instant, queues fill, and of
1,000 clients all loss may lie in the first seconds. It is the most that is cut off any window
(`perfkit.analysis.steady_state.most_cut_s`), and always the same, so that the figure of one trial
does not hang on how long that trial warmed up.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from perfkit.analysis import datagram_loss, rates, segments, steady_state
from perfkit.analysis.server_crash import server_crash
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
    if window is None or not counted or server_crash(logs, slot.name):
        return None
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    arrived, side = rates.receiver_rows(placed, logs.server)
    each = datagram_loss.by_client(placed, arrived, window, slot, sorted(counted))
    if side != "receiver" or each is None or each.isna().any(axis=None):
        return None
    lost, sent = (round(float(each[name].sum())) for name in ("lost", "datagrams"))
    return TrialLoss(min(lost, sent), sent) if sent else None
