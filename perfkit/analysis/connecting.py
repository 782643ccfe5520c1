"""How long clients took to connect: a test of the kind `connect-storm`, from its samples.

Each client prints one `connect_s` a phase: of `first`, in which all clients start their VPN at the same
instant, and of `restart`, after the server's VPN was stopped and started anew. Of the phase `restart`
times count from the moment when the server's start was called, by the server's own log: a server that
was late would else make its clients slow. A reply before that moment came from the VPN that was about
to end, and says nothing. Where the server's log does not say that it was stopped and started, its
clients may have been answered by the old one, and the phase has no times.

A client that did not connect is no gap in the figures: its time is longer than those that are known.
So is one that ran the test and printed nothing of a phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.analysis.quantiles import of_waits
from perfkit.logs.run_logs import Finding, RunLogs, SlotPlan
from perfkit.units import format_some

PHASES = {"first": "connect", "restart": "reconnect"}  # -> how its figures' names begin
METHOD = (
    "From the VPN's start (of a client's own; after a restart: of the server's) to the first reply to a "
    "ping through the tunnel, sent every 0.1 s; a client without one counts as slower than all others. "
    "p99 from 100 clients on. Per second: clients that connected, from the first start to the last "
    "reply. CPU: of the server's VPN process in this time, to the next sample, per client that connected"
)
_NAMED = 3
_UNTOLD = "it printed nothing of it"
_TELLING = ("refused", "auth-failed", "tls-error", "fatal", "timeout")  # of the VPN's log


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """One phase.

    Attributes:
        wait_s: By client; NaN: it did not connect.
        failed: Why each of those did not.
        unknown: Clients that were answered before the server's VPN had ended.
        begin_s, end_s: The first start and the last reply, from T0; NaN: nobody connected.
        cpu_s: CPU seconds of the server's VPN in that time.
    """

    phase: str
    wait_s: pd.Series[float]
    failed: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    begin_s: float = float("nan")
    end_s: float = float("nan")
    cpu_s: float = float("nan")

    @property
    def values(self) -> NDArray[np.float64]:
        """Times of all clients, ascending, NaN last."""
        return np.sort(self.wait_s.to_numpy(dtype=np.float64))

    def figures(self) -> dict[str, float]:
        """The phase's figures, without the beginning of their names."""
        values = self.values
        connected = int(np.isfinite(values).sum())
        took_s = self.end_s - self.begin_s
        return {
            "median_s": of_waits(values, 0.5),
            "p99_s": of_waits(values, 0.99),
            "max_s": float(np.max(values)) if len(values) else np.nan,  # NaN where one failed
            "per_s": connected / took_s if took_s > 0 else np.nan,
            "failed": float(len(self.failed)),
            "cpu_s": self.cpu_s / connected if connected else np.nan,
        }


def phases(logs: RunLogs, slot: SlotPlan) -> list[Connecting]:
    """The phases of a test, those that somebody printed something of; a restart only if there was one."""
    told = _told(logs, slot)
    started_s = _server_started_s(_own(logs, slot), logs.server)
    no_restart = _why_not_restarted(logs, slot)
    found = []
    for name in PHASES:
        rows = told[(told["phase"] == name).to_numpy()].drop_duplicates("host", keep="last")
        if len(rows) and not (name == "restart" and no_restart):
            since_s = started_s if name == "restart" else float("nan")
            found.append(_phase(logs, slot, name, rows, since_s))
    return found


def figures(logs: RunLogs, slot: SlotPlan) -> dict[str, float]:
    """Figures of a test: `connect_median_s` and the like, and of the restart `reconnect_median_s`."""
    return {
        _name(PHASES[found.phase], name): value
        for found in phases(logs, slot)
        for name, value in found.figures().items()
    }


def findings(logs: RunLogs, slot: SlotPlan) -> list[Finding]:
    """Clients that did not connect, by reason, and those that nothing is known of."""
    texts = []
    for found in phases(logs, slot):
        what = "did not connect" if found.phase == "first" else "did not connect after the restart"
        reasons = {f"{host} ({why})": None for host, why in sorted(found.failed.items())}
        if reasons:
            texts.append(
                f"{len(reasons)} of {len(found.wait_s)} clients {what}: "
                f"{format_some(list(reasons), _NAMED)}"
            )
        if found.unknown:
            texts.append(
                f"{len(found.unknown)} clients were answered before the server's VPN had ended, so it is "
                f"not known when they connected again: {format_some(found.unknown, _NAMED)}"
            )
    why = _why_not_restarted(logs, slot)
    if why and (_told(logs, slot)["phase"] == "restart").any():
        texts.append(
            f"the server's VPN was not surely started anew ({why}): no times after a restart"
        )
    return [Finding(slot.name, text) for text in texts]


def _own(logs: RunLogs, slot: SlotPlan) -> pd.DataFrame:
    own: pd.DataFrame = logs.samples[(logs.samples["slot"] == slot.name).to_numpy()]
    return own


def _told(logs: RunLogs, slot: SlotPlan) -> pd.DataFrame:
    """What clients printed of connecting, with `phase` and `why`; not those that were taken back."""
    own = _own(logs, slot)
    left_out = own["host"].isin([logs.server, *_taken_back(logs, slot)])
    told = own[((own["quantity"] == "connect_s") & ~left_out).to_numpy()]
    phase, _, why = _parts(told["note"])
    return told.assign(phase=phase, why=why)


