"""The tables of the store: names, columns, types and units, in one place.

Every row of every table begins with `ATTRIBUTES`: which run or block it is of, under which conditions
that was measured, and why it does not count if it does not. A file of a table has all its columns
with their types, also when it has no row. Columns of report tables come from
`perfkit.report.columns`; a number there is a double here, also a count.

A later version may add tables and columns: what was written before is read with NULL there, or an empty
text. `FORMAT` changes when a column is renamed or gets another type or meaning; then runs are taken in
anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from perfkit.analysis.answers import frame
from perfkit.errors import FrameError, did_you_mean
from perfkit.report import columns, kind_tables
from perfkit.report.tables import Column

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
Kind = Literal["text", "int", "float", "bool", "time"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column: its type, its unit (empty: none) and what it says."""

    name: str
    kind: Kind
    unit: str = ""
    meaning: str = ""


ATTRIBUTES = (
    StoredColumn("run", "text", "", "id of the run or campaign, which is its folder's name"),
    StoredColumn("block", "int", "", "number of the block in its campaign; 0: of the whole run"),
    StoredColumn("name", "text", "", "name of the run or campaign"),
    StoredColumn("started", "time", "UTC", "T0 of the run or block; empty: not known"),
    StoredColumn("perfkit", "text", "", "version of perfkit that measured; empty: not recorded"),
    StoredColumn("vpn", "text", "", "the VPN under test; none: there was none"),
    StoredColumn("vpn_version", "text", "", "its version on the server; empty: not recorded"),
    StoredColumn("cipher", "text", "", "of the data channel, by its status; empty: not recorded"),
    StoredColumn("transport", "text", "", "udp or tcp below the tunnel; empty: not recorded"),
    StoredColumn("clients", "int", "", "clients that took part"),
    StoredColumn("provider", "text", "", "what launched the hosts"),
    StoredColumn("host_type", "text", "", "processors and memory of the server"),
    StoredColumn("variant", "text", "", "variant of the campaign; base: the only one"),
    StoredColumn("void", "text", "", "why it does not count; empty: it counts"),
    StoredColumn("copy_of", "text", "", "the run that this is a copy of; empty: it is none"),
)
_OWN = {column.name for column in ATTRIBUTES}
# Names that an attribute has already, or that SQL would want in quotes.
RENAMED: Mapping[tuple[str, str], str] = {
    ("vpn", "clients"): "clients_known",
    ("hosts", "name"): "host",
    ("warnings", "where"): "place",
}
_DTYPES: Mapping[str, Kind] = {"int": "int", "float": "float", "str": "text", "bool": "bool"}


def _of_report(table: str, shown: Iterable[Column]) -> tuple[StoredColumn, ...]:
    return tuple(
        StoredColumn(
            RENAMED.get((table, column.key), column.key),
            "text" if column.kind == "text" else "float",
            "" if column.kind == "text" else _raw_unit(column),
            column.heading,
        )
        for column in shown
    )


_RAW_UNITS = {
    "Mbit/s": "bit/s",
    "ms": "s",
    "MB": "byte",
    "kB": "byte",
}  # the store holds base units


def _raw_unit(column: Column) -> str:
    if column.unit == "%" and column.scale != 1.0:
        return ""  # a ratio, shown as a percentage
    return _RAW_UNITS.get(column.unit, column.unit)


TESTS = tuple(
    StoredColumn(name, _DTYPES[column.dtype], column.unit, column.meaning)
    for name, column in frame.COLUMNS.items()
    if name not in _OWN
)
_INTERVALS = (
    StoredColumn("test", "text", "", "name of the test"),
    StoredColumn("figure", "text", "", "name of the figure, a column of tests"),
    StoredColumn("mean", "float", "the figure's", "mean over blocks that count"),
    StoredColumn("low", "float", "the figure's", "lower end of the 95 % interval over blocks"),
    StoredColumn("high", "float", "the figure's", "upper end of it; NULL with one block"),
    StoredColumn("repetitions", "int", "", "blocks that count"),
    StoredColumn("note", "text", "", "what a reader of the interval must know"),
)
_IN_TUNNEL = (
    StoredColumn("test", "text", "", "name of the tunnel test"),
    StoredColumn("ratio", "float", "", "goodput over that of the direct test, geometric mean"),
    StoredColumn("low", "float", "", "lower end of the 95 % interval, paired in the block"),
    StoredColumn("high", "float", "", "upper end of it"),
    StoredColumn("pairs", "int", "", "blocks with both tests"),
)
_CLIENT_TESTS = (
    StoredColumn("slot", "text", "", "the test, with its place in the timetable"),
    StoredColumn("host", "text", "", "the client"),
    StoredColumn("ok", "bool", "", "it counts"),
    StoredColumn("reason", "text", "", "why it does not"),
    StoredColumn("goodput_bps", "float", "bit/s", "in the window"),
    StoredColumn("share", "float", "", "of the goodput of all clients that count"),
    StoredColumn("retransmits", "float", "", "TCP segments sent again, over the whole test"),
)
_HOSTS = tuple(
    columns.text(key, key.title())
    for key in ("name", "role", "machine", "address", "state", "reason")
)

