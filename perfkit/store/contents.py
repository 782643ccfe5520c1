"""What is in the store of a runs folder now: parts of runs that are there, each counted once.

::

    runs/store/
      compacted.json                  which parts the files hold; written last
      <table>.<generation>.parquet    rows of many parts; `part` says of which

A part is taken from the compacted files only while its run is there and has not been analysed again
since: so a deleted run vanishes from every answer, and none is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import StoreError
from perfkit.runs.folder import JSON_BYTES
from perfkit.store import parts, schema
from perfkit.store.parts import Part

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "store"  # below runs/
INDEX = "compacted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What was compacted: its generation, the tables of it, and the keys of the parts in it."""

    generation: str = ""
    tables: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The parts of a runs folder.

    Attributes:
        parts: Of runs that are there, by key.
        missing: Runs with a report that are not in the store.
        problems: What could not be read, and what to do; a line each.
    """

    runs_dir: Path
    parts: dict[str, Part]
    compacted: Compacted
    missing: tuple[str, ...]
    problems: tuple[str, ...]

    def read(self, table: str) -> tuple[pa.Table, list[str]]:
        """All rows of a table, and what could not be read."""
        import pyarrow as pa  # noqa: PLC0415 -- slow to load

        problems: list[str] = []
        found: list[pa.Table] = []
        own = dict(self.parts)
        if table in self.compacted.tables and self.compacted.keys & own.keys():
            try:
                found.append(self.read_compacted(table).drop_columns(["part"]))
                own = {key: part for key, part in own.items() if key not in self.compacted.keys}
            except FileNotFoundError:  # compacted again meanwhile: the parts have the same rows
                pass
            except StoreError as exc:
                problems.append(f"{exc}; the runs' own files were read: perfkit runs compact")
        for part in own.values():
            try:
                rows = parts.read_table(part, table)
            except StoreError as exc:
                problems.append(str(exc))
                continue
            if rows.num_rows:
                found.append(rows)
        return pa.concat_tables([schema.arrow_schema(table).empty_table(), *found]), problems

    def read_compacted(self, table: str) -> pa.Table:
        """The compacted rows of parts that are there still, with their `part`.

        Raises:
            FileNotFoundError: compacted again meanwhile, or the file is lost.
            StoreError: it is damaged.
        """
        import pyarrow as pa  # noqa: PLC0415 -- slow to load
        from pyarrow import compute as pc  # noqa: PLC0415 -- as above

        path = compacted_path(self.runs_dir, table, self.compacted.generation)
        rows = parts.read_file(path, table, keyed=True)
        current = self.compacted.keys & self.parts.keys()
        if current != self.compacted.keys:
            own = pa.array(sorted(current), pa.string())
            rows = rows.filter(pc.is_in(rows.column("part"), value_set=own))
        return rows


def compacted_path(runs_dir: Path, table: str, generation: str) -> Path:
    """The compacted file of a table."""
    return runs_dir / FOLDER / f"{table}.{generation}.parquet"


def survey(runs_dir: Path) -> Contents:
    """What is in the store; reads the stamps, no table.

    Raises:
        RunError: the runs folder may not be looked into.
    """
    found: dict[str, Part] = {}
    problems: list[str] = []
    missing: list[str] = []
    compacted = read_index(runs_dir, problems)  # first: what is removed meanwhile is in a part
    for run in parts.holders(runs_dir):
        try:
            part = parts.find_part(run)
        except StoreError as exc:
            problems.append(str(exc))
            continue
        if part is not None:
            found[part.key] = part
        elif run.block is None and (run.report_dir / "index.html").is_file():
            missing.append(run.id)
    return Contents(
        runs_dir=runs_dir,
        parts=found,
        compacted=compacted,
        missing=tuple(sorted(missing)),
        problems=tuple(problems),
    )


def read_index(runs_dir: Path, problems: list[str]) -> Compacted:
    """What was compacted; nothing where it was not, or by another format of the store."""
    try:
        kept = parts.read_stamp(runs_dir / FOLDER / INDEX, JSON_BYTES, "perfkit runs compact")
    except StoreError as exc:
        problems.append(str(exc))
        return Compacted()
    if kept is None:
        return Compacted()
    keys: Sequence[Any] = kept.get("parts") or ()
    return Compacted(
        generation=kept["generation"],
        tables=parts.tables_of(kept),
        keys=frozenset(map(str, keys)),
    )
