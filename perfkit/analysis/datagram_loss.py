"""Which UDP datagrams of each client were lost in a window, counted by the numbers that they bear.

Of each client the lines of the window's seconds count. To them comes what it says that it sent and no
line counts, neither as arrived nor as lost, where that is more than a second's worth: so a client of
which nothing arrives any more has lost the rest. Less than that was still on its way when the receiver
ended. The receiver's reports of whole streams say only what arrived, since their loss is wrong both ways
in iperf 2.1.8: the last datagram, sent again, may be counted as one far ahead, and what is read of other
clients when all begin at once is taken off what was lost as out of order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from perfkit.analysis import offered, rates
from perfkit.logs.run_logs import Finding, SlotPlan
from perfkit.model import Window
from perfkit.units import format_count, format_some

ON_ITS_WAY_S = 1.0
CARRYING_SHARE = 0.99  # of what a client sent in the window
_NAMED = 8
METHOD = (
    "Loss: datagrams of the steady window that were lost over those sent, sums over clients; where the log "
    "does not say it by the second, over whole streams. Carrying: clients of which 99 % or more of what they "
    "sent in the window arrived"
)


def by_client(
    placed: pd.DataFrame,
    arrived: pd.DataFrame,
    window: Window,
    slot: SlotPlan,
    counted: Sequence[str],
    *,
    crashed: bool = False,
) -> pd.DataFrame | None:
    """Lost and sent datagrams of each client in a window.

    Args:
        placed: All lines of a slot (`run-traffic`).
        arrived: The receiver's lines of it, see `perfkit.analysis.rates.receiver_rows`.
        counted: Clients that count.
        crashed: The receiver did, so that nothing is told by what it did not print.

    Returns:
        Indexed by client: `lost` and `datagrams`, NaN where not known. None: the log does not say
        what was lost in which second.
    """
    if not {"lost", "datagrams"} <= set(arrived.columns):
        return None
    known = arrived["datagrams"].notna() & (arrived["side"] == "receiver")
    arrived = arrived[known.to_numpy(dtype=bool)]
    is_interval = (arrived["kind"] == "interval").to_numpy(dtype=bool)
    if not is_interval.any():
        return None
    hosts = sorted(counted)
    inside = between(arrived, window.start_s, window.end_s).reindex(hosts, fill_value=0.0)
    # Of some nothing is said by the second: their receiver's log is not there, its report is.
    whole_only = set(arrived["host"].astype("str")) - set(arrived.loc[is_interval, "host"])
    inside.loc[inside.index.isin(whole_only)] = math.nan
    if crashed:
        return inside
    return inside.add(_gone(arrived, placed, window, slot).reindex(hosts), axis="index")


def figures(
    found: pd.DataFrame | None, arrived: pd.DataFrame, window: Window
) -> dict[str, float | str]:
    """What of a window's datagrams was lost, and before it.

    Args:
        found: See `by_client`.

    Returns:
        `window_lost`, `window_datagrams`, `clients_carrying` (which lost 1 % or less), `losing_named` (the
        others) and, of the seconds before the window, `start_lost` and `start_datagrams`. Empty:
        not known of some client.
    """
    if found is None or found.isna().any(axis=None) or not found["datagrams"].sum() > 0:
        return {}
    lost = found["lost"].clip(lower=0.0, upper=found["datagrams"])
    loss = (lost / found["datagrams"]).fillna(1.0)  # who sent nothing carried nothing
    losing = loss[loss > 1 - CARRYING_SHARE].sort_values(ascending=False, kind="stable")
    before = between(arrived, -math.inf, window.start_s).reindex(found.index).sum()
    return {
        "window_lost": float(lost.sum()),
        "window_datagrams": float(found["datagrams"].sum()),
        "clients_carrying": len(found) - len(losing),
        "losing_named": format_some(
            [f"{host} {share:.1%}" for host, share in losing.items()], _NAMED
        ),
        "start_lost": float(before["lost"]),
        "start_datagrams": float(before["datagrams"]),
    }


def findings(row: dict[str, object]) -> list[Finding]:
    """Clients that lost more than others, and what the common start lost, of a row of a run's tests."""

    def known(name: str) -> float:
        value = row.get(name)
        return float(value) if isinstance(value, int | float) else float("nan")

    counted, carrying = known("clients_counted"), known("clients_carrying")
    found = []
    if 0 < counted - carrying < counted:
        found.append(
            f"{format_count(int(counted - carrying), 'client')} of {counted:.0f} lost more than "
            f"{1 - CARRYING_SHARE:.0%} of their datagrams in the window: {row.get('losing_named')}"
        )
    if known("start_datagrams") > 0:
        at_start = known("start_lost") / known("start_datagrams")
        if at_start > 1 - CARRYING_SHARE and at_start > 2 * known("loss_ratio"):
            found.append(
                f"{at_start:.1%} of the {known('start_datagrams'):.0f} datagrams before the window were lost, "
                f"when all clients began at once ({known('loss_ratio'):.2%} in the window): they are not in "
                "the figures"
            )
    return [Finding(str(row["slot"]), text, "note") for text in found]


def between(arrived: pd.DataFrame, start_s: float, end_s: float) -> pd.DataFrame:
    """Lost and sent of the intervals whose larger part is between two moments, by host."""
    middle = (arrived["t_start_s"] + arrived["t_end_s"]) / 2
    chosen = (arrived["kind"] == "interval") & (middle >= start_s) & (middle < end_s)
    own = arrived[chosen.to_numpy()]
    return own.groupby(own["host"].astype("str"))[["lost", "datagrams"]].sum()


def _gone(
    arrived: pd.DataFrame, placed: pd.DataFrame, window: Window, slot: SlotPlan
) -> pd.Series[float]:
    """Datagrams of each client that no line before the window's end counts, and that never arrived.

    What may have been on its way when the receiver ended is none. NaN: not known.
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
    known = between(arrived, -math.inf, window.end_s)["lost"].reindex(found.index, fill_value=0.0)
    each_second = sent / slot.duration_s
    later_s = max(slot.end_s - window.end_s, 0.0)  # what was sent then is not of this window
    missing = (sent - heard - known - each_second * later_s).clip(lower=0.0)
    return missing.mask(missing <= each_second * ON_ITS_WAY_S, 0.0)
