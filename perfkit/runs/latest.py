"""Which run `latest` is: the newest that has what a phase needs, and why newer ones do not.

A run that was only launched is of no use to the report, and one whose hosts are gone cannot be measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from perfkit.errors import PerfkitError, RunError
from perfkit.runs import campaign_folder, folder, progress
from perfkit.runs.folder import Run

LATEST = "latest"
SHOWN = 5  # so many that were passed over are named
# What a run must have, for people; by phase.
NEEDS: Mapping[str, str] = {
    "launch": "keys to hosts",
    "configure": "hosts",
    "measure": "configured hosts",
    "collect": "measured tests",
    "release": "hosts",
    "segment": "collected logs",
    "report": "windows that were chosen",
}
# What will do where no run has all of it.
LESS: Mapping[str, str] = {"report": "segment", "release": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A run that was asked for.

    Attributes:
        passed_over: Ids of newer runs, the newest first, each with what it lacks; only for `latest`.
    """

    run: Run
    passed_over: Mapping[str, str]

    def __str__(self) -> str:
        if not self.passed_over:
            return f"run {self.run.id}"
        return f"run {self.run.id} is the latest usable one; skipped: {_named(self.passed_over)}"


def open_run(runs_dir: Path, run: str, *, phase: str = "") -> Found:
    """Open a run by id, name or path, or the latest that a phase can use.

    Args:
        phase: One of `NEEDS`; empty: `latest` is simply the newest.

    Raises:
        RunError: no such run, or none that the phase can use; the message says what each lacks.
    """
    if run != LATEST or not phase:
        return Found(run=folder.open_run(runs_dir, run), passed_over={})
    passed: dict[str, str] = {}
    for candidate in reversed(folder.list_runs(runs_dir)):
        lack = find_lack(candidate, phase)
        if not lack:
            return Found(run=candidate, passed_over=passed)
        passed[candidate.id] = lack
    if phase in LESS:
        return open_run(runs_dir, run, phase=LESS[phase])
    if not passed:
        return Found(run=folder.open_run(runs_dir, run), passed_over={})  # says that there are none
    raise RunError(f"{runs_dir}: no run has {NEEDS[phase]}: {_named(passed)}")


def find_lack(run: Run, phase: str) -> str:
    """What a run lacks for a phase, in words; empty when it has all it needs."""
    try:
        if phase in ("segment", "report"):
            return _lack_of_files(run, phase)
        if not run.key_path.exists():
            return "it has no keys to its hosts"
        return "" if phase == "launch" else _lack_of_hosts(run, phase)
    except (PerfkitError, KeyError, TypeError, ValueError) as exc:
        return f"it cannot be read ({type(exc).__name__})"


def _lack_of_files(run: Run, phase: str) -> str:
    if campaign_folder.is_campaign(run):
        collected = any(block.sums_path.exists() for block in campaign_folder.block_runs(run))
        return "" if collected else "no block of it was run to its end"
    done = progress.read(run)
    logs = (path for path in run.raw_dir.glob("*/*") if path.parent.name != "controller")
    if next(logs, None) is None:
        return "no logs were collected"
    if done.batches and "collect" not in done.done:
        return "its logs were not all collected"
    if phase == "report" and not run.segments_path.exists():
        return "no windows were chosen yet (perfkit segment, or 05_segments)"
    return ""


def _lack_of_hosts(run: Run, phase: str) -> str:
    done = progress.read(run)
    if phase in done.done and phase in ("measure", "collect"):
        return ""  # called again, it says what it was
    if not done.batches:
        return "nothing was launched"
    if done.released:
        return "its hosts were released"
    if _is_past(run):
        return "its hosts have expired"
    if phase == "measure" and not ("configure" in done.done or done.armed):
        return "it is not configured"
    measured = "measure" in done.done or done.armed or done.failed.startswith("measure")
    return "it was not measured" if phase == "collect" and not measured else ""


def _is_past(run: Run) -> bool:
    """Its hosts have ended by themselves; where their end can be moved, nobody here knows."""
    manifest = run.manifest()
    life = timedelta(minutes=manifest["parameters"]["expires_min"])
    renewable = manifest.get("provider_traits", {}).get("renewable", False)
    created = datetime.fromisoformat(manifest["created_utc"])
    return not renewable and datetime.now(UTC) > created + life


def _named(passed_over: Mapping[str, str]) -> str:
    words = [f"{run_id} ({lack})" for run_id, lack in list(passed_over.items())[:SHOWN]]
    more = len(passed_over) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")
