"""S3: a host that was taken over writes nothing beyond its own folder, and is told for what it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hostile_host import ATTACKS, CONTENT, collect_from

from .experiment import Experiment, Outcome

MOST_WRITTEN_BYTES = 8 << 20


def run(n: int, _seed: int) -> Outcome:
    escaped = untold = unbounded = wrong = 0
    names = list(ATTACKS)[:n]
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            found = collect_from(ATTACKS[name], Path(folder))
        escaped += len(found.escaped)
        untold += found.result.ok or ATTACKS[name].words not in found.result.reason
        unbounded += found.elapsed_s > ATTACKS[name].deadline_s + 10
        unbounded += found.written_bytes > MOST_WRITTEN_BYTES
        wrong += any(content != CONTENT for content in found.kept.values())
    return Outcome(
        result=f"{len(names)} attacks: {escaped} writes outside, {unbounded} unbounded reads, "
        f"{wrong} wrong files kept, {untold} not told",
        ok=not (escaped or untold or unbounded or wrong),
    )


EXPERIMENT = Experiment(
    key="S3",
    promise="a hostile host is contained",
    bound="0 writes outside its folder, 0 unbounded reads, every attack named in the result",
    run=run,
    quick=0,  # tests/integration/test_hostile_host.py tries each
    full=len(ATTACKS),
)
