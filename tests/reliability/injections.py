"""S2: names and values never become commands, crontab lines, tags or paths."""

from __future__ import annotations

from injection import escapes, values

from .experiment import Experiment, Outcome


def run(n: int, seed: int) -> Outcome:
    found = escapes(values(n, seed))
    told = ", ".join(f"{count} through {channel}" for channel, count in found.items())
    return Outcome(result=f"escapes of {n} values: {told}", ok=not any(found.values()))


EXPERIMENT = Experiment(
    key="S2",
    promise="names and values are never commands",
    bound="0 escapes; each comes out as it went in, or is refused",
    run=run,
    quick=0,  # tests/unit/test_injection.py tries 10,000
    full=100_000,
)
