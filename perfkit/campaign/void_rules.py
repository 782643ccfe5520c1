"""Why a block that was measured does not count: by the rules of the design, and for nothing else.

A block is never void because its figures deviate: repeating until they agree makes intervals too
narrow. What voids it was decided before the first one was run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pandas as pd

from perfkit.analysis import background_load, offered, trial_loss
from perfkit.analysis.answers.frame import to_records
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.slot_figures import prepare
from perfkit.logs.run_logs import RunLogs, SlotPlan
from perfkit.runs.folder import Run
from perfkit.units import format_some

IDLE_S = 5.0  # before each block in which nothing but its servers is started
MOST_BUSY_PCT = background_load.NOTABLE_PCT  # of the server, in that time
CLOCK_S = 0.1  # a clock that moved by more during the tests certainly
_NAMED = 3


def why_void(
    block: Run, logs: RunLogs, rules: tuple[str, ...], found: pd.DataFrame | None = None
) -> tuple[str, str] | None:
    """The first of the rules that makes a collected block void, and why; None: it counts.

    Args:
        found: What became of its clients, where somebody knows it already.
    """
    found = outcomes(logs) if found is None else found
    for rule in rules:
        why = next(_RULES[rule](block, logs, found), "")
        if why:
            return rule, why
    return None


def _missing_clients(block: Run, logs: RunLogs, found: pd.DataFrame) -> Iterator[str]:
    why = {
        str(row["name"]): f" ({row['reason']})" for row in to_records(logs.hosts) if row["reason"]
    }
    lacking = [
        f"{host} in {slot.name}: {name} did not come home{why.get(host, '')}"
        for slot in logs.slots
        for host, name in _needed(logs, slot)
        if not (block.host_raw_dir(host) / name).exists()
    ]
    if lacking:
        yield format_some(lacking, _NAMED)
    failed = found[~(found["ok"] | found["unread"]).to_numpy()]
    reasons = [f"{row['host']} in {row['slot']}: {row['reason']}" for row in to_records(failed)]
    if reasons:
        yield format_some(reasons, _NAMED)


def _needed(logs: RunLogs, slot: SlotPlan) -> Iterator[tuple[str, str]]:
    """Each host that has something to run in a slot, the server too, and the file that tells of it."""
    for host in logs.clients:
        yield host, f"{slot.name}.events.json"
    if slot.server is None and slot.server_script and logs.server:
        for name in slot.server_names:
            yield logs.server, f"{name}.log"


def _spot_notice(_block: Run, logs: RunLogs, _found: pd.DataFrame) -> Iterator[str]:
    last_s = max(slot.end_s for slot in logs.slots)
    noticed = [
        f"{host} was taken back: {notice.reason}"
        for host, notice in logs.interrupted.items()
        if notice.noticed_utc_s < logs.t0_utc_s + last_s
    ]
    if noticed:
        yield format_some(noticed, _NAMED)


def _clock(block: Run, _logs: RunLogs, _found: pd.DataFrame) -> Iterator[str]:
    rows = block.load_json(block.clocks_path) if block.clocks_path.exists() else []
    before = {row["host"]: row for row in rows if row["when"] == "before"}
    for row in rows:
        was = before.get(row["host"])
        if row["when"] != "after" or was is None:
            continue
        moved_s = row["offset_s"] - was["offset_s"]
        if abs(moved_s) - row["bound_s"] - was["bound_s"] > CLOCK_S:
            yield f"the clock of {row['host']} moved by {moved_s:+.3f} s during the tests"


def _other_load(_block: Run, logs: RunLogs, _found: pd.DataFrame) -> Iterator[str]:
    busy_pct, ticks = idle_busy_pct(logs)
    if ticks >= background_load.LEAST_TICKS and busy_pct > MOST_BUSY_PCT:
        yield (
            f"the server's processors were {busy_pct:.0f} % busy before the tests, while nothing "
            f"was started (median of {ticks} s; {MOST_BUSY_PCT:g} % is the most): end what else runs "
            "there"
        )


def idle_busy_pct(logs: RunLogs) -> tuple[float, int]:
    """How busy the server's processors were in the idle control before the block.

    Returns:
        As `perfkit.analysis.background_load.median_busy_pct`.
    """
    over_s = min(slot.start_s - slot.connect_s for slot in logs.slots) - background_load.BEFORE_S
    return background_load.median_busy_pct(
        logs, lambda begin, end: (begin >= over_s - IDLE_S) & (end <= over_s)
    )


def _impossible_figures(_block: Run, logs: RunLogs, found: pd.DataFrame) -> Iterator[str]:
    for slot in logs.slots:
        prepared = prepare(logs, slot, found[(found["slot"] == slot.name).to_numpy()])
        if prepared.is_void:
            yield f"{slot.name}: {'; '.join(text for text, _ in prepared.impossible)}"


def _offered_load(_block: Run, logs: RunLogs, found: pd.DataFrame) -> Iterator[str]:
    for slot in logs.slots:
        placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
        counted = found.loc[(found["slot"] == slot.name) & found["ok"], "host"]
        if why := offered.why_short(slot, placed, list(counted)):
            yield f"{slot.name}: {why}"


def _loss_unknown(_block: Run, logs: RunLogs, found: pd.DataFrame) -> Iterator[str]:
    for slot in logs.slots:
        if trial_loss.trial_loss(logs, found, slot) is None:
            yield (
                f"{slot.name}: it is not known what was lost after its start: the server's log has no "
                "report of each client, second by second, or the clients were never all active"
            )


_RULES: Mapping[str, Callable[[Run, RunLogs, pd.DataFrame], Iterator[str]]] = {
    "missing-clients": _missing_clients,
    "spot-notice": _spot_notice,
    "clock": _clock,
    "other-load": _other_load,
    "impossible-figures": _impossible_figures,
    "offered-load": _offered_load,
    "loss-unknown": _loss_unknown,
}
