"""Baselines: cells of a campaign that later ones are held against.

::

    runs/baselines/<name>/
      baseline.json     what it was made of: runs, tests, client counts, conditions
      cells.parquet     its cells, see `perfkit.analysis.answers.frame`

A baseline is a copy, and is never changed. `perfkit runs delete` keeps the runs it was saved from:
their logs are what its figures can be made from again. Runs by themselves do as well
as a campaign: each is taken as one repetition.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError

from perfkit.analysis import background_load, block_figures, campaign_cells
from perfkit.analysis.answers import baselines, frame
from perfkit.analysis.answers.verdicts import BETTER
from perfkit.analysis.both_ways import GOODPUT
from perfkit.analysis.conditions import NOT_RECORDED, conditions, differing
from perfkit.analysis.outcomes import outcomes
from perfkit.analysis.unlike import HOST_TYPES
from perfkit.campaign.void_rules import why_void
from perfkit.errors import CampaignError, RunError, did_you_mean
from perfkit.executors.mapping import Unit, Where, each, json_of
from perfkit.logs.reader import read_run
from perfkit.logs.run_logs import RunLogs
from perfkit.report.check import CheckReport
from perfkit.runs import campaign_folder, design
from perfkit.runs.design import BASE, PRIMARY, VOID_RULES
from perfkit.runs.folder import Run, write_json
from perfkit.units import format_some

FOLDER = "baselines"
FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_NAMED = 6  # conditions that differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a campaign, or runs that repeat each other, have measured.

    Attributes:
        name: How it is called in sentences.
        runs: Ids of the campaign or the runs.
        clients: Client counts, ascending.
        tests: Path and planned length of each test, by name.
        conditions: As recorded, the number of clients and the order of tests apart.
        mixed: Conditions in which its runs differ among themselves.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    runs: tuple[str, ...]
    clients: tuple[int, ...]
    tests: Mapping[str, str]
    conditions: Mapping[str, str]
    mixed: tuple[str, ...] = ()
    primary: tuple[str, ...] = PRIMARY
    margin: float = 0.05
    saved_utc: str = ""
    variant: str = BASE


def measured(runs: Sequence[Run], executor: Where = None) -> tuple[Measured, pd.DataFrame]:
    """Read a campaign, or several runs as its repetitions.

    Of a campaign of several variants, the first is taken. Writes cells.parquet of a campaign, and
    missing segments.json.

    Args:
        executor: Who reduces the runs or blocks, see `perfkit.executors.mapping`.

    Returns:
        What was measured, and its cells, void ones too; the variant is called `base` in them.

    Raises:
        CampaignError: a campaign among several runs, or a run given twice.
        RunError, SegmentError: a run cannot be read.
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    if len(runs) == 1 and campaign_folder.is_campaign(runs[0]):
        return _campaign(runs[0], executor)
    among = [run.id for run in runs if campaign_folder.is_campaign(run)]
    if among:
        raise CampaignError(f"{among[0]} is a campaign: give it by itself, or runs only")
    ids = [run.id for run in runs]
    if len(set(ids)) < len(ids) or not ids:
        raise CampaignError("give at least one run, and none twice: a run does not repeat itself")
    own = [Run(run.root.resolve()) for run in runs]
    units = [
        Unit(name=run.id, arguments=(run, number), folder=run.cache_dir)
        for number, run in enumerate(own, start=1)
    ]
    every = each(_repetition, units, executor, form=_REPETITION)
    cells = frame.cells_frame(row for one in every for row in one.rows)
    has_goodput = cells[list(GOODPUT)].gt(0).any(axis=1)
    twins = cells[has_goodput & cells.duplicated(["clients", "test", *GOODPUT], keep=False)]
    if len(twins):
        names = format_some(sorted(set(twins["folder"])), 2)
        raise CampaignError(f"{names} have the same goodput to the last digit: one is a copy")
    return _described(
        runs[0].id if len(runs) == 1 else format_some(ids, 3),
        [one.conditions for one in every],
        ids,
        cells,
    ), cells


def _campaign(run: Run, executor: Where) -> tuple[Measured, pd.DataFrame]:
    planned = design.load(run)
    if planned.capacity is not None:
        raise CampaignError(
            f"campaign {run.id} searched for capacity: its blocks differ in what they offer, and their figures "
            "are of no cell; compare the bounds of two such answers (perfkit report)"
        )
    cells = campaign_cells.refresh(run, executor)
    variant = planned.variants[0]
    own = cells[(cells["variant"] == variant).to_numpy()].assign(variant=BASE)
    folders = own.loc[own["void"] == "", "folder"].drop_duplicates()
    if folders.empty:
        raise CampaignError(f"campaign {run.id}: no block counts yet; perfkit status {run.id}")
    block = Run(run.root / folders.iloc[0])
    found = _described(run.id, [recorded_conditions(block, read_run(block))], [run.id], own)
    made = replace(
        found,
        clients=tuple(sorted(planned.clients)),
        primary=planned.primary,
        margin=planned.margin,
        variant=variant,
    )
    return made, own.reset_index(drop=True)