# What a row of each table is, for people.
ROWS: Mapping[str, str] = {
    "tests": "a test of a run or of a campaign's block",
    "intervals": "a figure of a campaign's cell (clients, variant, test)",
    "in_tunnel": "a tunnel test of a campaign's cell",
    "client_tests": "a client in a test of a run",
}
# Report tables of a run: the report's name, where it is not the same.
REPORTED: Mapping[str, str] = {"test_details": "tests", "vpn_clients": "vpn-clients"}
_REPORT: Mapping[str, Sequence[Column]] = {
    "test_details": columns.TESTS,
    "clients": columns.CLIENTS,
    "server": columns.SERVER,
    "tcp": columns.TCP,
    "udp": columns.UDP,
    "links": columns.LINKS,
    **{table.name: table.columns for table in kind_tables.TABLES},
    "vpn": columns.VPN,
    "vpn_clients": columns.VPN_CLIENTS,
    "sensitivity": columns.SENSITIVITY,
    "windows": columns.WINDOWS,
    "failures": columns.FAILURES,
    "hosts": _HOSTS,
    "phases": columns.PHASES,
    "logs": columns.LOGS,
    "warnings": columns.WARNINGS,
}
TABLES: Mapping[str, tuple[StoredColumn, ...]] = {
    table: (*ATTRIBUTES, *own)
    for table, own in {
        "tests": TESTS,
        "intervals": _INTERVALS,
        "in_tunnel": _IN_TUNNEL,
        "client_tests": _CLIENT_TESTS,
        **{table: _of_report(table, shown) for table, shown in _REPORT.items()},
    }.items()
}


def row_of(table: str) -> str:
    """What a row of a table is, in words."""
    return ROWS.get(table, f"a row of the report's table {REPORTED.get(table, table)!r}, of a run")


def report_columns(table: str) -> Sequence[Column]:
    """The columns of the report that a table keeps; none of a table that no report has."""
    return _REPORT.get(table, ())


def arrow_schema(table: str, *, keyed: bool = False) -> pa.Schema:
    """The types of a table's file.

    Args:
        keyed: A compacted file: its rows begin with `part`, the key of the part that each is of.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    types = {
        "text": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    own = [pa.field(one.name, types[one.kind]) for one in TABLES[table]]
    return pa.schema([pa.field("part", pa.string()), *own] if keyed else own)


def to_table(table: str, rows: Sequence[Row]) -> pa.Table:
    """Rows with a table's columns and types; what a row does not have, and NaN, is NULL.

    Raises:
        FrameError: a row has a column that is not declared, or a value of another type.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    declared = TABLES[table]
    names = [one.name for one in declared]
    for row in rows:
        if unknown := next((name for name in row if name not in names), None):
            raise FrameError(
                f"store: column {unknown!r} of {table} is not declared; {did_you_mean(unknown, names)}"
            )
    schema = arrow_schema(table)
    try:
        made = [
            pa.array([_value(row.get(one.name), one.kind) for row in rows], type=field.type)
            for one, field in zip(declared, schema, strict=True)
        ]
    except (pa.ArrowException, TypeError, ValueError) as exc:
        raise FrameError(
            f"store: a value of {table} has another type than declared: {exc}"
        ) from exc
    return pa.Table.from_arrays(made, schema=schema)


def conform(table: str, found: pa.Table, *, keyed: bool = False) -> pa.Table:
    """What was read, with the columns of a table as declared now.

    Args:
        keyed: See `arrow_schema`.

    Raises:
        FrameError: a column has another type than declared. KeyError: nothing says of which part.
    """
    import pyarrow as pa  # noqa: PLC0415 -- slow to load

    schema = arrow_schema(table, keyed=keyed)
    if found.schema.equals(schema):
        return found
    made = []
    for field in schema:
        if field.name not in found.column_names and field.name != "part":
            nothing = pa.scalar("" if field.type == pa.string() else None, field.type)
            made.append(pa.repeat(nothing, found.num_rows))
        elif found.schema.field(field.name).type != field.type:
            raise FrameError(f"store: {field.name} of {table} has another type than declared")
        else:
            made.append(found.column(field.name))
    return pa.Table.from_arrays(made, schema=schema)


def _value(value: Any, kind: Kind) -> Any:
    """A value for Arrow, without its NumPy clothes; NaN is NULL, else a mean in SQL would be NaN."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "" if kind == "text" else None
    if kind == "text":
        return str(value)
    if kind == "time" and not isinstance(value, datetime):
        raise TypeError(f"a moment is needed, {value!r} was given")
    if kind == "float":
        return float(value)
    return int(value) if kind == "int" else value
