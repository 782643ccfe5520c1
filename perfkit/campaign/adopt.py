"""Runs that exist become the repetitions of a campaign, as files: no host is there, none is made.

The campaign's folder gets a copy of each run as a block, without keys and reports; the runs stay as
they are. Its design.json says that it was adopted: nothing was drawn, so an hour of the day, a host
or a load that changed from run to run is in the differences between cells, and is named.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfkit.analysis import campaign_cells
from perfkit.analysis.conditions import differing
from perfkit.campaign.baselines import recorded_conditions, why_void_alone
from perfkit.errors import CampaignError
from perfkit.executors.mapping import Unit, Where, each, json_of
from perfkit.logs.reader import read_run
from perfkit.runs import campaign_folder, design, folder
from perfkit.runs.design import BASE, Design, PlannedBlock
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal
from perfkit.units import format_some

_LEFT_OUT = shutil.ignore_patterns("keys", "report", "cache", "store", ".lock")
_NAMED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is asked of a run that is to become a repetition.

    Attributes:
        tests: In the order in which they were run.
        seconds: From the begin of its first test to the end of its last.
        void: The rule by which it does not count, and why; empty: it counts.
    """

    tests: tuple[str, ...]
    clients: int
    seconds: float
    conditions: Mapping[str, str]
    void: tuple[str, ...]


_SEEN = json_of(Seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """A run and its place in the campaign."""

    run: Run
    block: PlannedBlock
    seen: Seen


def adopt(name: str, runs: Sequence[Run], runs_dir: Path, executor: Where = None) -> Run:
    """Make a finished campaign of runs; the order given is the order of its blocks.

    Args:
        executor: Who reads the runs, see `perfkit.executors.mapping`.

    Raises:
        CampaignError: fewer than two runs, one given twice, a campaign, or runs of other tests.
        RunError, SegmentError: a run cannot be read, or the folder not be written.
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    if not folder.NAME_PATTERN.fullmatch(name):
        raise CampaignError(
            f"{name!r} is no name of a campaign: lower case letters, digits, _ and -"
        )
    placed = _placed(runs, executor)
    apart = differing(one.seen.conditions for one in placed)
    notice = (
        f"Adopted from {len(placed)} runs ({format_some([one.run.id for one in placed], _NAMED)}); "
        + (f"they differ in {format_some(apart, _NAMED)}" if apart else "nothing recorded differs")
    )

    def fill(made: Run) -> Mapping[str, Any]:
        for number, one in enumerate(placed, start=1):
            shutil.copytree(
                one.run.root, campaign_folder.block_run(made, number).root, ignore=_LEFT_OUT
            )
        _journal(made, placed)
        design.save(_design(name, placed, apart), made)
        traits = placed[0].run.manifest().get("provider_traits", {})
        return {"provider_traits": traits, "notices": [notice]}

    sizes = ",".join(map(str, sorted({one.block.clients for one in placed})))
    provider = placed[0].run.manifest()["parameters"].get("provider", "")
    parameters = {"name": name, "clients": sizes, "provider": provider, "expires_min": 0}
    made = folder.create(runs_dir, name, parameters, fill=fill)
    campaign_cells.refresh(made, executor)
    return made


def _placed(runs: Sequence[Run], executor: Where) -> list[Repetition]:
    ids = [run.id for run in runs]
    if len(ids) < 2 or len(set(ids)) < len(ids):
        raise CampaignError("give two runs or more, and none twice: a run does not repeat itself")
    for run in runs:
        if campaign_folder.is_campaign(run):
            raise CampaignError(f"{run.id} is a campaign already; its blocks are repetitions")
    own = [Run(run.root.resolve()) for run in runs]
    units = [Unit(name=run.id, arguments=(run,), folder=run.cache_dir) for run in own]
    times: Counter[int] = Counter()
    placed: list[Repetition] = []
    for run, seen in zip(runs, each(_see, units, executor, form=_SEEN), strict=True):
        tests = seen.tests
        if placed and sorted(tests) != sorted(placed[0].block.tests):
            raise CampaignError(
                f"{run.id} ran {', '.join(tests)}, and {placed[0].run.id} "
                f"{', '.join(placed[0].block.tests)}: repetitions have the same tests; adopt "
                "them as campaigns of their own"
            )
        times[seen.clients] += 1
        block = PlannedBlock(
            repetition=times[seen.clients], clients=seen.clients, variant=BASE, tests=tests
        )
        placed.append(Repetition(run=run, block=block, seen=seen))
    return placed


def _see(run: Run) -> Seen:
    logs = read_run(run)
    return Seen(
        tests=tuple(slot.test for slot in logs.slots),
        clients=len(logs.clients),
        seconds=max(s.end_s for s in logs.slots) - min(s.start_s for s in logs.slots),
        conditions=recorded_conditions(run, logs),
        void=why_void_alone(run, logs) or (),
    )


def _design(name: str, placed: Sequence[Repetition], apart: Sequence[str]) -> Design:
    blocks = [one.block for one in placed]
    most = max(block.repetition for block in blocks)
    return Design(
        name=name,
        created_utc=datetime.now(UTC).isoformat(),
        seed=0,
        clients=tuple(sorted({block.clients for block in blocks})),
        variants=(BASE,),
        tests=tuple(sorted(blocks[0].tests)),
        repetitions=most,
        precision=None,
        max_repetitions=most,
        order=tuple(
            tuple(block for block in blocks if block.repetition == number)
            for number in range(1, most + 1)
        ),
        variant_changes={BASE: {}},
        adopted=tuple(one.run.id for one in placed),
        adopted_differ=tuple(apart),
    )


def _journal(made: Run, placed: Sequence[Repetition]) -> None:
    """What an engine would have written of blocks that it had run to their end."""
    with contextlib.closing(Journal(made.journal_path)) as journal:
        for number, one in enumerate(placed, start=1):
            journal.append(
                "block-claimed",
                block=number,
                repetition=one.block.repetition,
                clients=one.block.clients,
                variant=BASE,
                attempt=1,
                folder=campaign_folder.block_folder(made, number),
                hosts=[],
            )
            if one.seen.void:
                rule, why = one.seen.void
                journal.append("block-void", block=number, rule=rule, why=why)
            journal.append("block-done", block=number, seconds=one.seen.seconds)
        journal.append("answer", stop="repetitions")
        journal.append("released", leaked=[])
