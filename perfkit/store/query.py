"""SQL over the tables of all runs, by DuckDB in memory: it can read the store and nothing else.

`query` answers with a frame::

    from perfkit.store.query import query
    query("SELECT vpn_version, avg(goodput_bps) / 1e6 AS mbps FROM tunnel GROUP BY vpn_version")

Each table of `perfkit.store.schema` has a view of its name, without what does not count: void blocks,
runs that were not finished, and copies of runs that are there themselves. `all_<table>` has every row.
`tunnel` and `direct` are the tests of that path; `runs` are all runs and blocks, `void` says which do
not count.

What a statement may touch is in memory before it runs: DuckDB has no access to files and network, loads
no extension, sees no Python variable, and its settings are locked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from perfkit import untrusted
from perfkit.errors import StoreError
from perfkit.settings.project import runs_folder
from perfkit.store import contents
from perfkit.store.schema import ATTRIBUTES, TABLES
from perfkit.units import format_some

if TYPE_CHECKING:
    import duckdb

# Views beside those of the tables: what each is, and the table that it needs.
_NAMES = ", ".join(column.name for column in ATTRIBUTES)
_EVERY = f"SELECT DISTINCT {_NAMES} FROM all_tests"  # noqa: S608 -- names of the schema
MORE_VIEWS: Mapping[str, tuple[str, str]] = {
    "tunnel": ("SELECT * FROM tests WHERE path = 'tunnel'", "tests"),
    "direct": ("SELECT * FROM tests WHERE path = 'direct'", "tests"),
    "runs": (_EVERY, "tests"),
}
_NAMED = 5
_LOCKED = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_READ_ONLY = {"SELECT", "EXPLAIN", "RELATION"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a statement came to.

    Attributes:
        frame: One row a row of the result; times are UTC.
        remarks: What is not in it, and what to do; a line each.
    """

    frame: pd.DataFrame
    remarks: tuple[str, ...]


def query(sql: str, *, runs_dir: str = "") -> pd.DataFrame:
    """Ask the store of runs; what could not be read is printed on stderr.

    Args:
        sql: One SELECT, in DuckDB's SQL.
        runs_dir: Where run folders are; empty: the project's `runs/`.

    Raises:
        StoreError: it is not one SELECT, or wrong; the message has the names that there are.
    """
    found = ask(sql, runs_folder(runs_dir))
    for line in found.remarks:
        click.echo(line, err=True)
    return found.frame


def ask(sql: str, runs_dir: Path) -> Answered:
    """Ask the store of a runs folder.

    Raises:
        StoreError: see `query`.
    """
    import duckdb  # noqa: PLC0415 -- slow to load

    known = contents.survey(runs_dir)
    problems = list(known.problems)
    with duckdb.connect(":memory:") as connection:
        for table in TABLES:
            if _may_need(sql, table):
                rows, failed = known.read(table)
                problems += failed
                connection.register(f"all_{table}", rows)
        _register_runs(connection, known)
        for statement in (*_views(sql), *_LOCKED):
            connection.execute(statement)
        frame = _answer(connection, sql)
    problems = list(dict.fromkeys(problems))
    if len(problems) > _NAMED:
        more = f"and {len(problems) - _NAMED} more; perfkit runs index makes them anew"
        problems[_NAMED:] = [more]
    if known.missing:
        problems.append(
            f"not in the store: {format_some(known.missing, _NAMED)}; perfkit runs index takes them in"
        )
    return Answered(frame=frame, remarks=tuple(problems))


def _may_need(sql: str, table: str) -> bool:
    """Whether a statement may name a table: any word will do, a table too many is only slower."""
    words = set(re.findall(r"\w+", sql.lower()))
    needing = [name for name, (_, needed) in MORE_VIEWS.items() if needed == table]
    return not words.isdisjoint({table, f"all_{table}", *needing})


def _register_runs(connection: duckdb.DuckDBPyConnection, known: contents.Contents) -> None:
    """The ids of runs that are in the store themselves: a copy of one of them does not count."""
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    ids = sorted({part.run.id for part in known.parts.values() if part.run.block is None})
    connection.register("stored_ids", pa.table({"run": pa.array(ids, pa.string())}))


def _views(sql: str) -> list[str]:
    made = [
        f'CREATE VIEW "{table}" AS SELECT * FROM "all_{table}" '  # noqa: S608 -- names of the schema
        "WHERE void = '' AND copy_of NOT IN (SELECT run FROM stored_ids)"
        for table in TABLES
        if _may_need(sql, table)
    ]
    made += [
        f"CREATE VIEW {name} AS {text}"
        for name, (text, needed) in MORE_VIEWS.items()
        if _may_need(sql, needed)
    ]
    return made


def _answer(connection: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    import duckdb  # noqa: PLC0415 -- slow to load

    try:
        statements = connection.extract_statements(sql)
        kinds = [statement.type.name for statement in statements]
        if len(kinds) != 1 or kinds[0] not in _READ_ONLY:
            raise StoreError(
                f"one SELECT is needed, {' and '.join(kinds) or 'nothing'} was given; the store is "
                "written by perfkit report, runs index and runs compact alone"
            )
        return connection.execute(statements[0]).fetch_df()
    except (duckdb.Error, RuntimeError, ValueError, OverflowError) as exc:
        raise StoreError(_in_one_line(exc)) from exc


def _in_one_line(exc: Exception) -> str:
    """DuckDB's words without its picture of the statement, and the names that there are."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    shown = [line for line in lines if not line.startswith(("LINE ", "^"))]
    words = untrusted.one_line(" ".join(shown), 400)
    if "Table with name" in words or "Catalog Error" in words:
        words += f"; there are: {', '.join([*TABLES, *MORE_VIEWS])}, and all_ before a table's name"
    return f"{words} (perfkit runs tables: tables, columns and units)"


def write(frame: pd.DataFrame, target: Path) -> None:
    """Write an answer as the CSV, JSON or parquet that the file's name asks for.

    Raises:
        StoreError: it asks for none of them, or cannot be written.
    """
    makers = {
        ".csv": lambda: frame.to_csv(index=False).encode("utf-8", "replace"),
        ".json": lambda: frame.to_json(orient="records", date_format="iso", indent=2).encode(),
        ".parquet": lambda: frame.to_parquet(index=False),
    }
    write_as(target, makers, f"give a name that ends in {', '.join(makers)}")


def write_as(target: Path, makers: Mapping[str, Callable[[], bytes]], otherwise: str) -> None:
    """Write a file in the form that its suffix asks for.

    Raises:
        StoreError: there is none (`otherwise` says what to do), or it cannot be written.
    """
    make = makers.get(target.suffix.lower())
    if make is None:
        raise StoreError(f"{target}: {otherwise}")
    try:
        target.write_bytes(make())
    except OSError as exc:
        raise StoreError(f"{target}: cannot be written ({exc.strerror})") from exc
