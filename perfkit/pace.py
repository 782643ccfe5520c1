"""How long a phase will take, for the live view: from the timetable and from earlier runs.

A guess and shown as one ("of about"): phases of the newest runs of the same provider are scaled
with the number of hosts, which is right where hosts share processors and too long elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from statistics import median

from perfkit import progress, runs
from perfkit.errors import PerfkitError
from perfkit.estimate import CRON_WAIT_S
from perfkit.session import Session

RUNS_ASKED = 3
RUNS_TRIED = 20
ARMING_S = 8.0  # to make ready, arm, and wait for T0, in the runs this was taken from


def expected_s(session: Session, phase: str) -> float | None:
    """Seconds that a phase of this session takes; None where no earlier run tells."""
    if phase == "measure":
        waiting_s = CRON_WAIT_S if session.settings.parameters.starter == "cron" else 0.0
        return max(slot.end_s + slot.grace_s for slot in session.slots) + ARMING_S + waiting_s
    found = list(itertools.islice(_per_host_s(session, phase), RUNS_ASKED))
    return median(found) * (session.settings.parameters.clients + 1) if found else None


def _per_host_s(session: Session, phase: str) -> Iterator[float]:
    """What earlier runs took, the newest first; runs that cannot be read say nothing."""
    earlier = reversed(runs.list_runs(session.settings.runs_dir))
    for run in itertools.islice(earlier, RUNS_TRIED):
        try:
            parameters = run.manifest()["parameters"]
            if parameters["provider"] != session.provider.name or run == session.run:
                continue
            seconds = progress.read(run).done.get(phase)
            hosts = int(parameters["clients"]) + 1
        except (PerfkitError, KeyError, TypeError, ValueError):
            continue
        if seconds:
            yield seconds / hosts
