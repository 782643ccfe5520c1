"""Campaigns on a machine that other tests load: that it is busy is not what these try.

The idle control is short and voids nothing, and a client that is woken up late has not failed; what is
beyond its slot's own grace still has.
"""

from __future__ import annotations

import pytest

from perfkit.campaign import measuring, planned_slots, void_rules
from perfkit.measure.pacing import Pacing, grace_for

IDLE_S = 1.0
NEVER_PCT = 101.0
PATIENT = Pacing(
    late_s=3.5
)  # within the grace of four seconds that the smallest fleet has in the tunnel

# What begins a command of perfkit's in a process of its own: python -c PERFKIT run …
PERFKIT = f"""
from perfkit.campaign import measuring, planned_slots, void_rules
from perfkit.measure.pacing import Pacing
void_rules.IDLE_S, void_rules.MOST_BUSY_PCT = {IDLE_S}, {NEVER_PCT}
measuring.pacing_for = lambda *_, **__: {PATIENT!r}
planned_slots.direct_grace_for = planned_slots.grace_for
from perfkit.cli.app import main
main()
"""


def bear_with_it(patch: pytest.MonkeyPatch) -> None:
    """The same for campaigns in this process."""
    patch.setattr(void_rules, "IDLE_S", IDLE_S)
    patch.setattr(void_rules, "MOST_BUSY_PCT", NEVER_PCT)
    patch.setattr(measuring, "pacing_for", lambda *_, **__: PATIENT)
    patch.setattr(planned_slots, "direct_grace_for", grace_for)
