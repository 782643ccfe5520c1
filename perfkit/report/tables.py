"""One table model for everything that is published.

A `ReportTable` keeps raw values in base units with a description of each column; every export
formats from that. So a figure is rounded once, at the moment it is shown, and the same table can
be read by a person, a wiki and a program.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from perfkit.report.document import fill, plain

Value = str | float | int | None
NOTHING = "n/a"
CAPTION_CHARS = 220  # two lines of a terminal, and of the page


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is named, and how its values are shown.

    Attributes:
        key: Name for programs, with the unit of the raw value: `goodput_bps`.
        heading: Name for people, without the unit.
        unit: Unit of the shown value, `Mbit/s`; empty for none.
        kind: Text is left-aligned and escaped; numbers are right-aligned.
        digits: Decimals shown.
        scale: Shown value = raw value / scale.
    """

    key: str
    heading: str
    unit: str = ""
    kind: Literal["text", "number"] = "number"
    digits: int = 0
    scale: float = 1.0

    @property
    def label(self) -> str:
        """Heading and unit, as in `Total goodput (Mbit/s)`."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def show(self, value: Value) -> str:
        """A value as people read it: `n/a` where there is none, a decimal point always."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return NOTHING
        if self.kind == "text" or isinstance(value, str):
            return str(value)
        return f"{value / self.scale:.{self.digits}f}"


Shown = Sequence[Column | tuple[Column, str | Callable[[Any], Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """A table ready to be published.

    Attributes:
        name: File name of its exports, without suffix.
        rows: Raw values in the order of `columns`; None and NaN are "not known".
        caption: What a reader must know beside the figures; two lines at most (`CAPTION_CHARS`).
        provenance: Run, tool, hosts, windows and clock bound, in one line; for tables that leave
            the page, which says it once.
        method: How the figures are made, as long as it takes; for the page of methods.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = field(default_factory=tuple)
    caption: str = ""
    provenance: str = ""
    method: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: {len(row)} cells for {len(self.columns)} columns"
                )

    @classmethod
    def from_records(
        cls,
        name: str,
        title: str,
        columns: Sequence[Column],
        records: Sequence[Mapping[Any, Any]],
        caption: str = "",
        method: str = "",
    ) -> ReportTable:
        """A table from records; a column's `key` is the record's key, absent ones are unknown."""
        rows = tuple(tuple(_plain(record.get(c.key)) for c in columns) for record in records)
        chosen = tuple(columns)
        return cls(
            name=name, title=title, columns=chosen, rows=rows, caption=caption, method=method
        )

    @classmethod
    def of_objects(
        cls, name: str, title: str, shown: Shown, objects: Iterable[Any], caption: str = ""
    ) -> ReportTable:
        """A table with a row for each object.

        Args:
            shown: Each column with what it shows of an object: an attribute, `gap.low`, or what a
                function makes of it; alone where the attribute is called like the column.
        """
        pairs = [(one, one.key) if isinstance(one, Column) else one for one in shown]
        gets = [attrgetter(get) if isinstance(get, str) else get for _, get in pairs]
        rows = tuple(tuple(_plain(get(it)) for get in gets) for it in objects)
        columns = tuple(column for column, _ in pairs)
        return cls(name=name, title=title, columns=columns, rows=rows, caption=caption)

    @classmethod
    def of_texts(
        cls, name: str, heads: Sequence[str], rows: Iterable[tuple[str, ...]]
    ) -> ReportTable:
        """A table of nothing but text, without a title."""
        columns = tuple(Column(head, head, kind="text") for head in heads)
        return cls(name=name, title="", columns=columns, rows=tuple(rows))

    def with_provenance(self, provenance: str) -> ReportTable:
        """The same table with its provenance line."""
        return replace(self, provenance=provenance)

    def shown(self) -> Iterator[list[str]]:
        """Each row as people read it."""
        for row in self.rows:
            yield [column.show(value) for column, value in zip(self.columns, row, strict=True)]

    def to_frame(self) -> pd.DataFrame:
        """Raw values under the columns' keys."""
        return pd.DataFrame(list(self.rows), columns=[column.key for column in self.columns])

    def to_text(self, width: int = 110) -> str:
        """For a terminal: aligned columns, or one line a figure where that is too wide."""
        body = [[column.label for column in self.columns], *self.shown()]
        lines = _aligned(body, [column.kind == "text" for column in self.columns])
        # One line a column, one column a row: the first column gives the names.
        turned = _aligned([*zip(*body, strict=True)], [True, *([False] * len(self.rows))])
        if max(map(len, lines)) > width >= max(map(len, turned), default=0):
            lines = turned
        caption = textwrap.wrap(self.caption, width, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([self.title, *lines, *caption])

    def __repr__(self) -> str:
        return f"<ReportTable {self.name}: {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        return in_cell([self])


def filled(*tables: ReportTable) -> list[ReportTable]:
    """Those that have a row."""
    return [table for table in tables if table.rows]


def cleaned(table: ReportTable) -> ReportTable:
    """A table whose text has no terminal escapes and control characters."""
    rows = [
        tuple(plain(value) if isinstance(value, str) else value for value in row)
        for row in table.rows
    ]
    return replace(
        table,
        rows=tuple(rows),
        caption=plain(table.caption),
        provenance=plain(table.provenance),
        method=plain(table.method),
    )


def in_cell(
    tables: Sequence[ReportTable],
    sentence: str = "",
    closed: Mapping[str, ReportTable] = MappingProxyType({}),
) -> str:
    """Tables as a notebook's cell shows them, below a sentence.

    Args:
        closed: More of them, each behind a line until asked for.
    """
    return fill("scoped", tables=tables, sentence=sentence, closed=closed)


def in_terminal(
    heading: str | Sequence[str],
    warnings: Sequence[str],
    tables: Sequence[ReportTable],
    width: int,
) -> str:
    """Sentences, warnings and tables as plain text of so many characters a line."""
    sentences = [heading] if isinstance(heading, str) else heading
    said = [textwrap.fill(line, width, subsequent_indent="  ") for line in sentences if line]
    warned = [
        textwrap.fill(f"WARNING {line}", width, subsequent_indent="        ") for line in warnings
    ]
    above = "\n".join([*said, *warned])
    return plain("\n\n".join([*([above] if above else []), *(t.to_text(width) for t in tables)]))


def is_known(value: Any) -> bool:
    """Whether it is a number, and neither NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def _plain(value: Any) -> Value:
    """A value without its NumPy clothes."""
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, int | float) else str(value)


def one_line(text: str) -> str:
    """Text without line breaks and runs of blanks."""
    return re.sub(r"\s+", " ", text).strip()


def _aligned(body: Sequence[Sequence[str]], is_text: Sequence[bool]) -> list[str]:
    """Lines with their cells below each other: text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines = []
    for row in body:
        cells = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, is_text, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def to_html(table: ReportTable) -> str:
    """An HTML table element with caption and provenance; all text escaped."""
    return fill("table", table=table)
