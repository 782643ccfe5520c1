"""Taking runs and campaigns into the store: with their report, or later by `perfkit runs index`.

A campaign brings a row a block and test, and the intervals of its cells. A run by itself brings the same
row a test, and the tables of its report; so does a block that a report was made of by itself, but the
rows of its tests, which its campaign has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from perfkit.analysis import block_figures, campaign_cells
from perfkit.analysis.answers.campaign_answer import CampaignAnswer, find_answer
from perfkit.analysis.answers.frame import COLUMNS as CELL_COLUMNS
from perfkit.analysis.answers.frame import to_records
from perfkit.analysis.segments import Windowed
from perfkit.campaign.baselines import why_void_alone
from perfkit.errors import PerfkitError, StoreError
from perfkit.executors.mapping import TEXT, Unit, Where, each
from perfkit.report import page
from perfkit.report.answer import Answer
from perfkit.report.page import Report
from perfkit.runs import campaign_folder, folder, latest, progress
from perfkit.runs.design import BASE
from perfkit.runs.folder import Run
from perfkit.store import parts, schema
from perfkit.store.attributes import attributes_of
from perfkit.store.parts import Part
from perfkit.store.schema import ATTRIBUTES, TABLES, Row

Rows = dict[str, list[Row]]


def keep(made: Report | Answer) -> str:
    """Take what a report was made of into the store; why it could not be, empty when it was."""
    try:
        if isinstance(made, Answer):
            parts.write(made.run, of_campaign(made.found))
        else:
            parts.write(made.run, of_run(made))
    except PerfkitError as exc:
        return f"{made.run.id} is not in the store of runs: {exc}"
    return ""


def unfinished(run: Run) -> str:
    """What a run or block was not brought to its end with, in words; empty: nothing is missing."""
    needed = progress.NEED_HOSTS if run.block is None else progress.OF_A_BLOCK
    return progress.unfinished(progress.read(run), needed)


def of_run(made: Report) -> Rows:
    """The rows of a run or of a block by itself.

    Raises:
        RunError: its manifest cannot be read.
    """
    run, logs = made.run, made.logs
    own = attributes_of(run, void=_why_void(made))
    tables: Rows = {
        table: [{**own, **row} for row in _reported(made, table)]
        for table in TABLES
        if schema.report_columns(table)
    }
    names = [one.name for one in TABLES["client_tests"]]
    tables["client_tests"] = [
        {**own, **{k: v for k, v in row.items() if k in names}}
        for row in to_records(made.summary.clients)
    ]
    if run.block is None:
        place = {
            "block": 0, "folder": run.id, "repetition": 1, "attempt": 1,
            "clients": len(logs.clients), "variant": BASE,
        }  # fmt: skip
        known = Windowed(logs, made.outcomes, made.segments)
        rows = block_figures.rows_of(known, place, made.summary)
        tables["tests"] = [_test(own, row) for row in rows]
    return tables


def _why_void(made: Report) -> str:
    """Why a run or block does not count; empty: it does."""
    run = made.run
    if run.block is not None:
        campaign = campaign_folder.campaign_of(run)
        found = {one.block: one.void for one in campaign_cells.finished_blocks(campaign)}
        return found.get(run.block, "unfinished: the block was not run to its end")
    if left := unfinished(run):
        return f"unfinished: {left}"
    return ": ".join(why_void_alone(run, made.logs, made.outcomes) or ())


def _test(own: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the cells frame with its attributes; what both have is the attribute's."""
    return {**{name: row.get(name) for name in CELL_COLUMNS if name not in own}, **own}


