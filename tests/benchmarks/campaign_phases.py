"""One run of `perfkit run`, and where its seconds went by its own journal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.runs import journal
from perfkit.runs.folder import Run, list_runs
from perfkit.runs.progress import ARMED

TESTS, BETWEEN = "tests", "between tests"  # the timetable: the tests are no cost


def run_phases(project: Path, clients: int, duration_s: float) -> dict[str, float]:
    """Run it; seconds of each phase, in order, and of the tests."""
    options = {"clients": clients, "duration-s": duration_s, "name": f"speed{clients}"}
    flags = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    begun_utc_s = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "perfkit.cli.app", "run", *flags],
        env={**os.environ, "PERFKIT_HOME": str(project)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    ended_utc_s = time.time()
    if done.returncode:  # too few clients did their tests, or worse
        print(done.stdout)
    run = max(list_runs(project / "runs"), key=lambda run: run.root.stat().st_ctime)
    return phases(run, begun_utc_s, ended_utc_s)


def phases(run: Run, begun_utc_s: float, ended_utc_s: float) -> dict[str, float]:
    """Seconds of each phase of a run whose process began and ended then.

    What adds up to the whole: the borders are moments of the journal and of the timetable.
    """
    events = journal.read(run.journal_path).events
    timetable = run.load_json(run.timetable_path)
    slots: Sequence[dict[str, Any]] = timetable["slots"]
    t0_s = float(timetable["t0_utc_s"])

    def moment(kind: str, phase: str = "") -> float:
        for event in events:
            if event.kind == kind and event.fields.get("phase", "") == phase:
                return event.t_utc.timestamp()
        raise RuntimeError(f"{run.id}: its journal has no {kind} {phase}: it did not get so far")

    borders = {
        "start, checks": moment("phase-started", "launch"),
        "launch": moment("phase-done", "launch"),
        "configure": moment("phase-done", "configure"),
        "make ready, arm": moment(ARMED),
        "until T0": t0_s + min(slot["start_s"] for slot in slots),
        "timetable": t0_s + max(slot["start_s"] + slot["duration_s"] for slot in slots),
        "last clients end": moment("phase-done", "measure"),
        "collect": moment("phase-done", "collect"),
        "release": moment("phase-done", "release"),
        "segment, report": ended_utc_s,
    }
    found, before_s = {}, begun_utc_s
    for name, border_s in borders.items():
        found[name], before_s = border_s - before_s, border_s
    tests_s = sum(float(slot["duration_s"]) for slot in slots)
    found[BETWEEN] = found.pop("timetable") - tests_s
    return {**found, TESTS: tests_s}
