"""What became of each client in each test: it counts, or it failed and why.

A client counts when its script ran from start to exit status 0, for at least half of the planned
time, and the receiver saw its traffic, which lasted as long (`perfkit.analysis.durations`). iperf 2
exits 0 even when nobody answered, so the status alone proves nothing.

It counts as well when it was ended at its time limit after it had sent over the whole planned
time: a sender on a saturated link stops by its clock and then waits for what is on its way, which
is no part of the test. Such clients are marked `cut_off`, and the report says how many.

A client whose provider said, before the test was over, that it takes the host back does not count,
whatever it measured.

In a test both ways both directions must have arrived, each by the log of the end that received it.

A client whose script ended with exit status 0 in a test of which no reader understands any log,
did the test and has not failed, but it has no figures, so it does not count; such clients are
marked `unread`.

In a test whose clients print samples (`RunLogs.samples`), not traffic, a client counts that has at
least one sample with a value. A test in which all clients connect at once may be over early.

When no host left a record of a test, the records were lost, not the test: then a client counts
whose streams were whole at the receiver, from their own stamps.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from perfkit.analysis import both_ways, durations
from perfkit.analysis.durations import TrafficTime
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import TestKind
from perfkit.units import format_count, format_some

_Row = dict[str, Any]
_NO_TRAFFIC = "exit status 0, but the receiver saw no traffic"
_NOT_KNOWN = "exit status 0, but whether the receiver saw its traffic is not known"
_NO_SAMPLE = "exit status 0, but its log holds no sample with a value"
_UNREAD = "exit status 0, but no log of the test is understood, so there are no figures"

_TYPES = {
    "slot": "str",
    "host": "str",
    "ok": "bool",
    "reason": "str",
    **dict.fromkeys(("start_s", "end_s", "late_s"), "float64"),
    **dict.fromkeys(("traffic_s", "traffic_most_s", "exit_status"), "float64"),
    "streams": "int64",
    "samples": "int64",
    "cut_off": "bool",
    "unread": "bool",
}


def outcomes(logs: RunLogs) -> pd.DataFrame:
    """One row per (slot, client), failed and absent clients included.

    Returns:
        `slot`, `host`, `ok`, `reason` (empty when ok), `start_s` and `end_s` (from T0, the
        controller's clock; NaN when not recorded), `late_s` (actual minus planned start;
        negative = early), `traffic_s` and `traffic_most_s` (its traffic lasted so long at least
        and at most by the tool's own log; NaN when no log says it), `exit_status`, `streams` (seen at the receiver), `samples` (with a value), `cut_off` (ended
        with data on its way) and `unread` (did a test that has no figures), see the module's
        docstring.
    """
    rows: list[_Row] = []
    hosts = {str(host["name"]): host for host in logs.hosts.to_dict("records")}
    events = {(str(e["slot"]), str(e["host"])): e for e in logs.events.to_dict("records")}
    recorded = {slot for slot, _ in events}
    for slot in logs.slots:
        stamped = {} if slot.name in recorded else _whole_streams(logs, slot)
        seen, sent_until_s = _streams_seen(logs, slot), _sent_until(logs, slot)
        traffic = durations.traffic_times(logs, slot)
        why_not_known = _why_not_known(logs, slot)
        valued = _samples_seen(logs, slot)
        traffic = traffic if valued is None else {}
        records: list[_Row] = []
        for name in logs.clients:
            event = events.get((slot.name, name))
            row: _Row = {"slot": slot.name, "host": name, "streams": seen.get(name, 0)}
            row["samples"] = 0 if valued is None else valued.get(name, 0)
            row["cut_off"] = row["unread"] = False
            known = traffic.get(name, TrafficTime())
            row |= {"traffic_s": known.longest_s, "traffic_most_s": known.total_s}
            if event is None and name in stamped:
                row |= stamped[name]
            elif event is None:
                row |= {"ok": False, "reason": _why_absent(hosts[name])}
            else:
                sent_s = sent_until_s.get(name, 0.0)
                whole = sent_s >= slot.duration_s - durations.SLACK_S
                known_by = row["streams"] if valued is None else row["samples"]
                nothing = _NO_TRAFFIC if valued is None else _NO_SAMPLE
                row |= _recorded(logs, slot, event, known_by, nothing, sent_whole_time=whole)
                row["reason"] = _hedged(str(row["reason"]), why_not_known)
            row |= _interrupted(logs, name, slot)
            records.append(row)
        if slot.kind is not TestKind.CONNECT_STORM:
            _fail_short_ones(records, traffic, slot.duration_s)
        if slot.kind is TestKind.TCP_BOTH:
            _fail_one_way(records, logs, slot, why_not_known)
        rows += records
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)


def _interrupted(logs: RunLogs, name: str, slot: SlotPlan) -> _Row:
    """A client that was being taken back before the test's end: nothing of that test counts."""
    notice = logs.interrupted.get(name)
    if notice is None:
        return {}
    noticed_s = notice.noticed_utc_s - logs.t0_utc_s
    if noticed_s >= slot.start_s + slot.duration_s:
        return {}
    after_s = noticed_s - slot.start_s
    when = f"{after_s:.1f} s after its start" if after_s > 0 else "before it began"
    void = dict.fromkeys(("ok", "cut_off", "unread"), False)
    return {**void, "reason": f"taken back, noticed {when}: {notice.reason}"}


