"""R6: sick hosts do not stop the others, and cost one timeout together.

One campaign on real hosts with every fault of `tests/sick_hosts.py`; `n` is how often.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from unittest.mock import patch

from sick_hosts import FAULTS, SickCampaign, campaign

from .experiment import Experiment, Outcome

SPARE_S = 30.0


def run(n: int, seed: int) -> Outcome:
    del seed  # nothing is left to chance: every fault is there
    wrong: list[str] = []
    lines: list[str] = []
    ok = True
    for _ in range(n):
        with (
            tempfile.TemporaryDirectory(prefix="sick-") as folder,
            patch.dict(os.environ, PERFKIT_HOME=folder),
        ):
            made = campaign(Path(folder))
        wrong += _wrong(made)
        well_s = max(made.host_s[made.names[name]] for name in ("well", "well too"))
        all_s, sum_s = made.elapsed_s["configure"], sum(made.host_s.values())
        ok &= all_s <= well_s + SPARE_S
        lines += [f"configure {all_s:.1f} s, a well host {well_s:.1f} s"]
        lines += [
            f"{fault.name}: {made.host_s[made.names[fault.name]]:.1f} s, "
            f"{made.reason(fault.name)[:110] or 'well'}"
            for fault in FAULTS
        ]
    sick = sum(bool(fault.says) for fault in FAULTS)
    return Outcome(
        result=f"{n} x {sick} sick and {len(FAULTS) - sick} well hosts: {len(wrong)} wrong {wrong}"
        + "".join(f"\n      {line}" for line in lines),
        ok=ok and not wrong,
        baseline=f"one after the other the same hosts take {sum_s:.0f} s",
    )


def _wrong(made: SickCampaign) -> list[str]:
    found = list(made.left)
    for fault in FAULTS:
        reason, is_done = made.reason(fault.name), made.names[fault.name] in made.done
        right = re.match(fault.says, reason) and not is_done if fault.says else is_done
        found += [] if right else [f"{fault.name}: {reason}"]
    return found


EXPERIMENT = Experiment(
    key="R6",
    promise="sick hosts are named with their cause and do not hold up the others",
    bound=f"0 wrong causes, all well hosts done, at most {SPARE_S:g} s longer than the well ones",
    run=run,
    quick=0,
    full=1,
    root=True,
)
