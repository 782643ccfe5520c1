"""R16: a disk that fills up here stops a campaign, loses nothing, and the same command ends it.

runs/ is a small tmpfs. It is filled to the last byte when the campaign has come to a moment (the hosts
are configured, armed, or measured; in turn), and has room again when the same command is given once more.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

from perfkit.errors import JournalError
from perfkit.runs import journal

from .campaigns import (
    LIMIT_S,
    POLL_S,
    Campaign,
    left_of,
    make_project,
    recipes_repeated,
    shape_of,
    times_armed,
)
from .experiment import Experiment, Outcome

MOMENTS = ("configure", "armed", "collect")
SIZE = "12m"
EXPECTED = [("01-direct-tcp", "2", "2", "0")]


def run(n: int, seed: int) -> Outcome:
    chance = Random(seed)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="fulldisk-") as name:
        project = make_project(Path(name))
        runs = project / "runs"
        runs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", runs], check=True)
        try:
            for number in range(n):
                moment = MOMENTS[number % len(MOMENTS)]
                campaign = Campaign(project, f"full-{number}", tests="direct-tcp")
                wrong += [f"{moment}: {text}" for text in _problems(campaign, moment, chance)]
                subprocess.run(["find", runs, "-mindepth", "1", "-delete"], check=True)
        finally:
            subprocess.run(["umount", runs], check=True)
    return Outcome(
        result=f"{n} campaigns on a disk that filled up: {len(wrong)} wrong {wrong or ''}",
        ok=not wrong,
    )


def _problems(campaign: Campaign, moment: str, chance: Random) -> list[str]:
    process = campaign.start()
    while process.poll() is None and not _has_come_to(campaign, moment):
        time.sleep(POLL_S)
    time.sleep(chance.uniform(0, 0.3))
    ballast = campaign.project / "runs" / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    status = process.wait(timeout=LIMIT_S)
    said = campaign.log.read_text()
    found = (
        [] if status == 1 and "No space left on device" in said else [f"status {status}: {said}"]
    )
    ballast.unlink()
    campaign.finish()
    *others, run = campaign.runs()
    # Before the tests nothing is lost when the hosts are released: then it is a new run.
    found += [f"{len(others) + 1} runs" for o in others if times_armed(o) or left_of(o)]
    if shape_of(run) != EXPECTED:
        found.append(f"other tables: {shape_of(run)}")
    if left_of(run) or times_armed(run) != 1:
        found.append(f"left {left_of(run)}, armed {times_armed(run)} times")
    if moment != "configure" and recipes_repeated(run):
        found.append("recipes repeated")
    return found


def _has_come_to(campaign: Campaign, moment: str) -> bool:
    """The moment is the beginning of a phase, or that the hosts have their orders."""
    for run in campaign.runs():
        with contextlib.suppress(JournalError):
            events = journal.read(run.journal_path).events
            return any(moment in (event.kind, event.fields.get("phase")) for event in events)
    return False


EXPERIMENT = Experiment(
    key="R16",
    promise="a disk that fills up here loses nothing, and the same command goes on",
    bound="a clear error each time, then the same tables; tests started once; 0 hosts left",
    run=run,
    quick=0,
    full=6,
    root=True,
)
