"""cells.parquet of a campaign, kept in step with its blocks and with the windows people choose.

The journal says which blocks were run and which are void; each block's folder says what it came to.
A block is reduced once, and again when its segments.json has changed since: so a window that was
corrected in the picker is in the answer. All blocks of a cell have the same warm-up cut, the median
of what they show, so a block is reduced again as well when that has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from perfkit.analysis import block_figures
from perfkit.analysis.answers import cells, frame
from perfkit.analysis.capacity_search import TRIAL, Trial, read_trial
from perfkit.executors.mapping import Handover, Unit, Where, each
from perfkit.logs.run_logs import RunLogs
from perfkit.runs import campaign_folder, journal
from perfkit.runs.folder import Run, sha256_of, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """What the journal says of a block that was run to its end.

    Attributes:
        folder: Its run folder, below the campaign's.
        void: The rule and why; empty: it counts.
        seconds: From its claim to its end; NaN: not known.
        trial: What its search knows of it; None: it is of none, or nothing.
    """

    block: int
    repetition: int
    attempt: int
    clients: int
    variant: str
    folder: str
    void: str = ""
    seconds: float = float("nan")
    trial: Trial | None = None


def finished_blocks(run: Run) -> list[BlockRecord]:
    """The blocks that were run to their end, void ones too, in the order run.

    Raises:
        JournalError: the journal is damaged before its end, or there is none.
    """
    claimed: dict[int, BlockRecord] = {}
    ended: dict[int, BlockRecord] = {}
    for event in journal.read(run.journal_path).events:
        fields = event.fields
        if event.kind == "block-claimed":
            known = {name: fields[name] for name in BlockRecord.__slots__ if name in fields}
            claimed[int(fields["block"])] = BlockRecord(**known)
        elif event.kind == TRIAL:
            number = int(fields["block"])
            claimed[number] = replace(claimed[number], trial=read_trial(fields))
        elif event.kind in ("block-void", "block-done"):
            number = int(fields["block"])
            before = ended.get(number, claimed[number])
            more: dict[str, Any] = (
                {"seconds": float(fields["seconds"])}
                if event.kind == "block-done"
                else {"void": f"{fields['rule']}: {fields['why']}"}
            )
            ended[number] = replace(before, **more)
    return [ended[number] for number in sorted(ended)]


def refresh(run: Run, executor: Where = None) -> pd.DataFrame:
    """Bring cells.parquet up to what blocks and windows are now.

    Writes cells.parquet, and a missing segments.json of a block.

    Args:
        executor: Who reduces the blocks, see `perfkit.executors.mapping`.

    Returns:
        The cells frame, see `perfkit.analysis.answers.frame`.

    Raises:
        RunError, SegmentError: a block cannot be read.
        ExecutorError: as `perfkit.executors.mapping.each`.
    """
    path = campaign_folder.cells_path(run)
    before = frame.load(path) if path.exists() else frame.cells_frame([])
    kept_path = run.tables_dir / "windows-read.json"
    kept = dict(run.load_json(kept_path)) if kept_path.exists() else {}
    blocks = {record.folder: record for record in finished_blocks(run)}
    first_s = next((_t0(Run(run.root / folder)) for folder in blocks), 0.0)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in frame.to_records(before):
        rows.setdefault(str(row["folder"]), []).append(row)
    changed = [
        record
        for folder, record in blocks.items()
        if folder not in rows or kept.get(folder) != _windows(Run(run.root / folder))
    ]
    rows |= _reduced(run, changed, first_s, cells.median_cuts(before), executor)
    for folder, record in blocks.items():
        rows[folder] = [{**row, "void": record.void} for row in rows[folder]]
    read = {folder: _windows(Run(run.root / folder)) for folder in blocks}  # all have some now
    made = _made(rows, read)
    cuts = cells.median_cuts(made)
    others = [blocks[folder] for folder in cells.other_cuts(made, cuts)]
    rows |= _reduced(run, others, first_s, cuts, executor)
    made = _made(rows, read)
    if read != kept or not path.exists() or not made.equals(before):
        frame.save(made, path)
        run.tables_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(kept_path, read)
    return made


def rows_of_block(run: Run, number: int, logs: RunLogs) -> list[dict[str, Any]]:
    """The rows of a block that has just been run to its end, with its own warm-up cut; for a live view.

    Writes its segments.json.
    """
    records = finished_blocks(run)
    (record,) = (it for it in records if it.block == number)
    return _rows(run, record, _t0(Run(run.root / records[0].folder)), {}, logs)


def _made(rows: Mapping[str, list[dict[str, Any]]], folders: Iterable[str]) -> pd.DataFrame:
    return frame.cells_frame([row for folder in folders for row in rows[folder]])


def _windows(block: Run) -> str:
    return sha256_of(block.segments_path) if block.segments_path.exists() else ""


def _t0(block: Run) -> float:
    return float(block.load_json(block.timetable_path)["t0_utc_s"])


def _reduced(
    run: Run,
    records: Sequence[BlockRecord],
    first_s: float,
    cuts: Mapping[cells.Key, float],
    executor: Where,
) -> dict[str, list[dict[str, Any]]]:
    """The rows of some blocks, by folder."""
    own = Run(run.root.resolve())
    units = [
        Unit(
            name=Run(own.root / record.folder).id,
            arguments=(own, record, first_s, _own_cuts(record, cuts)),
            folder=Run(own.root / record.folder).cache_dir,
        )
        for record in records
    ]
    found = each(_rows, units, executor, form=_CELLS)
    return {record.folder: rows for record, rows in zip(records, found, strict=True)}


def _own_cuts(record: BlockRecord, cuts: Mapping[cells.Key, float]) -> dict[str, float]:
    """What is cut off the tests of a block."""
    return {
        test: warm_up_s
        for (clients, variant, test), warm_up_s in cuts.items()
        if (clients, variant) == (record.clients, record.variant)
    }


def _rows(
    run: Run,
    record: BlockRecord,
    first_s: float,
    cuts: Mapping[str, float],
    logs: RunLogs | None = None,
) -> list[dict[str, Any]]:
    block, usd_per_h = Run(run.root / record.folder), float(run.manifest().get("usd_per_h", 0.0))
    place = {
        "block": record.block,
        "folder": record.folder,
        "repetition": record.repetition,
        "attempt": record.attempt,
        "clients": record.clients,
        "variant": record.variant,
        "started_s": _t0(block) - first_s,
        "void": record.void,
        "host_s": record.seconds * (record.clients + 1),
        "cost_usd": record.seconds / 3600 * usd_per_h if usd_per_h else float("nan"),
    }
    return block_figures.block_rows(block, place, cuts, logs)


_CELLS: Handover[list[dict[str, Any]]] = Handover(
    lambda rows: frame.to_parquet(frame.cells_frame(rows)),
    lambda data: frame.to_records(frame.from_parquet(data)),
)
