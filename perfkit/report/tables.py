"""One table model for everything that is published.

A `ReportTable` keeps raw values in base units with a description of each column; every export
formats from that. So a figure is rounded once, at the moment it is shown, and the same table can
be read by a person, a wiki and a program.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

Value = str | float | int | None
NOTHING = "n/a"
LONG_TEXT = 36  # characters


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """A table ready to be published.

    Attributes:
        name: File name of its exports, without suffix.
        rows: Raw values in the order of `columns`; None and NaN are "not known".
        caption: What it says and how it was measured: window, hosts, clock bound.
        provenance: Run, tool and method, in one line.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = field(default_factory=tuple)
    caption: str = ""
    provenance: str = ""

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
    ) -> ReportTable:
        """A table from records; a column's `key` is the record's key, absent ones are unknown."""
        rows = tuple(tuple(_plain(record.get(c.key)) for c in columns) for record in records)
        return cls(name=name, title=title, columns=tuple(columns), rows=rows, caption=caption)

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
        lines, turned = _aligned(self), _transposed(self)
        if max(map(len, lines)) > width >= max(map(len, turned), default=0):
            lines = turned
        caption = textwrap.wrap(self.caption, width, initial_indent="  ", subsequent_indent="  ")
        return "\n".join([self.title, *lines, *caption])

    def __repr__(self) -> str:
        return f"<ReportTable {self.name}: {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        return f"{SCOPED_STYLE}<div class='perfkit-table'>{to_html(self)}</div>"


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


def _aligned(table: ReportTable) -> list[str]:
    body = [[column.label for column in table.columns], *table.shown()]
    widths = [max(len(row[place]) for row in body) for place in range(len(table.columns))]
    lines = []
    for row in body:
        cells = [
            cell.ljust(width) if column.kind == "text" else cell.rjust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _transposed(table: ReportTable) -> list[str]:
    """One line a column, one column a row: the first column gives the names."""
    rows = list(table.shown())
    labels = [column.label for column in table.columns]
    label_width = max(map(len, labels))
    widths = [max(map(len, row)) for row in rows]
    return [
        "  "
        + label.ljust(label_width)
        + "".join("  " + row[place].rjust(width) for row, width in zip(rows, widths, strict=True))
        for place, label in enumerate(labels)
    ]


SCOPED_STYLE = """<style>
.perfkit-table table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.perfkit-table caption{text-align:left;font-weight:600;padding:.2em 0}
.perfkit-table th,.perfkit-table td{padding:.2em .7em;border-bottom:1px solid #8884}
.perfkit-table th{vertical-align:bottom}.perfkit-table table :is(th,td).n{text-align:right}
.perfkit-table table :is(th,td).t{text-align:left}.perfkit-table td:first-child{white-space:nowrap}
.perfkit-table summary{cursor:pointer}.perfkit-table small{opacity:.75;font-weight:normal}
</style>"""


def to_html(table: ReportTable) -> str:
    """An HTML table element with caption and provenance; all text escaped."""
    head = "".join(
        f'<th scope="col" class="{_css(column)}">{html.escape(column.heading)}'
        + (f"<br><small>{html.escape(column.unit)}</small>" if column.unit else "")
        + "</th>"
        for column in table.columns
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="{_css(column)}{_long(text)}">{html.escape(text)}</td>'
            for column, text in zip(table.columns, row, strict=True)
        )
        + "</tr>"
        for row in table.shown()
    )
    notes = "".join(
        f"<p><small>{html.escape(text)}</small></p>"
        for text in (table.caption, table.provenance)
        if text
    )
    return (
        f"<table><caption>{html.escape(table.title)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table>{notes}"
    )


def _long(text: str) -> str:
    """A sentence is given room: squeezed beside figures it would be a column of single words."""
    return " long" if len(text) > LONG_TEXT else ""


def _css(column: Column) -> str:
    return "t" if column.kind == "text" else "n"
