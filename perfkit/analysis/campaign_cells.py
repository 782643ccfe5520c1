"""cells.parquet of a campaign, kept in step with its blocks and with the windows people choose.

The journal says which blocks were run and which are void; each block's folder says what it came to.
A block is reduced once, and again when its segments.json has changed since: so a window that was
corrected in the picker is in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from perfkit.analysis.answers import frame as cells
from perfkit.analysis.run_summary import reduce_run
from perfkit.runs import campaign_folder, journal
from perfkit.runs.folder import Run, sha256_of, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """What the journal says of a block that was run to its end.

    Attributes:
        folder: Its run folder, below the campaign's.
        void: The rule and why; empty: it counts.
        seconds: From its claim to its end; NaN: not known.
    """

    block: int
    repetition: int
    attempt: int
    clients: int
    variant: str
    folder: str
    void: str = ""
    seconds: float = float("nan")


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


def refresh(run: Run) -> pd.DataFrame:
    """Bring cells.parquet up to what blocks and windows are now.

    Writes cells.parquet, and a missing segments.json of a block.

    Returns:
        The cells frame, see `perfkit.analysis.answers.frame`.

    Raises:
        RunError, SegmentError: a block cannot be read.
    """
    path = campaign_folder.cells_path(run)
    before = cells.load(path).to_dict("records") if path.exists() else []
    kept_path = run.tables_dir / "windows-read.json"
    kept = dict(run.load_json(kept_path)) if kept_path.exists() else {}
    rows: dict[str, list[Mapping[Any, Any]]] = {}
    for row in before:
        rows.setdefault(str(row["folder"]), []).append(row)
    read: dict[str, str] = {}
    first_s: float | None = None
    for record in finished_blocks(run):
        block = Run(run.root / record.folder)
        first_s = _t0(block) if first_s is None else first_s
        if record.folder not in rows or kept.get(record.folder) != _windows(block):
            rows[record.folder] = _rows(block, record, first_s)
        read[record.folder] = _windows(block)
    made = cells.cells_frame(
        [{str(k): v for k, v in row.items()} for folder in read for row in rows[folder]]
    )
    if read != kept or not path.exists():
        cells.save(made, path)
        run.tables_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(kept_path, read)
    return made


def _windows(block: Run) -> str:
    return sha256_of(block.segments_path) if block.segments_path.exists() else ""


def _t0(block: Run) -> float:
    return float(block.load_json(block.timetable_path)["t0_utc_s"])


def _rows(block: Run, record: BlockRecord, first_s: float) -> list[Mapping[Any, Any]]:
    reduced = reduce_run(block)
    rows: list[Mapping[Any, Any]] = []
    for position, test in enumerate(reduced.tests, start=1):
        figures = {n: float(test.figures[n]) for n in cells.FIGURES if n in test.figures}
        rows.append(
            {
                "block": record.block,
                "folder": record.folder,
                "repetition": record.repetition,
                "attempt": record.attempt,
                "clients": record.clients,
                "variant": record.variant,
                "test": test.key,
                "path": test.figures["path"],
                "position": position,
                "started_s": _t0(block) - first_s,
                "void": record.void,
                "window_s": test.figure("window_s"),
                "chosen_by": str(test.figures.get("chosen_by", "")),
                "warnings": sum(f.where == test.slot for f in reduced.warnings),
                "failed_clients": int(test.figures["clients_failed"]),
                "host_s": record.seconds * (record.clients + 1),
                "shared_cpu": reduced.shared_cpu,
                "vpn_single_core": reduced.vpn.single_core,
                **figures,
            }
        )
    return rows
