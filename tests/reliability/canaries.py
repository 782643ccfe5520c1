"""S1: secrets of the environment, of config/ and of parameters reach no file of a run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from canary import SONGS, Campaigns

from .experiment import Experiment, Outcome


def run(n: int, _seed: int) -> Outcome:
    hits = n_open = n_files = 0
    for _ in range(n):
        with tempfile.TemporaryDirectory(prefix="canary-") as folder:
            campaigns = Campaigns.copied_to(Path(folder))
            status = campaigns.all()
            hits += len(list(campaigns.songs())) + (status["good"] != 0)
            n_open += len(campaigns.open_modes())
            n_files += sum(path.is_file() for path in (Path(folder) / "runs").rglob("*"))
    return Outcome(
        result=f"{hits} hits of {len(SONGS)} canaries after {4 * n} campaigns, failing and refused "
        f"ones among them; {n_open} of {n_files} files of runs readable by others",
        ok=not (hits or n_open) and n_files > 0,
    )


EXPERIMENT = Experiment(
    key="S1",
    promise="no secret on the disk",
    bound="0 hits in any byte of runs, notebooks, logs, pages; all modes 0600/0700 or less",
    run=run,
    quick=0,  # tests/integration/test_canary.py does it once
    full=3,
)