def _reported(made: Report, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a report's table, with the columns that the store keeps of it."""
    shown = made.tables.get(schema.REPORTED.get(table, table))
    if shown is None:
        return
    kept = {column.key for column in schema.report_columns(table)}
    for row in shown.rows:
        yield {
            schema.RENAMED.get((table, column.key), column.key): value
            for column, value in zip(shown.columns, row, strict=True)
            if column.key in kept
        }


def of_campaign(found: CampaignAnswer) -> Rows:
    """The rows of a campaign: blocks that were run to their end, void ones too, and its cells.

    Raises:
        RunError: the manifest of a block cannot be read.
    """
    blocks: dict[str, dict[str, Any]] = {}
    tests: list[Row] = []
    for row in to_records(found.frame):
        path = str(row["folder"])
        if path not in blocks:
            blocks[path] = attributes_of(Run(found.run.root / path), void=str(row["void"]))
            blocks[path] |= {"variant": str(row["variant"]), "clients": int(row["clients"])}
        tests.append(_test(blocks[path], row))
    whole: dict[str, dict[str, Any]] = {}
    for one in blocks.values():  # the first that counts stands for the conditions of its variant
        if not one["void"]:
            whole.setdefault(one["variant"], {**one, "block": 0})
    return {
        "tests": tests,
        "intervals": _cells(found.means, whole, "intervals"),
        "in_tunnel": _cells(found.in_tunnel, whole, "in_tunnel"),
    }


def _cells(cells: pd.DataFrame, whole: Mapping[str, Mapping[str, Any]], table: str) -> list[Row]:
    """Rows of cells with the attributes of their variant."""
    attributes = {one.name for one in ATTRIBUTES} - {"clients", "variant"}
    names = {one.name for one in TABLES[table]} - attributes  # `void` is a count there
    return [
        {**whole.get(str(row["variant"]), {}), **{k: v for k, v in row.items() if k in names}}
        for row in to_records(cells)
    ]


def index(runs: Sequence[Run], *, anew: bool = False, executor: Where = None) -> Iterator[str]:
    """Take runs into the store that are not in it, or whose tables are damaged; a line each.

    Their logs are analysed as they are now; reports are not written.

    Args:
        anew: Also those that are in it.
        executor: Who analyses the runs, see `perfkit.executors.mapping`; None: this process, and
            each line comes when its run is done.

    Raises:
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    if executor is None or executor == "":
        yield from (line for run in runs if (line := _index(run, anew)))
        return
    own = [Run(run.root.resolve()) for run in runs]
    units = [Unit(name=run.id, arguments=(run, anew), folder=run.cache_dir) for run in own]
    yield from (line for line in each(_index, units, executor, form=TEXT) if line)


def _index(run: Run, anew: bool) -> str:  # noqa: FBT001 - a worker is given it by its place
    """Take a run in; what became of it, empty where there is nothing to do."""
    try:
        if not anew and is_whole(run):
            return ""
        if lack := latest.find_lack(run, "segment"):
            return f"{run.id}: not taken in: {lack}"
        taken = _take_in(run)
    except PerfkitError as exc:
        return f"{run.id}: not taken in: {exc}"
    return f"{run.id}: taken in ({taken.key.rpartition('@')[2]})"


def _take_in(run: Run) -> Part:
    if campaign_folder.is_campaign(run):
        return parts.write(run, of_campaign(find_answer(run)))
    times = list(progress.read(run).done.items())
    made = page.compose(run, phases=times, unfinished=unfinished(run), with_plots=False)
    return parts.write(run, of_run(made))


def is_whole(run: Run) -> bool:
    """Whether a run is in the store, with tables that can be read."""
    try:
        part = parts.find_part(run)
        if part is None:
            return False
        for table in TABLES:
            parts.read_table(part, table)
    except StoreError:
        return False
    return True


def find_to_index(runs_dir: Path, names: Sequence[str]) -> list[Run]:
    """The named runs; of none named, all, and the blocks that were taken in by themselves.

    Raises:
        RunError: there is no such run.
    """
    if names:
        return [folder.open_run(runs_dir, name) for name in names]
    there = parts.holders(runs_dir)
    return [run for run in there if run.block is None or parts.store_dir(run).is_dir()]
