"""What of a trial's datagrams was lost after its start, counted by the numbers that they bear.

The first third of a trial does not count: all clients begin at the same instant, queues fill, and of
1,000 clients all loss may lie in the first seconds. It is the most that is cut off any window
(`perfkit.analysis.steady_state.most_cut_s`), and always the same, so that the figure of one trial
does not hang on how long that trial warmed up.

Of each stream the receiver's report of the whole less its intervals before the cut is taken: so what
is lost at the end is in it, and a client of which nothing arrived any more. Where the report of the
whole was lost, or counts more datagrams than were sent, what the sender sent stands in its place; then
at most the last second of a stream counts as neither lost nor sent, since the receiver was ended, or
too busy, before it had read what was on its way.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from perfkit.analysis import rates, segments, steady_state
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import Window

_LAST_TRIES = 12  # that an iperf client sends its last datagram, and one to begin


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
    whole = _whole(arrived, placed, counted, window, slot)
    before = _before(arrived, window.start_s)
    if set(whole.index) != counted or not whole.notna().all(axis=None):
        return None
    counts = whole.sub(before.reindex(whole.index, fill_value=0.0)).clip(lower=0.0).sum()
    sent = round(float(counts["datagrams"]))
    return TrialLoss(min(round(float(counts["lost"])), sent), sent) if sent else None


def _whole(
    arrived: pd.DataFrame,
    placed: pd.DataFrame,
    counted: Collection[str],
    window: Window,
    slot: SlotPlan,
) -> pd.DataFrame:
    """Lost and sent of each client's whole streams, by host; NaN: not known."""
    lines = arrived.assign(
        ends=(arrived["kind"] == "summary").to_numpy(), host=arrived["host"].astype("str")
    )
    ended = lines.groupby(rates.STREAM, observed=True)["ends"].transform("any")
    used = lines[(lines["ends"] | ~ended).to_numpy() & lines["host"].isin(list(counted)).to_numpy()]
    found = used.groupby("host")[["lost", "datagrams", "size_bytes"]].sum()
    cut_off = used.groupby("host")["ends"].all().eq(other=False)
    heard = (found["datagrams"] - found["lost"]).where(lambda count: count > 0)
    sent = (_sent_bytes(placed).reindex(found.index) / (found["size_bytes"] / heard)).round()
    # iperf's receiver may take the last datagram, sent again, for one far ahead: all between is "lost".
    unknown = cut_off | (found["datagrams"] > sent + _LAST_TRIES)
    known = _before(arrived, window.end_s)["lost"].reindex(found.index, fill_value=0.0)
    missing = (sent - heard - known).clip(lower=0.0)
    missing = missing.mask(missing <= sent / slot.duration_s, 0.0)
    found["lost"] = found["lost"].mask(unknown, known + missing)
    found["datagrams"] = found["datagrams"].mask(unknown, heard + known + missing)
    return found[["lost", "datagrams"]]


def _sent_bytes(placed: pd.DataFrame) -> pd.Series[float]:
    """What each client says that it sent."""
    own = (placed["side"] == "sender") & (placed["kind"] == "summary")
    own &= placed["log_host"].astype("str") == placed["host"].astype("str")
    rows = placed[own.to_numpy(dtype=bool)]
    return rows.groupby(rows["host"].astype("str"))["size_bytes"].sum()


def _before(arrived: pd.DataFrame, start_s: float) -> pd.DataFrame:
    """Lost and sent of the intervals whose larger part is before a moment, by host."""
    middle = (arrived["t_start_s"] + arrived["t_end_s"]) / 2
    own = arrived[((arrived["kind"] == "interval") & (middle < start_s)).to_numpy()]
    return own.groupby(own["host"].astype("str"))[["lost", "datagrams"]].sum()