def _samples_seen(logs: RunLogs, slot: SlotPlan) -> dict[str, int] | None:
    """Samples with a value per host; None where the test's clients print traffic."""
    own = logs.samples[(logs.samples["slot"] == slot.name).to_numpy()]
    if own.empty and slot.kind.has_traffic:
        return None
    per_host = own[own["value"].notna()].groupby("host", observed=True).size()
    return {str(host): int(count) for host, count in per_host.items()}


def _streams_seen(logs: RunLogs, slot: SlotPlan) -> dict[str, int]:
    """Streams per client at the receiver; at the sender where there is no receiver's log."""
    traffic = logs.traffic[logs.traffic["slot"] == slot.name]
    received = traffic[traffic["side"] == "receiver"]
    used = received if len(received) else traffic
    per_host = used.groupby("host", observed=True)["stream"].nunique()
    return {str(host): int(count) for host, count in per_host.items()}


def _nobodys_streams(logs: RunLogs, slot: SlotPlan) -> int:
    """Streams at the server of which no line says whose they are; any client's may be among them."""
    own = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    nameless = (own["log_host"] == logs.server) & (own["peer_port"] == 0)
    return int(
        own.loc[(nameless & (own["host"].astype("str") == "")).to_numpy(), "stream"].nunique()
    )


def _why_not_known(logs: RunLogs, slot: SlotPlan) -> str:
    """Why it is not known whether a client's traffic arrived of which no log says so; empty: it did not."""
    if nobodys := _nobodys_streams(logs, slot):
        return f"{format_count(nobodys, 'stream')} there without a known client"
    lacking = logs.server_logs_lacking(slot)
    return f"there is no {format_some(lacking, 1)}" if slot.servers > 1 and lacking else ""


def _hedged(reason: str, why_not_known: str) -> str:
    """Why a client does not count; that it sent nothing is not always known."""
    if not why_not_known:
        return reason
    return reason.replace(_NO_TRAFFIC, f"{_NOT_KNOWN}: {why_not_known}")


def _whole_streams(logs: RunLogs, slot: SlotPlan) -> dict[str, _Row]:
    """Clients whose traffic arrived over the whole planned time, by the tool's own stamps."""
    own = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    whole = own[(own["side"] == "receiver") & (own["kind"] == "summary")]
    whole = whole[whole["t_start_s"].notna() & (whole["host"].astype("str") != "")]
    spans = whole.groupby("host", observed=True).agg(
        start_s=("t_start_s", "min"), end_s=("t_end_s", "max")
    )
    return {
        str(host): {
            "ok": True,
            "reason": "",
            "start_s": start_s,
            "end_s": end_s,
            "late_s": start_s - slot.start_s,
            "exit_status": np.nan,
        }
        for host, start_s, end_s in spans.itertuples()
        if end_s - start_s >= slot.duration_s - durations.SLACK_S
    }


