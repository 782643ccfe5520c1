"""The sides of a comparison: runs that are repetitions of each other, or a campaign's blocks.

A side has cells: what was measured with so many clients. A run has one; a campaign has one for each
client count, and each variant of a campaign is a side of its own.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from perfkit.analysis import campaign_cells
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.run_summary import BlockOf, Reduced, Test, reduce_run
from perfkit.errors import CampaignError
from perfkit.executors.mapping import Unit, Where, each, json_of
from perfkit.runs import campaign_folder, design
from perfkit.runs.folder import Run
from perfkit.units import format_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Runs that repeat each other, under a short label."""

    label: str
    runs: tuple[Reduced, ...]

    @property
    def sizes(self) -> list[int]:
        """Client counts, ascending: several only where the runs are blocks of a campaign."""
        return sorted({run.clients for run in self.runs})

    @property
    def name(self) -> str:
        """Its runs by id; its blocks by campaign, variant and number."""
        names = {run.run_id: 1 for run in self.runs if run.block is None}
        for block in (run.block for run in self.runs if run.block):
            name = f"{block.campaign} ({block.variant})"
            names[name] = names.get(name, 0) + 1
        return ", ".join(
            f"{name}, {format_count(count, 'block')}" if name.endswith(")") else name
            for name, count in names.items()
        )

    def of_size(self, clients: int) -> list[Reduced]:
        """Its runs with so many clients."""
        return [run for run in self.runs if run.clients == clients]

    def tests(self, key: str, clients: int | None = None) -> list[Test]:
        """The test of each run that has it; of those with so many clients, if a number is given."""
        runs = self.runs if clients is None else self.of_size(clients)
        return [test for run in runs if (test := run.find_test(key)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A run, or a block of a campaign, that is to be reduced."""

    run: Run
    phases: tuple[tuple[str, float], ...] = ()
    block: BlockOf | None = None


def reduce_sides(
    groups: Sequence[Sequence[Run]],
    phases: Mapping[str, Sequence[tuple[str, float]]],
    executor: Where = None,
) -> list[list[Reduced]]:
    """Read the runs of each side; a campaign becomes its blocks that count.

    Runs of one each, and no campaign among them, are grouped by `group_alike`.

    Args:
        phases: (name, seconds) of each phase, by run id.
        executor: Who reduces the runs, see `perfkit.executors.mapping`.

    Raises:
        CampaignError: a campaign of several variants beside other runs of one side.
        RunError, SegmentError: a run cannot be read.
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    wanted: list[list[_Wanted]] = []
    for group in groups:
        found = [_wanted(run, phases.get(run.id, ())) for run in group]
        if len(found) > 1 and any(len(variants) > 1 for variants in found):
            raise CampaignError(
                "a campaign of several variants is a side for each of them, and joins no other runs; "
                "give it by itself"
            )
        if len(found) == 1:
            wanted += found[0]
        else:
            wanted.append([run for variants in found for run in variants[0]])
    units = [
        Unit(name=one.run.id, arguments=(one,), folder=one.run.cache_dir)
        for side in wanted
        for one in side
    ]
    reduced = iter(each(_reduce, units, executor, form=_REDUCED))
    sides = [[next(reduced) for _ in side] for side in wanted]
    if all(len(side) == 1 and side[0].block is None for side in sides):
        return group_alike([run for side in sides for run in side])
    return sides


def _wanted(run: Run, phases: Sequence[tuple[str, float]]) -> list[list[_Wanted]]:
    """A run by itself, or the blocks of each variant of a campaign."""
    root = run.root.resolve()
    if not campaign_folder.is_campaign(run):
        return [[_Wanted(run=Run(root), phases=tuple(phases))]]
    planned = design.load(run)
    if planned.capacity is not None:
        raise CampaignError(
            f"campaign {run.id} searched for capacity: its blocks differ in what they offer, and are no side of a "
            "comparison; compare the bounds of two such answers (perfkit report), or give single blocks"
        )
    variants: dict[str, list[_Wanted]] = {name: [] for name in planned.variants}
    for record in campaign_cells.finished_blocks(run):
        if record.void:
            continue
        block = BlockOf(
            campaign=run.id,
            repetition=record.repetition,
            variant=record.variant,
            planned=planned.repetitions,
        )
        variants[record.variant].append(_Wanted(run=Run(root / record.folder), block=block))
    empty = [name for name, blocks in variants.items() if not blocks]
    if empty:
        raise CampaignError(
            f"campaign {run.id}: no block of {', '.join(empty)} counts; perfkit status {run.id} "
            "says how far it came"
        )
    return list(variants.values())


def _reduce(wanted: _Wanted) -> Reduced:
    reduced = reduce_run(wanted.run, phases=wanted.phases)
    if wanted.block is None:
        return reduced
    # Another load is for the idle control before each block, which has voided those it found.
    known = _of_block(reduced, wanted.block.variant)
    return replace(reduced, block=wanted.block, conditions=known, other_load="")


_REDUCED = json_of(Reduced)


def _of_block(run: Reduced, variant: str) -> dict[str, str]:
    """Conditions of a block: its variant is one, the drawn order of its tests is none."""
    keys = {f"test {test.slot}": f"test {test.key}" for test in run.tests}
    found = {keys.get(name, name): value for name, value in run.conditions.items()}
    return {"variant": variant, **found}


def to_sides(groups: Sequence[Sequence[Reduced]]) -> tuple[Side, ...]:
    """Sides A, B, … as they are given.

    Raises:
        CampaignError: fewer than two, a run twice, or a side whose runs have different clients and
            are no blocks of a campaign.
    """
    seen = [run.run_id for group in groups for run in group]
    twice = sorted({run_id for run_id in seen if seen.count(run_id) > 1})
    if twice:
        raise CampaignError(f"run {twice[0]} is given twice; a run cannot be held against itself")
    figures: dict[object, str] = {}
    for run in (run for group in groups for run in group):
        arrived = tuple(_arrived(test) for test in run.tests)
        same = figures.setdefault(arrived, run.run_id)
        if same != run.run_id and any(arrived):
            raise CampaignError(
                f"{run.run_id} and {same} have the same goodput of every client to the last digit: one is a "
                "copy of the other, and a run is no repetition of itself"
            )
    if len(groups) < 2 or not all(groups):
        raise CampaignError("a comparison needs two runs or more; perfkit compare RUN RUN")
    for group in groups:
        alone = [run for run in group if run.block is None]
        if len({run.clients for run in alone}) > 1:
            counts = ", ".join(f"{run.run_id} has {run.clients}" for run in alone)
            raise CampaignError(
                f"runs with different numbers of clients are no repetitions: {counts}; "
                "give them as sides of their own"
            )
    return tuple(Side(label=_label(place), runs=tuple(group)) for place, group in enumerate(groups))


def _arrived(test: Test) -> tuple[float, ...]:
    """What a copy of a run has in common with it: each client's goodput; of both ways, each total."""
    return test.goodput_bps or tuple(bps for name in GOODPUT if (bps := test.figure(name)) > 0)


def _label(place: int) -> str:
    letters = string.ascii_uppercase
    return letters[place] if place < len(letters) else f"S{place + 1}"


def group_alike(runs: Sequence[Reduced]) -> list[list[Reduced]]:
    """Runs made under the same recorded conditions belong together, in the order given.

    Where that leaves one group only, every run is a side of its own.
    """
    groups: list[list[Reduced]] = []
    for run in runs:
        like = next((g for g in groups if g[0].conditions == run.conditions), None)
        if like is None:
            groups.append([run])
        else:
            like.append(run)
    return groups if len(groups) > 1 else [[run] for run in runs]
