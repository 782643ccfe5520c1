"""A collected block of a search -> the trial that the search knows of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from perfkit.analysis import offered
from perfkit.analysis.capacity_search import CLIENTS, GENERATOR, Trial
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.trial_loss import TrialLoss, trial_loss
from perfkit.campaign.blocks import MOST_ATTEMPTS, Claim
from perfkit.logs.run_logs import RunLogs

_LOST_CLIENTS, _NOT_OFFERED = "missing-clients", "offered-load"  # void rules


def trial_of(logs: RunLogs, attempts: Sequence[Claim], rule: str) -> Trial | None:
    """What a search knows of a block; None: nothing, it is to be run again.

    A block whose clients did not offer what was asked is a trial all the same, and so is one that lost
    clients for the last time that it may: at that load they are lost again. Any other reason has
    nothing to do with the load.

    Args:
        attempts: At this load, this one last.
        rule: That made the block void; empty: it counts.
    """
    load_bps = attempts[-1].load_bps
    assert load_bps is not None
    limit = {_NOT_OFFERED: GENERATOR, "": ""}.get(rule)
    if rule == _LOST_CLIENTS and _is_last(attempts):
        limit = CLIENTS
    if limit is None:
        return None
    (slot,) = logs.slots
    found = outcomes(logs)
    loss = trial_loss(logs, found, slot) or TrialLoss(0, 0)
    placed = logs.traffic[(logs.traffic["slot"] == slot.name).to_numpy()]
    counted = found.loc[(found["slot"] == slot.name) & found["ok"], "host"]
    return Trial(
        load_bps=load_bps,
        offered_bps=offered.offered_bps(slot, placed, list(counted)),
        lost=loss.lost,
        sent=loss.sent,
        limit=limit,
    )


def _is_last(attempts: Sequence[Claim]) -> bool:
    own = [it for it in attempts if not it.interrupted]
    return len(own) >= MOST_ATTEMPTS and all(
        it.why.startswith(f"{_LOST_CLIENTS}: ") for it in own[:-1]
    )


def as_fields(trial: Trial) -> dict[str, Any]:
    """As a line of the journal has it."""
    known = math.isfinite(trial.offered_bps)
    return {**asdict(trial), "offered_bps": trial.offered_bps if known else None}