def _silent(logs: RunLogs, slot: SlotPlan, told: set[str]) -> list[str]:
    """Clients that ran a test and printed nothing; not those that were taken back."""
    events = logs.events
    ran = (events["slot"] == slot.name) & events["start_utc_s"].notna()
    hosts = set(events.loc[ran.to_numpy(dtype=bool), "host"].astype("str"))
    return [host for host in logs.clients if host in hosts - told - _taken_back(logs, slot)]


def _taken_back(logs: RunLogs, slot: SlotPlan) -> set[str]:
    """Hosts that their provider took back before a test's end."""
    end_utc_s = logs.t0_utc_s + slot.end_s
    return {host for host, it in logs.interrupted.items() if it.noticed_utc_s < end_utc_s}


def _why_not_restarted(logs: RunLogs, slot: SlotPlan) -> str:
    """Why it is not sure that the server's VPN was started anew; empty: it was, or nothing is said."""
    if not slot.server_script or slot.server is not None:
        return ""
    own = _own(logs, slot)
    own = own[(own["host"] == logs.server).to_numpy()]
    for quantity, order in (("vpn_stop_s", "stop"), ("vpn_start_s", "start")):
        notes = own.loc[(own["quantity"] == quantity).to_numpy(), "note"]
        if notes.empty:
            return f"its log says nothing of the {order}"
        if why := _parts(notes)[2][-1]:
            return why
    return ""


def _name(stem: str, figure: str) -> str:
    """`connects_per_s`, and `connect_…` for the others."""
    return f"{stem}s_{figure}" if figure == "per_s" else f"{stem}_{figure}"


def _parts(notes: pd.Series[str]) -> tuple[list[str], list[str], list[str]]:
    parts = [str(note).partition(": ") for note in notes]
    return [p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts]


def _server_started_s(own: pd.DataFrame, server: str) -> float:
    """When the server's VPN was started anew, from T0; NaN: nobody says it."""
    rows = own[((own["quantity"] == "vpn_start_s") & (own["host"] == server)).to_numpy()]
    return float(rows["t_s"].iloc[-1]) if len(rows) else float("nan")


def _phase(
    logs: RunLogs, slot: SlotPlan, name: str, rows: pd.DataFrame, since_s: float
) -> Connecting:
    hosts = rows["host"].astype("str").to_numpy()
    replied_s = rows["t_s"].to_numpy(dtype=np.float64)
    printed_s = rows["value"].to_numpy(dtype=np.float64)
    waited_s = np.where(np.isnan(printed_s), np.nan, replied_s - since_s)
    waited_s = printed_s if np.isnan(since_s) else waited_s
    too_early = waited_s < 0  # NaN is not
    silent = _silent(logs, slot, set(hosts))
    waits = pd.Series(
        np.append(waited_s[~too_early], np.full(len(silent), np.nan)),
        index=[*hosts[~too_early], *silent],
    )
    unanswered = np.isnan(printed_s)
    failed = {
        host: _reason(logs, host, why, (slot.start_s, float(moment)))
        for host, why, moment in zip(
            hosts[unanswered],
            rows["why"].to_numpy()[unanswered],
            replied_s[unanswered],
            strict=True,
        )
    }
    known = np.isfinite(waited_s) & ~too_early
    begin_s = float((replied_s - waited_s)[known].min()) if known.any() else np.nan
    end_s = float(replied_s[known].max()) if known.any() else np.nan
    return Connecting(
        phase=name,
        wait_s=waits,
        failed=failed | dict.fromkeys(silent, _UNTOLD),
        unknown=tuple(sorted(hosts[too_early])),
        begin_s=begin_s,
        end_s=end_s,
        cpu_s=_cpu_s(logs, begin_s, end_s) if slot.server is None else np.nan,
    )


def _reason(logs: RunLogs, host: str, why: str, within_s: tuple[float, float]) -> str:
    """Why a client did not connect: as its script says, and the last telling line of its VPN's log.

    Args:
        within_s: From the test's start to the moment when the client gave up.
    """
    events = logs.vpn.events
    mine = (events["host"] == host) & events["t_s"].between(*within_s)
    mine &= events["event"].isin(_TELLING)
    lines = events.loc[mine.to_numpy(dtype=bool), "text"]
    return f"{why}; its VPN: {lines.iloc[-1]}" if len(lines) else why


def _cpu_s(logs: RunLogs, begin_s: float, end_s: float) -> float:
    """CPU seconds of the server's VPN between the samples around an interval.

    A process that began in it has used nothing before. NaN where no sample was taken before or after.
    """
    process = logs.process[(logs.process["host"] == logs.server).to_numpy()]
    moments = process["t_s"].to_numpy(dtype=np.float64)
    if not (len(moments) and moments.min() <= begin_s and moments.max() >= end_s):
        return float("nan")
    first_s, last_s = moments[moments <= begin_s].max(), moments[moments >= end_s].min()
    inside = process[((moments >= first_s) & (moments <= last_s))]
    used_s = 0.0
    for _, own in inside.groupby("pid"):
        cpu = own.sort_values("t_s")["cpu_s"].to_numpy(dtype=np.float64)
        is_new = float(own["t_s"].min()) > first_s
        used_s += cpu[-1] - (0.0 if is_new else cpu[0])
    return float(used_s)
