"""`perfkit runs compact`: the tables of all runs in one file a table, so that a query reads few files.

The runs keep their own files. New files are written beside those of the last compaction and synced;
then `compacted.json` names them, then the old ones go: killed at any moment, the store has the state
before or after.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import StoreError
from perfkit.runs.folder import write_atomic, write_json
from perfkit.store import contents, parts, schema
from perfkit.store.contents import FOLDER, INDEX, Contents
from perfkit.store.schema import TABLES
from perfkit.units import format_size

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What was compacted: how many parts, what the files take, and what could not be read."""

    parts: int
    size_bytes: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        done = f"tables of {self.parts} (runs, campaigns, blocks) in {len(TABLES)} files"
        return "\n".join([*self.problems, f"{done}, {format_size(self.size_bytes)}"])


def compact(runs_dir: Path) -> Compaction:
    """Compact the store of a runs folder.

    Raises:
        RunError: it cannot be written; what was there is there still.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    place = runs_dir / FOLDER
    with parts.locked(place):
        found = contents.survey(runs_dir)
        problems = list(found.problems)
        keys, rows = _gather(found, problems)
        generation, size_bytes = secrets.token_hex(8), 0
        for table in TABLES:
            nothing = schema.arrow_schema(table, keyed=True).empty_table()
            data = parts.to_parquet(pa.concat_tables([nothing, *rows[table]]))
            write_atomic(contents.compacted_path(runs_dir, table, generation), data)
            size_bytes += len(data)
        write_json(place / INDEX, {**parts.stamp_of(generation), "parts": sorted(keys)})
        parts.remove_others(place, generation)
    return Compaction(parts=len(keys), size_bytes=size_bytes, problems=tuple(problems))


def _gather(found: Contents, problems: list[str]) -> tuple[set[str], dict[str, list[pa.Table]]]:
    """The keys of the parts that can be read whole, and their rows by table.

    What was compacted already is taken from there, if by a version that knew all tables; a part with a
    damaged file stays out, so that its damage is named until it is made anew.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    rows: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
    keys = set(found.compacted.keys & found.parts.keys())
    if found.compacted.tables != TABLES.keys():
        keys.clear()
    try:
        kept = {table: found.read_compacted(table) for table in TABLES if keys}
    except (StoreError, FileNotFoundError) as exc:
        problems.append(f"{exc}; made anew from the runs' own files")
        keys, kept = set(), {}
    for table, before in kept.items():
        rows[table].append(before)
    for key, part in found.parts.items():
        if key in keys:
            continue
        try:
            own = {table: parts.read_table(part, table) for table in TABLES}
        except StoreError as exc:
            problems.append(str(exc))
            continue
        keys.add(key)
        for table, read in own.items():
            if read.num_rows:
                named = pa.repeat(pa.scalar(key, pa.string()), read.num_rows)
                rows[table].append(read.add_column(0, pa.field("part", pa.string()), named))
    return keys, rows
