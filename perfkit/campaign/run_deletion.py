"""Deleting runs: never one whose hosts may still be there, that is in use, or that a baseline names.

The tag of hosts is the name of the run's folder: whoever deletes the folder of a run that leaked
loses the only place that knows of them. So the journal must say that all was released, or the
provider that it has nothing of the run.

A folder is moved to `runs/.deleted/` first and removed there: a run is there as a whole, or it is gone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perfkit.campaign import baselines, status_reap
from perfkit.campaign.run_list import held_by, size_on_disk
from perfkit.errors import JournalError, RunError, did_you_mean
from perfkit.runs import campaign_folder, folder, progress
from perfkit.runs.folder import Run
from perfkit.units import format_count, format_size

TRASH = ".deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What was deleted: the runs' ids, and the bytes that are free now."""

    runs: tuple[str, ...]
    freed_bytes: int

    def __str__(self) -> str:
        return "\n".join(
            [
                *(f"deleted {run}" for run in self.runs),
                f"{format_count(len(self.runs), 'run')}, {format_size(self.freed_bytes)} freed",
            ]
        )


def find_runs(words: Sequence[str], runs_dir: Path) -> list[Run]:
    """The runs that are to be deleted, by id, or by a name that only one run has.

    Raises:
        RunError: a word names no run of this folder, several, or a block; or its folder is a link.
    """
    known = {run.id: run for run in folder.list_folders(runs_dir)}
    return list({run.id: run for run in (_find(word, known, runs_dir) for word in words)}.values())


def _find(word: str, known: dict[str, Run], runs_dir: Path) -> Run:
    path = Path(word)
    if path.parent != Path() and path.parent.resolve() == runs_dir.resolve():
        word = path.name  # as a shell completes it
    named = [known[word]] if word in known else [r for r in known.values() if _name(r) == word]
    if len(named) > 1:
        ids = ", ".join(sorted(run.id for run in named))
        raise RunError(f"{len(named)} runs are called {word!r}: give the id of each ({ids})")
    if not named:
        raise RunError(
            f"{runs_dir}: no run {word!r} to delete; {did_you_mean(word, known)}"
            if known
            else f"{runs_dir}: no run {word!r} to delete; there are no runs"
        )
    if named[0].root.is_symlink():
        raise RunError(
            f"{named[0].root}: is a link to a run that lies elsewhere; rm removes the link"
        )
    return named[0]


def _name(run: Run) -> str:
    try:
        return str(run.manifest().get("name", ""))
    except RunError:  # it is found by its id
        return ""


def why_kept(run: Run, runs_dir: Path) -> str:
    """Why a run may not be deleted, and what to do; empty: it may."""
    if holder := held_by(run):
        return f"it is open in another process ({holder}); wait until that ends"
    for name, one in baselines.saved(runs_dir).items():
        if run.id in one.runs:
            where = runs_dir / baselines.FOLDER / name
            return f"baseline {name} was saved from it; keep it, or remove {where} first"
    return _why_hosts(run)


def _why_hosts(run: Run) -> str:
    """Why hosts of a run may still be there; empty: the journal or the provider says there are none."""
    has_journal = run.journal_path.exists()
    if not has_journal and not run.key_path.exists():  # a copy: no host was made from it
        return ""
    doubt = "its hosts were not released" if has_journal else "it has no journal"
    try:
        found = progress.read(run)
        if has_journal and (found.released or not found.batches):
            return ""
    except JournalError as exc:
        doubt = str(exc)
    left = status_reap.find_left(run)
    if not left:
        return ""
    return f"{doubt} ({'; '.join(left)}); first: perfkit reap {run.id} --yes"


def delete(runs: Sequence[Run], runs_dir: Path) -> Deleted:
    """Delete runs; nothing is deleted where one of them must be kept.

    Raises:
        RunError: why one is kept, and what to do; or a folder cannot be moved.
    """
    kept = [f"{run.id}: {why}" for run in runs if (why := why_kept(run, runs_dir))]
    if kept:
        raise RunError("nothing was deleted: " + "; ".join(kept))
    done: list[str] = []
    freed_bytes = 0
    try:
        for run in runs:
            freed_bytes += _move_away(run, runs_dir)
            done.append(run.id)
    except RunError as exc:
        raise RunError(f"{exc}; deleted before: {', '.join(done) or 'nothing'}") from exc
    finally:
        remove_leftovers(runs_dir)
    return Deleted(runs=tuple(done), freed_bytes=freed_bytes)


def _move_away(run: Run, runs_dir: Path) -> int:
    """Move a run out of the runs folder, when nobody has it open; returns its size."""
    trash = runs_dir / TRASH
    size_bytes = size_on_disk(run.root)
    with contextlib.ExitStack() as locks:
        for one in (run, *campaign_folder.block_runs(run)):
            locks.enter_context(one.locked())
        try:
            trash.mkdir(mode=0o700, exist_ok=True)
            run.root.rename(trash / f"{run.id}.{secrets.token_hex(3)}")
        except OSError as exc:
            raise RunError(
                f"{run.root}: cannot be moved to {trash} ({exc.strerror}), and is as it was; "
                "mend the permissions"
            ) from exc
    return size_bytes


def remove_leftovers(runs_dir: Path) -> None:
    """Remove what is in the folder of deleted runs, also what an interrupted deletion left.

    Raises:
        RunError: something cannot be removed; the message names it.
    """
    trash = runs_dir / TRASH
    if trash.is_symlink() or not trash.is_dir():
        return
    try:
        for parent, _, _ in os.walk(trash):  # a folder that may not be written keeps its files
            Path(parent).chmod(0o700)
        for path in trash.iterdir():
            shutil.rmtree(path)
        with contextlib.suppress(OSError):  # another process has moved a run into it meanwhile
            trash.rmdir()
    except FileNotFoundError:  # another process removes the same
        return
    except OSError as exc:
        raise RunError(
            f"{exc.filename or trash}: cannot be removed ({exc.strerror}); it belongs to a deleted "
            "run: mend the permissions and remove it"
        ) from exc
