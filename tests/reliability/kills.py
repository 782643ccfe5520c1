"""R11: a campaign that is killed at any moment, and then given again, yields the same tables.

Each trial kills the controller (every third time: the kernel of the campaign notebook), one time in
three the second attempt as well, and then lets the same command end. An undisturbed campaign shows
first how long each phase takes; the moments of the kills go through the phases in turn and are random
within them, because most of a campaign is waiting for the tests.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from perfkit.runs import progress

from .campaigns import Campaign, make_project, problems_of, shape_of, turning_points
from .experiment import Experiment, Outcome


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        project = make_project(Path(folder))
        untouched = Campaign(project, "untouched")
        started_s = time.time()
        life_s = untouched.finish()
        (made,) = untouched.runs()
        moments_s = [started_s, *turning_points(made), started_s + life_s]
        lengths_s = [after - before for before, after in itertools.pairwise(moments_s)]
        expected = shape_of(made)
        trials = [_try(project, number, chance, lengths_s, expected) for number in range(n)]
    wrong = [problem for problems, _ in trials for problem in problems]
    where = Counter(phase for _, phases in trials for phase in phases)
    kills = sum(where.values())
    told = ", ".join(f"{count} in {phase}" for phase, count in where.most_common())
    return Outcome(
        result=f"{n} campaigns, {kills} kills ({told}): {len(wrong)} wrong"
        + "".join(f"\n    {problem}" for problem in wrong),
        ok=not wrong,
    )


def _try(
    project: Path,
    number: int,
    chance: Random,
    lengths_s: list[float],
    expected: list[tuple[str, ...]],
) -> tuple[list[str], list[str]]:
    """What was not as it should be, and the phases in which the kills fell."""
    campaign = Campaign(project, f"killed-{number}", notebook=number % 3 == 2)
    phases: list[str] = []
    started = time.monotonic()
    for attempt in range(1 if chance.random() < 2 / 3 else 2):
        turn = (number + attempt) % len(lengths_s)
        if not campaign.kill_after(turn, chance.uniform(0, lengths_s[turn])) or _is_finished(
            campaign
        ):
            break
        phases.append(_phase_of(campaign))
    else:
        campaign.finish()
    problems = [f"{campaign.name}: {text}" for text in problems_of(campaign, expected)]
    print(f"  {campaign.name}: killed in {phases}, {time.monotonic() - started:.0f} s", problems)
    for made in campaign.runs() if not problems else []:
        shutil.rmtree(made.root)
    return problems, phases


def _is_finished(campaign: Campaign) -> bool:
    """All was done when the kill came: the same command would rightly begin a new run."""
    return any((run.report_dir / "index.html").exists() for run in campaign.runs())


def _phase_of(campaign: Campaign) -> str:
    runs = campaign.runs()
    done = progress.read(runs[-1]) if runs else None
    return (done.under_way or "between phases") if done else "start"


EXPERIMENT = Experiment(
    key="R11",
    promise="a killed campaign, given again, yields the same tables and leaves nothing",
    bound="0 wrong tables, 0 recipes repeated, 0 tests started twice, 0 hosts left",
    run=run,
    quick=0,
    full=30,
    root=True,
)
