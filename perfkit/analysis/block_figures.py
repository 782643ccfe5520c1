"""A block's run folder -> its rows of the cells frame, one a test.

The windows are those of the block's segments.json, so a window that a person corrected is the one
that counts. What a recorded window has had cut as warm-up is that block's own finding; the figures
of a cell need the same cut in all of its blocks, which is given as an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from perfkit.analysis import counters, links, network_limits, segments, steady_state
from perfkit.analysis.answers.frame import FIGURES
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.run_summary import test_keys
from perfkit.analysis.segments import Windowed
from perfkit.analysis.server_load import busiest_core, outside_nic, shared_cpu
from perfkit.analysis.stats import Summary, summarise
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.model import Segment, Window
from perfkit.runs.folder import Run
from perfkit.units import mbps_to_bps

Row = dict[str, Any]


def block_rows(
    block: Run,
    place: Mapping[str, Any],
    warm_up_s: Mapping[str, float] | None = None,
    logs: RunLogs | None = None,
) -> list[Row]:
    """Reduce a block; writes its segments.json if there is none.

    Args:
        place: What the block is in its campaign: `block`, `folder`, `clients`, `variant`, …, any of
            `perfkit.analysis.answers.frame.COLUMNS`; on each of its rows.
        warm_up_s: What to cut off the recorded window of each test, instead of what the test itself
            shows; at most a third of the window is cut.
        logs: The block's, where somebody has read them already.

    Returns:
        One row a test, in the order in which they were run.

    Raises:
        RunError: the block measured nothing. SegmentError: its segments.json is damaged.
    """
    logs = logs or read_run(block)
    found = outcomes(logs)
    chosen = segments.current(block, logs, found)
    keys = test_keys(logs.slots)
    used = {s.slot: _cut(s, (warm_up_s or {}).get(keys[s.slot])) for s in chosen if s.slot in keys}
    return rows_of(
        Windowed(logs, found, chosen), place, summarise(logs, list(used.values()), found), used
    )


def rows_of(
    known: Windowed,
    place: Mapping[str, Any],
    summary: Summary,
    used: Mapping[str, Segment] | None = None,
) -> list[Row]:
    """The rows of a block, or of a run by itself, whose figures are there.

    Args:
        place: As `block_rows` takes it.
        summary: The figures over the windows that are used.
        used: The windows by slot, where they are not the recorded ones.
    """
    logs, found = known.logs, known.outcomes
    keys = test_keys(logs.slots)
    used = used if used is not None else {s.slot: s for s in known.windows if s.slot in keys}
    own_cut = {s.slot: s.warm_up_s for s in known.windows if s.chosen_by == "events" and s.steady}
    warned = Counter(f.where for f in summary.findings if f.level == "warning")
    rows = []
    for position, (slot, figures) in enumerate(
        zip(logs.slots, summary.tests.to_dict("records"), strict=True), start=1
    ):
        window = used[slot.name].steady if slot.name in used else None
        row = {str(name): value for name, value in figures.items()}
        if window is not None:
            counted = found.loc[(found["slot"] == slot.name) & found["ok"], "host"]
            row |= _watched(logs, slot, window, list(counted))
        rows.append(
            {
                **place,
                "test": keys[slot.name],
                "path": str(slot.path),
                "kind": slot.kind.value,
                "position": position,
                "not_steady": str(row.get("not_steady") or ""),
                "warm_up_found_s": own_cut.get(slot.name, np.nan),
                "warm_up_s": used[slot.name].warm_up_s if slot.name in used else np.nan,
                "window_s": row.get("window_s", np.nan),
                "chosen_by": str(row.get("chosen_by") or ""),
                "warnings": warned[slot.name],
                "failed_clients": int(row["clients_failed"]),
                **_of_hosts(logs),
                **{name: float(row[name]) for name in FIGURES if _is_number(row.get(name))},
            }
        )
    return rows


def _of_hosts(logs: RunLogs) -> Row:
    """What carried the packets, whether one core did, and whether server and clients shared it."""
    return {
        "shared_cpu": shared_cpu(logs),
        "vpn_single_core": logs.vpn_record.single_core and not logs.vpn_in_kernel,
        "vpn_implementation": logs.vpn_implementation,
    }


def _cut(segment: Segment, warm_up_s: float | None) -> Segment:
    """A recorded window with another warm-up cut; a person's, or a guess, as it is."""
    if warm_up_s is None or segment.chosen_by != "events" or segment.steady is None:
        return segment
    whole_s = segment.steady.length_s + segment.warm_up_s
    return segments.cut(segment, min(warm_up_s, steady_state.most_cut_s(whole_s)))


def _watched(logs: RunLogs, slot: SlotPlan, window: Window, clients: Sequence[str]) -> Row:
    """What a report of one run does not show: the link's capacity, the clients' processors."""
    watched: Row = {}
    if slot.server is None:
        watched["link_bps"] = _link_bps(logs)
        of_server = logs.queues[(logs.queues["host"] == logs.server).to_numpy()]
        dropped = counters.increase(of_server, "drops", window, "device")
        watched["queue_drops"] = dropped + logs.links.arriving_drops(slot.name)
        held = network_limits.held_back_share(logs.limits, window, logs.server)
        watched["server_held_back_ratio"] = held
    watched["held_back_packets"] = network_limits.held_back(logs.limits, window)
    if not shared_cpu(logs):
        watched["clients_cpu_pct"] = _clients_cpu(logs.monitor, window, clients)
    return watched


def _link_bps(logs: RunLogs) -> float:
    """What the server's link can carry in one direction: what was planted, else what its card says.

    NaN: its card does not say.
    """
    if np.isfinite(planted := links.server_rate_bps(logs)):
        return planted
    monitor = logs.monitor[(logs.monitor["host"] == logs.server).to_numpy()]
    nic = outside_nic(monitor, logs.vpn_record.device)
    said = str(logs.facts.get(logs.server, {}).get("link_speeds_mbps", ""))
    speeds = dict(word.partition("=")[::2] for word in said.split())
    return mbps_to_bps(float(speeds[nic])) if speeds.get(nic, "").isdecimal() else float("nan")


def _clients_cpu(monitor: pd.DataFrame, window: Window, clients: Sequence[str]) -> float:
    """Mean over the clients that were watched of their busiest core of each second.

    Of all their processors, where the monitor did not look at cores. Of clients that share a machine
    only one is watched, so each machine counts once.
    """
    used = []
    for _, own in monitor[monitor["host"].isin(clients).to_numpy()].groupby("host", observed=True):
        ticks = counters.in_window(own, window)
        filled = ticks.loc[:, ticks.notna().any().to_numpy()]
        busy = counters.mean_and_sd(ticks, "cpu_busy_pct")[0]
        used.append(busiest_core(filled).get("busiest_core_tick_pct", busy))
    known = [value for value in used if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
