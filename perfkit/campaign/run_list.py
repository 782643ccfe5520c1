"""The runs of a runs folder: state, size, date, clients and tests of each.

Files are all that is asked: the journal says whether the hosts of a run were released.
`perfkit status` asks the providers what is there.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from perfkit.campaign import resume
from perfkit.errors import CampaignError, PerfkitError
from perfkit.runs import campaign_folder, design, folder, journal, progress
from perfkit.runs.folder import Run
from perfkit.runs.progress import Progress
from perfkit.units import format_count, format_size

_AGE = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_AGE_UNIT = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DISK_BLOCK = 512  # bytes, of st_blocks


class RunState(StrEnum):
    """How far a run is, the first that holds."""

    RUNNING = "running"  # a process has it open, or its hosts are up and have not expired
    LEAKED = (
        "leaked"  # hosts were not released: the last release failed, or they expired without one
    )
    UNFINISHED = "unfinished"  # without hosts, and not all its logs were collected
    ANALYSED = "analysed"  # it has a report
    RELEASED = "released"  # logs collected, hosts released, no report yet


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """One run folder.

    Attributes:
        size_bytes: What it takes on the disk.
        made_utc: None: its manifest does not say.
        clients: As asked for: `10`, of a campaign `1,2,5`.
        remark: Why it has its state, or what could not be read.
    """

    run: Run
    name: str
    state: RunState
    size_bytes: int
    made_utc: datetime | None
    clients: str
    tests: tuple[str, ...]
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "run": self.run.id,
            "name": self.name,
            "state": str(self.state),
            "size_bytes": self.size_bytes,
            "made_utc": self.made_utc.isoformat() if self.made_utc else None,
            "clients": self.clients,
            "tests": list(self.tests),
            "remark": self.remark,
        }


def list_runs(
    runs_dir: Path,
    *,
    states: Iterable[RunState] = (),
    name: str = "",
    older_than: timedelta | None = None,
) -> Iterator[ListedRun]:
    """The runs of a folder, oldest first.

    Args:
        states: Only these; empty: all.
        name: Only runs of this name or id; `*`, `?` and `[…]` as in a shell.
        older_than: Only runs that were made longer ago; one whose manifest does not say is none.

    Raises:
        RunError: the folder may not be looked into.
    """
    wanted = set(states)
    last = datetime.now(UTC) - older_than if older_than is not None else None
    for run in folder.list_runs(runs_dir):
        made_utc, own_name, clients, tests = _described(run)
        if name and not any(fnmatchcase(word, name) for word in (own_name, run.id)):
            continue
        if last is not None and (made_utc is None or made_utc > last):
            continue
        state, remark = state_of(run)
        if wanted and state not in wanted:
            continue
        yield ListedRun(
            run=run,
            name=own_name,
            state=state,
            size_bytes=size_on_disk(run.root),
            made_utc=made_utc,
            clients=clients,
            tests=tests,
            remark=remark,
        )


def parse_age(text: str) -> timedelta:
    """An age: `12h`, `30d` or `8w`.

    Raises:
        CampaignError: it is none.
    """
    found = _AGE.fullmatch(text)
    if not found:
        raise CampaignError(f"{text!r} is no age; give hours, days or weeks: 12h, 30d or 8w")
    return int(found[1]) * _AGE_UNIT[found[2]]


def state_of(run: Run) -> tuple[RunState, str]:
    """The state of a run, and why in words where that is not plain."""
    if holder := held_by(run):
        return RunState.RUNNING, f"open in another process ({holder})"
    try:
        found = progress.read(run)
    except PerfkitError as exc:
        return RunState.UNFINISHED, str(exc)
    if found.batches and not found.released:
        return _not_released(run, found)
    if left := _unfinished(run, found):
        return RunState.UNFINISHED, left
    if (run.report_dir / "index.html").is_file():
        return RunState.ANALYSED, ""
    return RunState.RELEASED, ""


def _not_released(run: Run, found: Progress) -> tuple[RunState, str]:
    if found.leaked:
        return RunState.LEAKED, f"the last release left {found.leaked[0]}"
    try:
        if not resume.is_past(run):
            return RunState.RUNNING, "its hosts were not released"
    except (PerfkitError, LookupError, TypeError, ValueError):
        return RunState.LEAKED, "its hosts were not released; nobody knows when they expire"
    return RunState.LEAKED, "its hosts expired and were not released"


def _unfinished(run: Run, found: Progress) -> str:
    """What is missing, in words; empty: nothing, or a copy without a journal."""
    if not run.journal_path.exists():
        return ""
    if campaign_folder.is_campaign(run):
        events = journal.read(run.journal_path).events
        return "" if any(it.kind == "answer" for it in events) else "it has no answer yet"
    if run.manifest_path.exists() and found == Progress():
        return "nothing was launched"
    return progress.unfinished(found)


def held_by(run: Run) -> str:
    """Which process has a run or one of its blocks open; empty: none."""
    for one in (run, *campaign_folder.block_runs(run)):
        try:
            with (one.root / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return (one.root / ".lock").read_text(errors="replace").strip() or "not named"
        except OSError:  # never opened, or not to be looked into
            continue
    return ""


def _described(run: Run) -> tuple[datetime | None, str, str, tuple[str, ...]]:
    """Date, name, clients and tests; of a damaged manifest what the folder's name tells."""
    made_utc, name, clients = None, "", ""
    tests: tuple[str, ...] = ()
    try:
        manifest = run.manifest()
        name = str(manifest.get("name", ""))
        parameters = manifest.get("parameters", {})
        clients = _counts(parameters.get("clients", ""))
        made_utc = datetime.fromisoformat(str(manifest["created_utc"])).astimezone(UTC)
        tests = _tests(run, str(parameters.get("tests", "")))
    except (PerfkitError, AttributeError, LookupError, TypeError, ValueError):
        pass
    return made_utc, name, clients, tests


def _counts(clients: object) -> str:
    return ",".join(map(str, clients)) if isinstance(clients, list | tuple) else str(clients)


def _tests(run: Run, asked: str) -> tuple[str, ...]:
    if campaign_folder.is_campaign(run):
        return design.load(run).tests
    if not run.timetable_path.exists():
        return tuple(word for word in asked.split(",") if word)
    return tuple(str(slot["test"]) for slot in run.load_json(run.timetable_path)["slots"])


def size_on_disk(root: Path) -> int:
    """What a folder takes on the disk, bytes: links are not followed, a file counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, names in os.walk(root):
        for path in (parent, *(os.path.join(parent, name) for name in names)):  # noqa: PTH118 -- ten times as fast
            try:
                found = os.lstat(path)
            except OSError:  # went while looking
                continue
            if found.st_nlink > 1 and path != parent:
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            total += found.st_blocks * _DISK_BLOCK
    return total


def to_text(listed: Iterable[ListedRun]) -> str:
    """A line a run, and the sum; columns are aligned."""
    rows = [("RUN", "STATE", "SIZE", "MADE (UTC)", "CLIENTS", "TESTS")]
    total, count = 0, 0
    remarks = []
    for one in listed:
        total, count = total + one.size_bytes, count + 1
        made = f"{one.made_utc:%Y-%m-%d %H:%M}" if one.made_utc else "not known"
        size = format_size(one.size_bytes)
        rows.append((one.run.id, str(one.state), size, made, one.clients, ",".join(one.tests)))
        if one.remark and one.state is not RunState.ANALYSED:
            remarks.append(f"{one.run.id}: {one.remark}")
    if not count:
        return "no such runs"
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if place == 2 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"{format_count(count, 'run')}, {format_size(total)}", *remarks])
