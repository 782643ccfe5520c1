"""The timetable that settings come to: how long after a test its clients may still end."""

from __future__ import annotations

from perfkit.measure.pacing import direct_grace_for, grace_for
from perfkit.measure.plan import plan
from perfkit.model import Slot
from perfkit.settings.parameters import Settings


def slots_of(chosen: Settings, clients: int | None = None) -> tuple[Slot, ...]:
    """The timetable of a run with these settings.

    Beside the tunnel, hosts of this machine without links have no queue that a sender could wait
    for; of other networks nobody knows what lies in them.

    Args:
        clients: As many as take part; None: the most that the run has.

    Raises:
        ScheduleError: two tests are too near to each other.
    """
    most = chosen.parameters.most_clients if clients is None else clients
    is_near = chosen.parameters.provider == "local" and not (chosen.links or chosen.parameters.link)
    return plan(
        chosen.tests,
        clients=most,
        grace_s=grace_for(most),
        direct_grace_s=direct_grace_for(most) if is_near else None,
    )