def _sent_until(logs: RunLogs, slot: SlotPlan) -> dict[str, float]:
    """How long each client sent by its own log, seconds from its stream's start."""
    traffic = logs.traffic[logs.traffic["slot"] == slot.name]
    sent = traffic[traffic["side"] == "sender"]
    return {str(h): float(s) for h, s in sent.groupby("host", observed=True)["end_s"].max().items()}


def _why_absent(host: Mapping[Hashable, Any]) -> str:
    if host["state"] == "failed" or host["reason"]:
        return str(host["reason"]) or "the host failed before the tests"
    return "no record of the test: it never started, or was not collected"


def _recorded(
    logs: RunLogs,
    slot: SlotPlan,
    event: Mapping[Hashable, Any],
    seen: int,
    nothing: str,
    *,
    sent_whole_time: bool,
) -> _Row:
    """What the starter's record says, on the run's time line.

    Args:
        seen: Streams at the receiver; of a test of samples, those with a value.
        nothing: Why the client does not count where there are none.
    """
    start, end = float(event["start_utc_s"]), float(event["end_utc_s"])
    name = str(event["host"])
    clock = logs.clocks.get(name)
    offset = clock.offset_s(start) if clock and np.isfinite(start) else 0.0
    said = logs.messages.get((slot.name, name), "")
    start_s = round(start - offset - logs.t0_utc_s, 6)
    if slot.connect_s:  # before the slot it only connects
        start_s = max(start_s, slot.start_s)
    cut_off = bool(event["timed_out"]) and sent_whole_time and seen > 0
    reason = "" if cut_off else _reason(event, start, end, "" if seen else nothing)
    unread = reason == nothing and not logs.is_understood(str(event["slot"]))
    reason = _UNREAD if unread else reason
    return {
        "ok": not reason,
        "cut_off": cut_off,
        "unread": unread,
        "reason": f"{reason}: {said}" if reason and said else reason,
        # Epoch seconds as floats are good to 0.2 us; the rest is noise.
        "start_s": start_s,
        "end_s": round(end - offset - logs.t0_utc_s, 6),
        "late_s": round(start_s - slot.start_s, 6),
        "exit_status": float(event["exit_status"]),
    }


def _reason(event: Mapping[Hashable, Any], start: float, end: float, nothing: str) -> str:
    """Why the client does not count; empty when it does."""
    status = float(event["exit_status"])
    if not np.isfinite(start):
        return "it never started"
    if bool(event["timed_out"]):
        return "ended at its time limit"
    if not np.isfinite(end) or not np.isfinite(status):
        return "no end was recorded: it was killed or lost"
    if status != 0:
        return f"exit status {status:.0f}"
    return nothing


def _fail_one_way(records: list[_Row], logs: RunLogs, slot: SlotPlan, why_not_known: str) -> None:
    """A client of which only one direction arrived did half of a test both ways."""
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    done = [str(row["host"]) for row in records if row["ok"]]
    why = both_ways.why_one_way(placed, logs.server, done, why_not_known)
    for row in records:
        if reason := why.get(str(row["host"])):
            row |= {"ok": False, "cut_off": False, "reason": reason}


def _fail_short_ones(
    records: list[_Row], traffic: Mapping[str, TrafficTime], planned_s: float
) -> None:
    """A client that stopped long before its planned time failed, whatever its status says."""
    for row in records:
        if row["ok"]:
            known = traffic.get(row["host"], TrafficTime())
            row["reason"] = durations.why_short(row["end_s"] - row["start_s"], known, planned_s)
            row["ok"] = not row["reason"]
