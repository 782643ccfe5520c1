"""What one run, campaign or block has in the store: a file a table, in its own folder.

::

    <run>/tables/store/
      stored.json                    which files are its own; written last, so what it names is whole
      <table>.<generation>.parquet   one of each table of `perfkit.store.schema`

Written anew, the files get another generation, and those of the one before are removed: a reader sees
the old tables or the new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit import __version__, untrusted
from perfkit.errors import PerfkitError, RunError, StoreError
from perfkit.runs import campaign_folder, folder
from perfkit.runs.folder import Run, write_atomic, write_json
from perfkit.store import schema
from perfkit.store.schema import FORMAT, TABLES, Row

if TYPE_CHECKING:
    import pyarrow as pa

STAMP = "stored.json"
STAMP_BYTES = 2**16
_GENERATION = re.compile(r"[0-9a-f]{16}")
_ATTEMPTS = 20  # a part may be written anew between its stamp and its files


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The tables of one run, campaign or block.

    Attributes:
        tables: Those that were written; an earlier version knew fewer.
    """

    run: Run
    generation: str
    tables: frozenset[str] = frozenset(TABLES)

    @property
    def key(self) -> str:
        """What it is of, and which writing of it; unique in a runs folder."""
        return f"{self.run.id}@{self.generation}"

    def path(self, table: str) -> Path:
        """The file of a table."""
        return store_dir(self.run) / f"{table}.{self.generation}.parquet"


def store_dir(run: Run) -> Path:
    """Where the tables of a run are kept."""
    return run.tables_dir / "store"


def write(run: Run, tables: Mapping[str, Sequence[Row]]) -> Part:
    """Write the tables of a run, and remove those of an earlier time.

    Args:
        tables: Rows by table, attributes among them; a table that is not named is empty.

    Raises:
        FrameError: a table or column is not declared.
        RunError: the disk is full or the folder read-only; what was there is there still.
    """
    if unknown := tables.keys() - TABLES.keys():
        raise StoreError(f"{run.id}: tables {sorted(unknown)} are not declared")
    part = Part(run=run, generation=secrets.token_hex(8))
    place = store_dir(run)
    with locked(place):
        for table in TABLES:
            made = schema.to_table(table, tables.get(table, ()))
            write_atomic(part.path(table), to_parquet(made))
        write_json(place / STAMP, stamp_of(part.generation))
        remove_others(place, part.generation)
    return part


def remove_others(place: Path, generation: str) -> None:
    """Remove the files of other writings than this one."""
    for path in place.glob("*.parquet"):
        if f".{generation}." not in path.name:
            path.unlink(missing_ok=True)


def stamp_of(generation: str) -> dict[str, Any]:
    """What is said of files of one writing: the format, who wrote them, and of which tables."""
    return {
        "format": FORMAT,
        "perfkit": __version__,
        "generation": generation,
        "tables": list(TABLES),
    }


def read_stamp(path: Path, limit_bytes: int, remedy: str) -> Mapping[str, Any] | None:
    """What `stamp_of` made, of this format of the store; None: it is of another, or not there.

    Args:
        remedy: What makes it anew.

    Raises:
        StoreError: it is damaged.
    """
    damaged = f"{path}: damaged; {remedy} makes it anew"
    try:
        data = untrusted.read_file(path, limit_bytes)
        stamp = untrusted.parse_json(data, limit_bytes=limit_bytes, ours=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (PerfkitError, OSError) as exc:
        raise StoreError(damaged) from exc
    generation = stamp.get("generation") if isinstance(stamp, dict) else None
    if not isinstance(generation, str) or not _GENERATION.fullmatch(generation):
        raise StoreError(damaged)
    return stamp if stamp.get("format") == FORMAT else None


def tables_of(stamp: Mapping[str, Any]) -> frozenset[str]:
    """The tables that a stamp names, of those that are known now."""
    named = stamp.get("tables")
    return frozenset(TABLES).intersection(map(str, named if isinstance(named, list) else ()))


def to_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a file."""
    from pyarrow import parquet as pq  # noqa: PLC0415 -- slow to load

    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd")
    return target.getvalue()


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Be the one writer of a folder of the store; waits for another one, which is done in seconds.

    Raises:
        RunError: the folder cannot be made or is read-only.
    """
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (place / ".lock").open("a")
    except OSError as exc:
        raise RunError(
            f"{place}: cannot be written ({exc.strerror}); work on a copy you own"
        ) from exc
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_part(run: Run) -> Part | None:
    """What a run has in the store; None: nothing, or of another format of the store.

    Raises:
        StoreError: its stamp is damaged.
    """
    stamp = read_stamp(store_dir(run) / STAMP, STAMP_BYTES, f"perfkit runs index {run.id}")
    if stamp is None:
        return None
    return Part(run=run, generation=stamp["generation"], tables=tables_of(stamp))


def holders(runs_dir: Path) -> Iterator[Run]:
    """All that may have a part: runs, campaigns, and blocks of campaigns."""
    for run in folder.list_folders(runs_dir):
        yield run
        if campaign_folder.is_campaign(run):
            yield from campaign_folder.block_runs(run)


def read_table(part: Part, table: str) -> pa.Table:
    """A table of a part.

    Raises:
        StoreError: the file is damaged, not there, or has other columns than declared.
    """
    for _ in range(_ATTEMPTS):
        if table not in part.tables:  # a version wrote it that did not know the table
            return schema.arrow_schema(table).empty_table()
        try:
            return read_file(part.path(table), table)
        except FileNotFoundError:  # written anew meanwhile
            found = find_part(part.run)
            if found is None or found == part:
                break
            part = found
    raise StoreError(
        f"{part.path(table)}: not there; perfkit runs index {part.run.id} makes it anew"
    )


def read_file(path: Path, table: str, *, keyed: bool = False) -> pa.Table:
    """A file of a table, with its columns as declared now.

    Args:
        keyed: A compacted file, see `schema.arrow_schema`.

    Raises:
        FileNotFoundError: it is not there.
        StoreError: it is damaged, or a column has another type than declared.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load
    from pyarrow import parquet as pq  # noqa: PLC0415 -- as above

    try:
        with path.open("rb") as file:
            found = pq.read_table(file, use_threads=False)
        return schema.conform(table, found, keyed=keyed)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, LookupError, ValueError) as exc:
        words = untrusted.one_line(str(exc), 100)
        raise StoreError(f"{path}: damaged ({words}); perfkit runs index makes it anew") from exc
