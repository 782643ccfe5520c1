"""The same command again: take up the run it had begun when its process died, or begin a new one.

Only the newest run of the name counts, only if it was made with the same settings, and only if the
name was given: runs of the default name are many and mean nothing. What is finished, was ended or
has stopped by an error is not taken up. Whatever is decided is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from perfkit.campaign import renew
from perfkit.campaign import session as sessions
from perfkit.campaign.session import Session
from perfkit.errors import JournalError, PerfkitError
from perfkit.runs import folder, progress
from perfkit.runs.folder import Run
from perfkit.runs.progress import Progress
from perfkit.settings import variants
from perfkit.settings.parameters import Parameters, Settings

_PLACES = {"run", "runs_dir", "config_dir", "threads", "executor"}  # where, and how fast
DEFAULT_NAME = str(Parameters.model_fields["name"].default)


def open_session(chosen: Settings) -> Session:
    """A session for validated settings: of the interrupted run of that name, or of a new one.

    Raises:
        RunError: that run is open in another process; the message names it.
        ConfigError, ScheduleError, ProviderError: before anything is launched.
    """
    run = _newest(chosen)
    if run is None:
        return sessions.open_new(chosen)
    try:
        done = progress.read(run)
    except JournalError as exc:
        return sessions.open_new(chosen, [f"not taken up: {run.id}: {exc}"])
    left = next_phase(run, done)
    if not left:
        return sessions.open_new(chosen, list(_why_over(run, done)))
    how = f"finish it with run={run.id}, or end its hosts with perfkit reap {run.id} --yes"
    if chosen.parameters.name == DEFAULT_NAME:
        remark = f"not taken up: {run.id}, interrupted before {left} was done; {how}"
        return sessions.open_new(chosen, [remark])
    if different := list(_differences(run, chosen)):
        remark = f"not taken up: {run.id} is unfinished, but other: {', '.join(different)}; {how}"
        return sessions.open_new(chosen, [remark])
    session = sessions.attach(
        run.root.parent,
        run.id,
        [f"taken up: {run.id}, interrupted before {left} was done; what is done is not repeated"],
    )
    session.journal.append("taken-up", phase_left=left)
    return session


def next_phase(run: Run, done: Progress, now: datetime | None = None) -> str:
    """The phase that an interrupted run goes on with; empty when it is over or cannot go on."""
    if done.failed.partition(": ")[2].startswith("StageError"):
        return ""  # too many hosts failed, and they would be as few again
    ended = done.released or is_past(run, now)
    if "collect" not in done.done:
        return "" if ended else next(p for p in progress.NEED_HOSTS if p not in done.done)
    if not (run.report_dir / "index.html").exists():
        return "report"
    kept = run.manifest()["parameters"].get("keep_fleet")
    return "" if ended or kept else "release"


def is_past(run: Run, now: datetime | None = None) -> bool:
    """The hosts of the run have ended by themselves."""
    return (now or datetime.now(UTC)) > renew.ends_utc(run)


def _newest(chosen: Settings) -> Run | None:
    """The newest run of that name; one whose manifest cannot be read is none."""
    for run in reversed(folder.list_runs(chosen.runs_dir)):
        try:
            is_own = run.key_path.exists()  # a copy that was handed on has no keys
            if is_own and run.manifest()["name"] == chosen.parameters.name:
                return run
        except (PerfkitError, KeyError):
            continue
    return None


def _why_over(run: Run, done: Progress) -> Iterator[str]:
    """Why a run that began well is not gone on with; nothing when it was finished."""
    if "collect" in done.done or not done.batches or done.released:
        return
    if is_past(run):
        yield f"not taken up: {run.id} was not finished, and its hosts have expired"
    elif done.failed:
        yield (
            f"not taken up: {run.id} stopped in {done.failed.splitlines()[0]}; its hosts are still "
            f"there: perfkit reap {run.id} --yes ends them"
        )


def not_used(run: Run, parameters: Parameters) -> Iterator[str]:
    """What was asked for and does not hold, since the run goes on as it was made; one line.

    What has its default is not taken to have been asked for.
    """
    asked = parameters.model_dump(exclude=_PLACES)
    made = run.manifest()["parameters"]
    default = Parameters().model_dump()
    ignored = [
        f"{key} = {value} ({made[key]} then)"
        for key, value in asked.items()
        if key in made and value not in (default[key], made[key])
    ]
    if ignored:
        yield f"not used, {run.id} goes on as it was made: {', '.join(ignored)}"


def _then(key: str, was: object) -> str:
    return f"{key} was empty then" if was == "" else f"{key} = {was} then"


def _differences(run: Run, chosen: Settings) -> Iterator[str]:
    """What was chosen otherwise when the run was made, in words."""
    try:
        then = sessions.settings_of(run)
    except PerfkitError as exc:
        yield f"its settings cannot be read ({exc})"
        return
    before: dict[str, Any] = then.parameters.model_dump(exclude=_PLACES)
    after = chosen.parameters.model_dump(exclude=_PLACES)
    yield from (_then(key, was) for key, was in before.items() if was != after[key])
    for name in ("tests", "ssh", "cron"):
        if getattr(then, name) != getattr(chosen, name):
            yield f"{name}.conf has changed"
    if variants.changes(then) != variants.changes(chosen):
        yield "variants.conf, or a file that it names, has changed"
    provider = chosen.parameters.provider
    kept = run.config_dir / f"{provider}.conf"
    now = sessions.config_file(chosen, provider)
    if (kept.read_bytes() if kept.exists() else b"") != (now.read_bytes() if now else b""):
        yield f"{provider}.conf has changed"
