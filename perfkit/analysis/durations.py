"""How long a client's traffic lasted by the tool's own log, held against its script and the plan.

Three durations should agree: the time planned, the time between the recorded start and end of the
client's script, and the time that the tool itself counted. A script that puts its traffic into the
background ends at once and proves nothing about the rest; one that waits longer than its traffic
takes fills the window with silence. Neither shows where all clients did the same, so each client
is held against the plan and not against the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfkit.logs.run_logs import RunLogs, SlotPlan

SLACK_S = 1.5  # a tool reports the second it is in when that is over
LEAST_PLANNED_SHARE = 0.5  # of the planned time; a client of less would shrink everyone's window
BACKGROUND = "the script puts it into the background"

_Stream = tuple[int, int, float]  # its first and last line, and how long it lasted


@dataclass(frozen=True, slots=True)
class TrafficTime:
    """How long one client's traffic lasted, in seconds.

    Attributes:
        longest_s: Of its streams; the traffic lasted at least this long.
        total_s: Streams that ran one after the other added up; it lasted at most this long.
    """

    longest_s: float = np.nan
    total_s: float = np.nan


def traffic_times(logs: RunLogs, slot: SlotPlan) -> dict[str, TrafficTime]:
    """Each client's traffic by its own log; by the server's where that has none of it."""
    rows = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    streams = (
        rows.groupby(["host", "log_host", "stream"], observed=True, sort=False)
        .agg(length_s=("end_s", "max"), first=("line_no", "min"), last=("line_no", "max"))
        .reset_index()
        .astype({"host": "str", "log_host": "str"})
    )
    said: dict[str, list[_Stream]] = {}
    by_others: dict[str, list[_Stream]] = {}
    known = streams[streams["length_s"].notna()]
    columns = (known[name].tolist() for name in ("host", "log_host", "length_s", "first", "last"))
    for host, log_host, length_s, first, last in zip(*columns, strict=True):
        by = said if host == log_host else by_others
        by.setdefault(host, []).append((first, last, float(length_s)))
    return {host: _added_up(own) for host, own in {**by_others, **said}.items()}


def _added_up(streams: Sequence[_Stream]) -> TrafficTime:
    """Streams whose lines are mixed ran at the same time; else one came after the other."""
    total_s = group_s = 0.0
    group_last = -1
    for first, last, length_s in sorted(streams):
        if first > group_last:
            total_s, group_s = total_s + group_s, 0.0
        group_s, group_last = max(group_s, length_s), max(group_last, last)
    return TrafficTime(max(length_s for _, _, length_s in streams), total_s + group_s)


def why_short(script_s: float, traffic: TrafficTime, planned_s: float) -> str:
    """Why a client whose script ended well does not count: not half of the planned time; or empty.

    Args:
        script_s: From the recorded start to the recorded end.
    """
    of_plan = f"of the planned {planned_s:g} s"
    if script_s < LEAST_PLANNED_SHARE * planned_s:
        text = f"ended after {script_s:.1f} s {of_plan}"
        if outlasted(script_s, traffic.longest_s):
            text += f", but its traffic went on for {traffic.longest_s:.1f} s: {BACKGROUND}"
        return text
    if traffic.total_s < LEAST_PLANNED_SHARE * planned_s:
        return (
            f"its traffic lasted {traffic.total_s:.1f} s {of_plan} by the tool's own log, "
            f"though its script ran {script_s:.1f} s"
        )
    return ""


def outlasted(script_s: Any, traffic_s: Any) -> Any:
    """Whether traffic went on when its script was over; of numbers or arrays, False where unknown."""
    return traffic_s > script_s + SLACK_S