def _described(
    name: str, every: Sequence[Mapping[str, str]], ids: Sequence[str], cells: pd.DataFrame
) -> Measured:
    first = every[0]
    tests = {key.removeprefix("test "): v for key, v in first.items() if key.startswith("test ")}
    return Measured(
        name=name,
        runs=tuple(ids),
        clients=tuple(sorted({int(n) for n in cells["clients"]})),
        tests=tests,
        conditions={k: v for k, v in first.items() if not k.startswith("test ")},
        mixed=tuple(differing(every)),
    )


def recorded_conditions(run: Run, logs: RunLogs) -> dict[str, str]:
    """Those that a repetition should share: not how many clients, nor in which order."""
    found = conditions(run, logs)
    names = {f"test {slot.name}": f"test {slot.test}" for slot in logs.slots}
    return {names.get(key, key): value for key, value in found.items() if key != "clients"}


def why_void_alone(
    run: Run, logs: RunLogs, found: pd.DataFrame | None = None
) -> tuple[str, str] | None:
    """Why a run by itself does not count as a repetition; None: it counts.

    By the rules for blocks; and, as no idle control came before it, where something else kept the
    server busy between its tests.

    Args:
        found: What became of its clients, where somebody knows it already.
    """
    found = outcomes(logs) if found is None else found
    void = why_void(run, logs, VOID_RULES, found)
    load = background_load.findings(logs, found)
    return void or (("other-load", load[0].text) if load else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repetition:
    """A run as one repetition: its rows of the cells frame."""

    rows: tuple[dict[str, Any], ...]
    conditions: Mapping[str, str]


_REPETITION = json_of(_Repetition)


def _repetition(run: Run, number: int) -> _Repetition:
    logs = read_run(run)
    place = {
        "block": number,
        "folder": run.id,
        "repetition": number,
        "attempt": 1,
        "clients": len(logs.clients),
        "variant": BASE,
        "void": ": ".join(why_void_alone(run, logs) or ()),
    }
    rows = block_figures.block_rows(run, place, logs=logs)
    return _Repetition(rows=tuple(rows), conditions=recorded_conditions(run, logs))


def save(
    runs: Sequence[Run],
    name: str,
    runs_dir: Path,
    *,
    primary: Sequence[str] = (),
    margin: float | None = None,
    executor: Where = None,
) -> Path:
    """Keep what was measured as a baseline; returns its folder, which is new.

    Args:
        primary: The figures that decide in a check; empty: those of the campaign's design. They are
            fixed here, before anything is held against them.
        margin: Share by which one must be worse; None: as in the design.
        executor: Who reduces the runs, as in `measured`.

    Raises:
        CampaignError: the name will not do or is taken, a figure has no good direction, or nothing
            counts.
        RunError, SegmentError: a run cannot be read, or the folder not be written.
    """
    folder = _folder(name, runs_dir)
    if folder.exists():
        raise CampaignError(
            f"baseline {name} is there already ({folder}), and a baseline is never changed; "
            "save under another name, or delete that folder"
        )
    found, cells = measured(runs, executor)
    found = replace(
        found,
        primary=_deciding(primary) or found.primary,
        margin=found.margin if margin is None else margin,
    )
    known = set(frame.counted(cells)[["clients", "test"]].itertuples(index=False, name=None))
    open_ = [
        f"{t} at {n} clients" for n in found.clients for t in found.tests if (n, t) not in known
    ]
    if open_:
        void = sorted(set(cells["void"]) - {""})
        why = f" ({format_some(void, 2, '; ')})" if void else ""
        raise CampaignError(
            f"{found.name}: nothing counts of {format_some(open_, 3)}{why}, and what a baseline does "
            "not have is never checked; measure it first"
        )
    record = {"format": FORMAT, **asdict(found), "saved_utc": datetime.now(UTC).isoformat()}
    frame.save(cells, folder / "cells.parquet")
    if campaign_folder.is_campaign(runs[0]):
        shutil.copyfile(campaign_folder.design_path(runs[0]), folder / "design.json")
    write_json(folder / "baseline.json", record)  # last: a folder with it is complete
    return folder


def _deciding(figures: Sequence[str]) -> tuple[str, ...]:
    for figure in figures:
        if figure not in BETTER:
            raise CampaignError(
                f"no figure {figure!r} that can decide; {did_you_mean(figure, BETTER)}"
            )
    return tuple(dict.fromkeys(figures))


def saved(runs_dir: Path) -> dict[str, Measured]:
    """All baselines by name."""
    parent = runs_dir / FOLDER
    paths = sorted(parent.glob("*/baseline.json")) if parent.is_dir() else []
    return {path.parent.name: _load(path) for path in paths}


def _load(path: Path) -> Measured:
    kept = Run(path.parent).load_json(path)
    form = kept.pop("format", None) if isinstance(kept, dict) else None
    if form != FORMAT:
        raise RunError(f"{path}: format {FORMAT} expected, {form} found; save the baseline anew")
    try:
        return TypeAdapter(Measured).validate_python(kept)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise RunError(
            f"{path}: damaged at {'.'.join(map(str, first['loc']))}: {first['msg']}; "
            "save the baseline anew"
        ) from exc


def _folder(name: str, runs_dir: Path) -> Path:
    if not _NAME.fullmatch(name):
        raise CampaignError(
            f"{name!r} is no name of a baseline: letters, digits, . _ - and at most 61 of them"
        )
    return runs_dir / FOLDER / name


def check(runs: Sequence[Run], against: str, runs_dir: Path, executor: Where = None) -> CheckReport:
    """Hold a campaign, or runs, against a baseline.

    Args:
        executor: Who reduces the runs, as in `measured`.

    Raises:
        CampaignError: there is no such baseline, or it is one of other tests or client counts, or of
            the very runs that are checked.
        RunError, SegmentError: a run cannot be read.
    """
    path = _folder(against, runs_dir) / "baseline.json"
    if not path.is_file():
        known = list(saved(runs_dir))
        hint = did_you_mean(against, known) if known else "none was saved yet"
        raise CampaignError(
            f"there is no baseline {against!r} in {path.parent.parent}: {hint} "
            "(perfkit baseline save CAMPAIGN --as NAME)"
        )
    kept, cells = _load(path), frame.load(path.parent / "cells.parquet")
    now, own = measured(runs, executor)
    _refuse_other(now, kept, against)
    found = baselines.check(own, cells, kept.margin, primary=kept.primary)
    return CheckReport(
        check=found,
        checked=now.name,
        baseline=against,
        warnings=tuple(_warnings(now, own, kept, cells)),
    )


def _refuse_other(now: Measured, kept: Measured, against: str) -> None:
    if shared := set(now.runs) & set(kept.runs):
        raise CampaignError(
            f"baseline {against} was saved from {sorted(shared)[0]}: held against itself it says "
            "nothing; check a campaign that was run since"
        )
    same_sizes, same_tests = now.clients == kept.clients, dict(now.tests) == dict(kept.tests)
    if same_sizes and same_tests:
        return
    sizes = ",".join(map(str, kept.clients))
    apart = [] if same_sizes else [f"{sizes} clients against {','.join(map(str, now.clients))}"]
    apart += [
        f"{test}: {kept.tests.get(test, 'not run')} against {now.tests.get(test, 'not run')}"
        for test in dict.fromkeys([*kept.tests, *now.tests])
        if kept.tests.get(test) != now.tests.get(test)
    ]
    raise CampaignError(
        f"baseline {against} is one of other tests or clients than {now.name} "
        f"({format_some(apart, _NAMED, '; ')}); run the same (--clients {sizes}, tests as in "
        f"tests.conf then: {', '.join(kept.tests)}), or save a baseline of these"
    )


def _warnings(now: Measured, own: pd.DataFrame, kept: Measured, cells: pd.DataFrame) -> list[str]:
    both = [kept.conditions, now.conditions]
    names = differing(both)
    hosts = [name for name in names if name in HOST_TYPES]
    rest = [name for name in names if name not in HOST_TYPES]
    found = []
    for label, group in (
        ("hosts of other types, which may be all that differs", hosts),
        ("differs", rest),
    ):
        if group:
            values = [
                f"{name.removeprefix('parameter ')}: {' -> '.join(one.get(name, NOT_RECORDED) for one in both)}"
                for name in group
            ]
            found.append(f"{label}: {format_some(values, _NAMED, '; ')}")
    for who, one, frame_of in (("the baseline", kept, cells), (now.name, now, own)):
        if one.mixed:
            found.append(f"runs of {who} differ in: {format_some(list(one.mixed), _NAMED)}")
        void = frame_of[(frame_of["void"] != "").to_numpy()].drop_duplicates("block")
        if len(void):
            reasons = format_some(sorted(set(void["void"])), 2, "; ")
            found.append(
                f"{len(void)} of {frame_of['block'].nunique()} blocks of {who} are void: {reasons}"
            )
        unsteady = frame.counted(frame_of)
        unsteady = unsteady[(unsteady["not_steady"] != "").to_numpy()]
        if len(unsteady):
            found.append(f"{len(unsteady)} tests of {who} were not steady, and count as they are")
    return found
